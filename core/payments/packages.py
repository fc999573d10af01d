"""What Credits cost: packages, from a data file that the operator can replace."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.datafile import Table, read
from core.money import MAX_AMOUNT
from core.payments.errors import PackageNotFound
from core.payments.models import CURRENCIES

DEFAULT_FILE = Path(__file__).with_name("packages.toml")
MAX_PACKAGES = 8
"""As many as fit on a message's buttons."""
MAX_ID = 16
MAX_PRICE = 100_000_000
"""Of a currency's smallest unit: a million dollars, and a slip of the operator's finger."""


@dataclass(frozen=True, slots=True)
class Package:
    """`credits` in milli-credits, `bonus` on top of them; `prices` by currency, in its smallest unit."""

    id: str
    credits: int
    bonus: int
    prices: Mapping[str, int]

    @property
    def total(self) -> int:
        """Milli-credits that the buyer gets."""
        return self.credits + self.bonus


@dataclass(frozen=True, slots=True)
class Packages:
    """Everything on sale, in the order shown."""

    by_id: Mapping[str, Package]

    def sold_in(self, currency: str) -> list[Package]:
        """What can be bought with a currency."""
        return [each for each in self.by_id.values() if currency in each.prices]

    def find(self, package: str, currency: str) -> Package:
        """Raises PackageNotFound, also when the package has no price in that currency."""
        found = self.by_id.get(package)
        if found is None or currency not in found.prices:
            raise PackageNotFound(package=package, known=[each.id for each in self.sold_in(currency)])
        return found


def load_packages(path: Path | None = None) -> Packages:
    """Reads the packages. Raises Misconfigured with the place of what is wrong, in a sentence for the operator."""
    return read(path or DEFAULT_FILE, "PACKAGES_FILE", _packages)


def _packages(file: Table) -> Packages:
    file.only("package")
    by_id: dict[str, Package] = {}
    for item in file.listed("package", MAX_PACKAGES):
        made = _package(item)
        if made.id in by_id:
            raise item.wrong("id", f"is {made.id!r}, which another package has")
        by_id[made.id] = made
    return Packages(by_id)


def _package(item: Table) -> Package:
    item.only("id", "credits", "bonus", "prices")
    name = item.text("id")
    if not name.isidentifier() or len(name) > MAX_ID:
        raise item.wrong(
            "id", f"is {name[:MAX_ID]!r}; it must be one word of at most {MAX_ID} letters, digits and _, not beginning with a digit"
        )
    credits, bonus = item.credits("credits"), item.credits("bonus", least=0) if item.has("bonus") else 0
    if credits + bonus > MAX_AMOUNT:
        raise item.wrong("bonus", "makes more Credits than anybody can hold")
    prices = item.table("prices")
    prices.only(*CURRENCIES.values())
    return Package(name, credits, bonus, {currency: prices.whole(currency, MAX_PRICE) for currency in prices.names()})
