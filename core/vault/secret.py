"""A value that no log, repr, trace or serializer reveals."""

from typing import Any, NoReturn

MASK = "[secret]"


class Secret:
    """Holds a secret string; only `reveal()` gives it out.

    It does not pickle, compare, hash, iterate or turn into text, so it cannot slip into a log line, a JSON body or a cache by accident.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The value in clear. Called only where it is sealed and where a provider's header is built."""
        return self.__value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        raise TypeError("a Secret does not compare; compare fingerprints")

    __hash__ = None  # type: ignore[assignment]  # unhashable on purpose: a set or dict key would keep it alive

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret does not serialize")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret does not serialize")
