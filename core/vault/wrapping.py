"""Key-encryption keys, whoever keeps them: what wraps data keys and unwraps them again.

The ring in the environment (`keyring.py`) is the default; a KMS (`transit.py`) is one more class behind the same protocol. A provider never
sees what a data key protects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.vault.errors import CannotOpen

BATCH = 500
"""Data keys that are wrapped, unwrapped or re-wrapped at once, at most."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key as it is stored. `by`: the key-encryption key, and its version where it has some; at most 32 characters."""

    by: str
    data: bytes = field(repr=False)


class KeyEncryption(Protocol):
    """Wraps and unwraps up to BATCH data keys at once, in their order. What it may wait for raises VaultAway."""

    def knows(self, by: str) -> bool:
        """Whether it is the one to ask about what `by` wrapped."""

    async def newest(self) -> str:
        """`by` of what is wrapped now."""

    async def wrap(self, data_keys: Sequence[bytes]) -> list[Wrapped]:
        """With the newest key."""

    async def unwrap(self, wrapped: Sequence[Wrapped]) -> list[bytes | Exception]:
        """The data keys; CannotOpen or VaultAway in the place of one that does not unwrap."""

    async def rewrap(self, wrapped: Sequence[Wrapped]) -> list[Wrapped | Exception]:
        """The same data keys under the newest key; errors as at `unwrap`."""


class Succession:
    """Several providers: the first wraps, each opens what is its own. So an operator moves from one to another while everything runs."""

    def __init__(self, heirs: Sequence[KeyEncryption]) -> None:
        assert heirs
        self._heirs = heirs

    def knows(self, by: str) -> bool:
        """See KeyEncryption."""
        return any(each.knows(by) for each in self._heirs)

    async def newest(self) -> str:
        """See KeyEncryption."""
        return await self._heirs[0].newest()

    async def wrap(self, data_keys: Sequence[bytes]) -> list[Wrapped]:
        """See KeyEncryption."""
        return await self._heirs[0].wrap(data_keys)

    async def unwrap(self, wrapped: Sequence[Wrapped]) -> list[bytes | Exception]:
        """See KeyEncryption."""
        found: dict[Wrapped, bytes | Exception] = {}
        for heir, mine in self._shared(wrapped):
            found.update(zip(mine, await heir.unwrap(mine), strict=True))
        return [found.get(each, CannotOpen(wrapping=each.by)) for each in wrapped]

    async def rewrap(self, wrapped: Sequence[Wrapped]) -> list[Wrapped | Exception]:
        """See KeyEncryption. What another provider wrapped is unwrapped there and wrapped here."""
        found: dict[Wrapped, Wrapped | Exception] = {}
        for heir, mine in self._shared(wrapped):
            again = await heir.rewrap(mine) if heir is self._heirs[0] else await passed_on(mine, heir, self._heirs[0])
            found.update(zip(mine, again, strict=True))
        return [found.get(each, CannotOpen(wrapping=each.by)) for each in wrapped]

    def _shared(self, wrapped: Sequence[Wrapped]) -> Iterable[tuple[KeyEncryption, list[Wrapped]]]:
        left = list(wrapped)
        for heir in self._heirs:
            mine, left = [each for each in left if heir.knows(each.by)], [each for each in left if not heir.knows(each.by)]
            if mine:
                yield heir, mine


async def passed_on(wrapped: Sequence[Wrapped], giver: KeyEncryption, taker: KeyEncryption) -> list[Wrapped | Exception]:
    """Data keys that one unwraps and the other wraps; errors as at `unwrap`."""
    opened = await giver.unwrap(wrapped)
    good = iter(await taker.wrap([each for each in opened if isinstance(each, bytes)]))
    return [next(good) if isinstance(each, bytes) else each for each in opened]
