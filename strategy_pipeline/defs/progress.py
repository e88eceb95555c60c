"""How far long work is: plain lines by default, a bar when the command line hands one in.

Says nothing about what the work is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]
Say = Callable[[str], None]


class Progress(Protocol):
    """Somewhere to report the progress of one piece of work after the other."""

    def track(self, label: str, total: int) -> "_Tracking":
        """A context manager that hands out a function to call with the number of units done since the last call."""


class _Tracking(Protocol):
    def __enter__(self) -> Advance: ...

    def __exit__(self, *error: object) -> bool | None: ...


class ProgressLines:
    """A line when work begins, at each tenth of large work, and when it ends."""

    def __init__(self, say: Say) -> None:
        self.say = say

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Advance]:
        """Reports `label` with counts out of `total`."""
        done, next_tenth = 0, 1

        def advance(count: int) -> None:
            nonlocal done, next_tenth
            done += count
            if total >= 20 and done * 10 >= next_tenth * total and done < total:
                next_tenth = done * 10 // total + 1
                self.say(f"{label}: {done:,} of {total:,}")

        yield advance
        self.say(f"{label}: {done:,} of {total:,} done")


class NoProgress:
    """Reports nothing."""

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Advance]:
        """Counts nothing."""
        yield lambda count: None
