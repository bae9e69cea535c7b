"""What the runs of the atlas say of each group of measures, in sentences of computed numbers."""

import numpy as np

from ..maths.measures import STAGE_ACCURACY
from ..runs import P_MIN
from . import replicas, survey

RANDOM = ("standard", "grokking", "quad_random")  # these start with every frequency in every neuron


def notes(rows: list[dict], every: list[dict]) -> dict[str, str]:
    """A few sentences by group of measures, of the medians over seeds `rows` of all runs `every`."""

    def where(condition, preset: str | None = None) -> str:
        """The moduli, in words, at which this holds of a run (of this preset)."""
        return survey.spans(row["p"] for row in rows if preset in (None, row["preset"]) and condition(row))

    worst = min(rows, key=lambda row: row["train_accuracy"])
    sparse = sorted((row["ipr"], row["p"]) for row in rows if row["preset"] == "quad_random" and row["p"] > P_MIN)
    unsure = lambda r: r["train_accuracy"] > STAGE_ACCURACY and r["train_loss"] > np.log(r["p"]) / 2  # noqa: E731
    tiny, rounded = survey.coarse(rows)
    partial = [row["p"] for row in rows if row["all_pairs"] == 0]
    old_fits = f"Fitted to the pairs with x = 0 alone at p = {survey.spans(partial)}." if partial else ""
    floor = min((row["plateau"] for row in rows if row["plateau"]), default=None)
    earliest = "–" if floor is None else f"{floor:,}"
    laws = "; ".join(
        f"the end of {stage} of {name} goes as p^{law[0]:.2f} ± {law[1]:.2f}"
        for stage, column in (("stage I", "stage1_end"), ("stage II", "stage2_end")) for name in RANDOM
        if (law := replicas.power(every, column, name))
    )  # fmt: skip
    return {
        "Does it learn?": "The lowest training accuracy at the end is "
        f"{worst['train_accuracy']:.2%} ({worst['preset']}, p = {worst['p']}). Held-out accuracy ends below 95 % at p "
        f"= {where(lambda r: (r['held_out_accuracy'] or 1) < STAGE_ACCURACY)}. Correct but not confident, with a loss "
        f"above half of a blind guess's ln p: quad_single_freq at p = {where(unsure, 'quad_single_freq')}, "
        f"relu_single_freq at p = {where(unsure, 'relu_single_freq')}. Of {tiny} runs whose loss ends below "
        f"{survey.COARSE:g} nats, {rounded} end on a whole number of half float32 steps of {survey.STEP:.1e} nats a "
        "pair (chance: one in ten): that small, a loss is rounding, and so are its floors.",
        "How long does it take?": "Stage II is not reached at p = "
        f"{where(lambda r: r['stage2_end'] is None, 'grokking')}. The plateau rule stopped p = "
        f"{where(lambda r: floor and r['plateau'] == floor)} at its earliest, step {earliest}: that flat part "
        f"is the rule's, not training's. As powers of p, with 95 %: {laws or 'too few moduli to say'}.",
        "One frequency per neuron": f"At p = {P_MIN} there is one frequency, so that all that counts frequencies is "
        "1 by definition; at 5 and 7 there are two and three, and their harmonics fall on one another. "
        + (
            f"From random weights x² ends at an IPR of {sparse[0][0]:.2f} (p = {sparse[0][1]}) to {sparse[-1][0]:.2f} "
            f"(p = {sparse[-1][1]}): sparse, not one cosine."
            if sparse
            else ""
        ),
        "Phases lock, magnitudes agree": "The single-frequency presets train equally long at every p, while the "
        "time to align grows like p: their curves show where they were stopped, not where they end.",
        "Phases spread": "For random phases N |mean exp(inφ)|² is 1 at any N. Below 1 they cancel: under x² in "
        "the even orders, which are those that its noise contains, under ReLU in the third too. The single-frequency "
        "presets begin with random phases and hardly move them.",
        "The vote": "Two to one under x², three to one under ReLU: that is the vote of pure cosines. Trained "
        "neurons are a cosine and its third harmonic, and this silences the ghosts, at the price of a negative peak "
        "at 3x − y; the margin then passes the half that pure cosines can have. At p = 3 right answer and ghosts are "
        f"all the answers there are. {old_fits}",
        "Harmonics": "ReLU leaks into them from the first step, towards the fixed point of its flow; what is far "
        "below had not the time. x² leaks nothing while the loss is near ln p, and then grows a third harmonic as "
        "well, from random weights under AdamW most of all. From random weights other frequencies are counted in.",
    }
