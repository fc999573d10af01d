"""Data files that the operator can replace: read as TOML, and what is wrong in them is told by its place, in a sentence."""

import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from core.errors import Misconfigured
from core.money import parse_credits

Made = TypeVar("Made")


def read(file: Path, setting: str, make: "Callable[[Table], Made]") -> Made:
    """What `make` makes of the file. Raises Misconfigured with the setting that names the file, and one sentence with the place in it."""
    try:
        return make(Table("", tomllib.loads(file.read_text(encoding="utf-8"))))
    except UnicodeDecodeError:
        raise Misconfigured(setting=setting, problem=f"{file}: is not written in UTF-8") from None
    except OSError as error:
        raise Misconfigured(setting=setting, problem=f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # no TOML, which says its line, or wrong in itself
        raise Misconfigured(setting=setting, problem=f"{file}: {error}") from None


class Table:
    """A table of the file: what is asked of it is there and of the right kind, or ValueError names its place."""

    def __init__(self, place: str, data: Any) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{place or 'the file'} is not a table")  # noqa: TRY004  # the file is wrong, not the program
        self.place = place
        self._data: dict[str, Any] = data

    def wrong(self, name: str, why: str) -> ValueError:
        """What to raise about a key of this table."""
        return ValueError(f"{self.place}.{name} {why}".lstrip("."))

    def only(self, *names: str) -> None:
        """Raises for a key that means nothing: it is a slip of the pen."""
        for name in self._data:
            if name not in names:
                raise self.wrong(name, "is not known")

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return name in self._data

    def text(self, name: str) -> str:
        """A word or sentence that is not empty."""
        value = self._data.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "is missing" if value is None else "is not a text")
        return value

    def one_of(self, name: str, *allowed: str) -> str:
        """One of the allowed words."""
        value = self.text(name)
        if value not in allowed:
            raise self.wrong(name, f"is {value!r}; it must be one of {', '.join(sorted(allowed))}")
        return value

    def credits(self, name: str, *, least: int = 1) -> int:
        """An amount of Credits, written as a text so that no fraction is lost; milli-credits, at least `least`."""
        text = self.text(name)
        try:
            amount = parse_credits(text)
        except ValueError as error:
            raise self.wrong(name, 'is not a number of Credits in quotation marks, such as "4.5"') from error
        if amount < least:
            raise self.wrong(name, "must be above zero" if least else "must not be below zero")
        return amount

    def whole(self, name: str, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self._data.get(name)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(name, f"is not a whole number from 1 to {most}")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A list of words; empty when it is left out."""
        value = self._data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.wrong(name, "is not a list of texts")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """true or false; false when it is left out."""
        value = self._data.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "is neither true nor false")
        return value

    def day(self, name: str) -> date | None:
        """A date without a time; None when it is left out."""
        value = self._data.get(name)
        if value is not None and type(value) is not date:
            raise self.wrong(name, "is not a date such as 2027-01-01, without quotation marks")
        return value

    def table(self, name: str) -> "Table":
        """A table within this one, with at least one key."""
        inside = self.within(name)
        if not inside.names():
            raise self.wrong(name, "is missing")
        return inside

    def listed(self, name: str, most: int) -> "list[Table]":
        """A list of tables, each under its own [[name]]; between 1 and `most`. Their places count from 1."""
        value = self._data.get(name)
        if not isinstance(value, list) or not 0 < len(value) <= most:
            raise self.wrong(name, f"must be there between 1 and {most} times, each under [[{name}]]")
        return [Table(f"{self.place}.{name}[{number}]".lstrip("."), each) for number, each in enumerate(value, start=1)]

    def within(self, name: str) -> "Table":
        """A table within this one, which may be empty."""
        return Table(f"{self.place}.{name}".lstrip("."), self._data.get(name, {}))

    def names(self) -> tuple[str, ...]:
        """The names in this table, in the file's order."""
        return tuple(self._data)

    def tables(self, name: str) -> "dict[str, Table]":
        """The tables within a table, by name; at least one."""
        inside = self.table(name)
        return {key: inside.within(key) for key in inside.names()}

    def prices(self, name: str) -> dict[str, int]:
        """A table of prices, in milli-credits; empty when it is left out."""
        inside = self.within(name)
        return {key: inside.credits(key) for key in inside.names()}
