"""Whether the loops of a process still turn, noted in files that a health check reads: a promise of when each turns again, at the latest.

A process that exists may be stuck; one that turns says so. A file needs no port and no database, works in a read-only container on its
tmpfs, and each of several workers has its own there. The check is `python -m core.pulse ROLE`: it loads nothing of the rest, as it runs
every few seconds beside what it looks at.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import Misconfigured

LOOPS: Mapping[str, tuple[str, ...]] = {
    "worker": ("worker",),
    "telegram": ("telegram", "telegram.updates"),
    "discord": ("discord",),
}
"""By role, the loops that must turn: a worker's claims; what a bot delivers, and what Telegram's takes to be answered."""
FOLDER = "AETHERFLOW_PULSE_DIR"
SECOND = 1_000_000  # microseconds; core/db.py would load too much
NOTED_EVERY = SECOND
"""A loop that turns more often than that (microseconds) writes no more."""


class Pulse:
    """One per process. Without a folder nothing is noted. `seconds`: how long one turn may take. `now`: the clock, in microseconds."""

    def __init__(self, folder: Path | None, seconds: float, now: Callable[[], int]) -> None:
        self._folder = folder
        self._seconds = seconds
        self._now = now
        self._noted: dict[str, int] = {}
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(setting="PULSE_DIR", problem=f"is no folder that can be made ({type(error).__name__})") from None

    def beat(self, loop: str, pause: float) -> None:
        """The loop turns, and will again after `pause` seconds at most. A disk that fails is the health check's to find."""
        now = self._now()
        if self._folder is None or now - self._noted.get(loop, 0) < NOTED_EVERY:
            return
        until = now / SECOND + pause + self._seconds
        try:
            (self._folder / loop).touch()
            os.utime(self._folder / loop, (until, until))
        except OSError:
            return
        self._noted[loop] = now


def stuck(folder: Path | None, role: str, now: float) -> str | None:
    """What does not turn of a role, as a sentence; None when all of it does. `now` in seconds since 1970."""
    if role not in LOOPS:
        return f"one of {', '.join(LOOPS)} is looked at"
    if folder is None:
        return f"{FOLDER} is not set: nothing is noted"
    for loop in LOOPS[role]:
        try:
            over = now - (folder / loop).stat().st_mtime
        except OSError:
            return f"{loop} has noted nothing in {folder}: it has not begun, or is off"
        if over >= 0:
            return f"{loop} should have turned {over:.0f} s ago"
    return None


if __name__ == "__main__":
    set_to = os.environ.get(FOLDER)
    sys.exit(stuck(Path(set_to) if set_to else None, " ".join(sys.argv[1:]), time.time()))  # noqa: TID251  # a process of its own
