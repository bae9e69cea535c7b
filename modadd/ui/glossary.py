"""The terms of the lab: what each means, its formula, where it comes from, and the page that shows it."""

from dataclasses import dataclass

HE, NANDA = "arXiv:2602.16849", "arXiv:2301.05217"
SOURCES = (
    "J. He, L. Wang, S. Chen, Z. Yang, *On the Mechanism and Dynamics of Modular Addition: Fourier Features, Lottery "
    "Ticket, and Grokking*, [arXiv:2602.16849](https://arxiv.org/abs/2602.16849): network, mechanism, flow.",
    "N. Nanda, L. Chan, T. Lieberum, J. Smith, J. Steinhardt, *Progress Measures for Grokking via Mechanistic "
    "Interpretability*, [arXiv:2301.05217](https://arxiv.org/abs/2301.05217): the transformer and its measures.",
)
GROUPS = NETWORK, WAVES, VOTE, TRAINING, GROK, TRANSFORMER = (
    "The task and the network", "Waves in the weights", "The vote", "How training finds it", "Grokking", "Transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Term:
    """One entry; `page` is a key of `ui.PAGES`, `tex` a formula for display."""

    name: str
    group: str
    words: str
    page: str
    tex: str = ""
    source: str = ""


TERMS = (
    Term("Modular addition", NETWORK,
         "Adding on a clock with p hours: what is left of x + y after full turns are forgotten.",
         "pages/Introduction.py", r"(x, y) \mapsto (x + y) \bmod p"),
    Term("Two-layer network", NETWORK,
         "Each of M neurons adds a weight for x and one for y, bends the sum by its activation, and gives every answer "
         "a share of it. No bias; x and y are treated alike.",
         "pages/Home.py", r"f_j(x, y) = \sum_m \xi_m[j]\;\sigma(\theta_m[x] + \theta_m[y])", HE),
    Term("Activation", NETWORK,
         "The bend inside a neuron: ReLU (nothing below zero), Quad (the square), GELU. Even ones can stand in for "
         "each other after training; identity and cube cannot.",
         "pages/Surgery.py", r"\sigma(h) = \max(h, 0), \quad h^2, \quad \dots", HE),
    Term("Logit", NETWORK, "The total vote for one answer; the largest wins, and a softmax makes chances of them.",
         "pages/Logits.py", r"P(j) = \frac{e^{f_j}}{\sum_i e^{f_i}}"),
    Term("Preset", NETWORK,
         "One of the five experiments of the paper: activation, initial weights, optimiser, steps and share of pairs.",
         "pages/Live.py", "", HE),
    Term("Record", NETWORK,
         "What is kept of a run: its settings, its curves, and frames, which are measures of the network at chosen "
         "steps. A run is a Record that is still growing.",
         "pages/Runs.py"),
    Term("Frequency", WAVES,
         "How many full waves a row of weights makes over the residues. There are K of them, counted from 1.",
         "pages/Weights.py", r"w_k = \frac{2\pi k}{p}, \quad k = 1, \dots, K"),
    Term("Discrete Fourier transform", WAVES,
         "A row of p weights written as a constant and K waves. Nothing is lost: the squares of the parts add up to "
         "that of the whole.",
         "pages/Weights.py", r"\theta[j] = c_0 + \sum_k \alpha_k \cos(w_k j + \varphi_k)"),
    Term("Dominant frequency", WAVES,
         "Of a neuron, the frequency with the largest magnitude in its input weights. Where neurons are dots, it "
         "gives them their colour.",
         "pages/Phases.py", r"k^\ast = \arg\max_k \alpha_k", HE),
    Term("Magnitude and phase", WAVES,
         "How tall a wave is, and where its top lies: α and φ in the input layer, β and ψ in the output layer.",
         "pages/Weights.py",
         r"\theta[j] \approx \alpha\cos(w_k j + \varphi), \quad \xi[j] \approx \beta\cos(w_k j + \psi)", HE),
    Term("IPR (inverse participation ratio)", WAVES,
         "How few frequencies carry a neuron: 1 is a single one, 1/K all alike. Random weights begin near 2/(K + 1).",
         "pages/Atlas.py", r"\mathrm{IPR} = \frac{\sum_k A_k^4}{\left(\sum_k A_k^2\right)^2}", HE),
    Term("Phase alignment", WAVES,
         "The output phase of a neuron becomes twice its input phase. Squaring doubles the angle of a wave, so only "
         "then does a neuron speak loudest when its favourite answer is right.",
         "pages/Phases.py", r"\psi = 2\varphi", HE),
    Term("Misalignment D", WAVES,
         "How far a neuron still is from that, in (−π, π]. Pages show the mean |sin D|, which is 0 when all agree and "
         "2/π ≈ 0.64 at random.",
         "pages/Phases.py", r"D = 2\varphi - \psi", HE),
    Term("Diversification", WAVES,
         "Frequencies are used about equally, and within each the phases spread evenly, so that noise cancels.",
         "pages/Phases.py", r"N \left|\tfrac1N \textstyle\sum_m e^{i n \varphi_m}\right|^2 < 1, \; n = 2, 4", HE),
    Term("Vote", VOTE,
         "Every frequency raises a hill of cosine shape over the answers with its top at x + y. Where all tops meet "
         "is the answer.",
         "pages/Logits.py", r"\cos^2\tfrac{w_k (x - y)}{2}\,\cos w_k (x + y - j)", HE),
    Term("Flawed indicator", VOTE,
         "What the votes of all frequencies add up to in the ideal network: a peak at the right answer and two of half "
         "its height at 2x and 2y. Flawed, because those two are wrong; an indicator, because they never win.",
         "pages/Logits.py",
         r"f_j \propto -1 + \tfrac p2\,\mathbf 1(j = x + y) + \tfrac p4\,[\mathbf 1(j = 2x) + \mathbf 1(j = 2y)]", HE),
    Term("Ghost peaks", VOTE,
         "The wrong answers 2x and 2y. Pure cosines give them half of the right answer's votes under x², a third under "
         "ReLU; a trained network silences them with a third harmonic.",
         "pages/Logits.py", r"j = 2x, \quad j = 2y \pmod p", HE),
    Term("Surgery", VOTE,
         "Changing trained weights to see what they were for: drop or keep frequencies, turn or shuffle phases, swap "
         "the activation; the accuracy follows at once.",
         "pages/Surgery.py"),
    Term("Gradient flow", TRAINING,
         "Training with steps so small that it becomes a motion in time. Each frequency of each neuron then has four "
         "equations of its own, with nothing to fit.",
         "pages/Gradient_flow.py",
         r"\dot D = -\tfrac1p \left(4\beta + \tfrac{\alpha^2}{\beta}\right) \sin D \quad (\text{Quad})", HE),
    Term("Invariant", TRAINING, "A quantity that the flow does not change: a check of theory and of arithmetic.",
         "pages/Gradient_flow.py", r"\alpha^2 - 2\beta^2, \qquad \alpha^2 \beta \sin D \quad (\text{Quad})"),
    Term("Lottery", TRAINING,
         "At random weights a neuron holds all K frequencies. They race, each on its own, and the one with the best "
         "start takes the neuron: well aligned and large.",
         "pages/Lottery.py", "", HE),
    Term("Winner", TRAINING,
         "The frequency that ends dominant in its neuron; drawn in red. Its bets are scored against training.",
         "pages/Lottery.py", "", HE),
    Term("Single-frequency start", TRAINING,
         "Initial weights in which every neuron holds one frequency only, so that theory and training can be compared "
         "neuron by neuron.",
         "pages/Simulation.py", "", HE),
    Term("Harmonics", TRAINING,
         "Waves at multiples rk of a neuron's frequency. ReLU leaks into them from the first step, x² once the loss "
         "falls. The third, against its own wave, silences the ghosts.",
         "pages/Gradient_flow.py", "", HE),
    Term("Grokking", GROK,
         "Knowing all training sums long before any of the others, and then, late and at once, all of them.",
         "pages/Grokking.py", "", "Power et al., arXiv:2201.02177"),
    Term("Memorisation (stage I)", GROK,
         "The network learns the sums it is shown, one by one. It ends at the first step with train accuracy of 95 %.",
         "pages/Grokking.py", "", HE),
    Term("Generalisation (stage II)", GROK,
         "Weight decay and the loss together make each neuron sparse and aligned; it ends at the first step with test "
         "accuracy of 95 %, or is not reached.",
         "pages/Grokking.py", "", HE),
    Term("Cleanup (stage III)", GROK, "What is left of memory decays, while the answers stay right.",
         "pages/Grokking.py", "", f"{HE}, {NANDA}"),
    Term("Weight decay", GROK,
         "A pull of every weight towards zero at each step. Without it a network that has memorised has no reason to "
         "change.",
         "pages/Sweeps.py", r"w \leftarrow w - \eta\,\lambda\,w"),
    Term("Common and rare pairs", GROK,
         "A training sum is common if its mirror y + x is in training too, and rare if it is not.",
         "pages/Grokking.py", "", HE),
    Term("Mirrored pairs", GROK,
         "Test sums whose mirror is in training. The network treats x and y alike, so it gets them for free: they are "
         "no sign that it generalises.",
         "pages/Grokking.py", r"f(x, y) = f(y, x)"),
    Term("Held-out pairs", GROK, "Test sums of which neither order was trained: the honest test.",
         "pages/Grokking.py"),
    Term("Seed", GROK, "The number that fixes chance: initial weights and split. What holds must hold over many.",
         "pages/Seeds.py"),
    Term("Key frequency", TRANSFORMER,
         "One of the few frequencies on which a transformer settles; the others carry next to nothing.",
         "pages/Transformer.py", "", NANDA),
    Term("Restricted loss", TRANSFORMER,
         "The loss when only the waves of the key frequencies are left in the logits. It falls before the test loss "
         "does: the circuit grows while nothing is to be seen.",
         "pages/Transformer.py", "", NANDA),
    Term("Excluded loss", TRANSFORMER,
         "The training loss when just those waves are taken out. It rises as the network leaves memory for the "
         "circuit.",
         "pages/Transformer.py", "", NANDA),
    Term("Attention", TRANSFORMER,
         "How much the last token takes from each of the others: weights that are positive and add up to one.",
         "pages/Transformer.py", "", NANDA),
)  # fmt: skip


def find(words: str) -> list[Term]:
    """The terms with all these words in name or explanation, those that have them in the name first."""
    wanted = words.casefold().split()
    hits = [term for term in TERMS if all(word in f"{term.name} {term.words}".casefold() for word in wanted)]
    return sorted(hits, key=lambda term: not all(word in term.name.casefold() for word in wanted))
