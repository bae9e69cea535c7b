"""Numbers and foreign text as people read them."""

import re

from ..records.record import Record


def plain(text: str, limit: int = 120) -> str:
    """Text from outside, shortened, in one line and without any Markdown or HTML meaning."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:limit])
    # Addresses and icons are found after escapes are read: a word joiner, which nobody sees, breaks them.
    text = re.sub(r"(?<=[:@])(?=\S)|(?<=www)(?=\.)", "\u2060", text, flags=re.IGNORECASE)
    return re.sub(r"([\\`*_{}\[\]()#+!|<>$~:])", r"\\\1", text)


def duration(seconds: float | None) -> str:
    """Seconds for people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def number(value: float | None, form: str = ".4g") -> str:
    """A number for people; what does not apply is a dash."""
    return "–" if value is None else format(value, form)


def count(n: int, what: str) -> str:
    """A number of things: "1 run", "2,000 runs"."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def not_reached(step: int | None) -> str:
    return "not reached" if step is None else f"step {step:,}"


def provenance(record: Record) -> str:
    """Where the numbers come from, in a phrase."""
    origin = record.provenance
    if "imported" in origin:
        return f"step {record.step:,}, imported as {plain(origin['imported'])} on {plain(origin['finished'], 10)}"
    taken = f", brought here as {plain(origin['bundle'])}" if "bundle" in origin else ""
    devices = dict.fromkeys(
        str(one.get("device")) + f", {one.get('step')} step" * bool(one.get("step"))
        for one in origin.get("machines") or [origin]
    )
    return (
        f"{record.step:,} steps in {duration(origin['seconds'])} on {plain(', then '.join(devices))}, "
        f"{record.run.precision}, torch {plain(origin['torch'])}, {plain(origin['finished'], 10)}{taken}"
    )
