"""Pure decisions about what admins are alarmed of."""

from core.db import DAY

LEAK_LEAST = 500_000
"""Micro-dollars: what a balance may fall more than by our use before it counts. Providers round, and book with delay."""
LEAK_SHARE = 0.25
"""And the share of our own use by which it may: prices change before a catalog does."""
AGREED_FOR = DAY
"""How long what is gone adds up before it is counted anew: within that time it stayed within what may be."""
TRIES_LEAST = 10
FAILED_SHARE = 0.5


def leaked(before: int | None, after: int | None, used: int) -> int:
    """Micro-dollars by which a balance fell without us; 0 where that is within what may be, or the balance rose or is not told.

    `used` is the most that our own calls can have cost since `before` was read.

    >>> leaked(10_000_000, 9_000_000, 1_000_000), leaked(10_000_000, 8_000_000, 1_000_000), leaked(5_000_000, 20_000_000, 0)
    (0, 1000000, 0)
    """
    if before is None or after is None:
        return 0
    gone = before - after - used
    return gone if gone > LEAK_LEAST + LEAK_SHARE * used else 0


def is_agreed(point: int, last: int | None, now: int, used: int, age: int) -> bool:
    """Whether a balance is a new point to count from, `point` being the last one, `age` microseconds ago: it rose since the sync before
    (`last`), more is left than our use explains, so that it was filled up, or the last point is old.

    >>> is_agreed(10_000_000, 9_900_000, 9_800_000, 0, AGREED_FOR - 1), is_agreed(10_000_000, 9_900_000, 9_950_000, 0, AGREED_FOR - 1)
    (False, True)
    >>> is_agreed(10_000_000, 9_900_000, 9_800_000, 900_000, AGREED_FOR - 1), is_agreed(10_000_000, 9_900_000, 9_800_000, 0, AGREED_FOR)
    (True, True)
    """
    return (last is not None and now > last) or point - now - used < -LEAK_LEAST or age >= AGREED_FOR


def fails(tries: int, failed: int, lent: int, able: int) -> bool:
    """Whether a provider fails: more than half of at least TRIES_LEAST calls did, or none of the `lent` resources is `able` to be used.

    >>> fails(20, 11, 3, 3), fails(9, 9, 3, 3), fails(0, 0, 2, 0), fails(0, 0, 0, 0)
    (True, False, True, False)
    """
    return (tries >= TRIES_LEAST and failed > FAILED_SHARE * tries) or (lent > 0 and able == 0)
