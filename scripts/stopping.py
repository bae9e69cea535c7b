"""How somebody stops a script: at a checkpoint, at once, or while its modules still load."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Stop(KeyboardInterrupt):
    """Somebody wants this to end: by which signal, and what is left, in a sentence."""

    def __init__(self, number: int = signal.SIGINT, said: str = "stopped"):
        super().__init__(said)
        self.number, self.said = number, said


@contextmanager
def leaving() -> Iterator[list[int]]:
    """Within, the first Ctrl-C or SIGTERM is only noted in the list that this gives; who trains looks at it, leaves at
    a checkpoint and raises Stop.  The second interrupts at once."""
    noted: list[int] = []

    def note(number, _):
        if noted:
            raise Stop(number)
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _uncaught(kind, error, trace):
    """Ctrl-C before `cli.one_sentence` listens, as long as modules load: a sentence here too."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _uncaught
