"""What Credits cost: packages, from a data file that the operator can replace."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Misconfigured
from core.money import MAX_AMOUNT, parse_credits
from core.payments.errors import PackageNotFound

DEFAULT_FILE = Path(__file__).with_name("packages.toml")
MAX_PACKAGES = 8
"""As many as fit on a message's buttons."""
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
    """Reads the packages. Raises Misconfigured with the place of what is wrong."""
    file = path or DEFAULT_FILE
    try:
        listed = [_package(item) for item in tomllib.loads(file.read_text(encoding="utf-8"))["package"]]
        by_id = {each.id: each for each in listed}
        if not 0 < len(listed) <= MAX_PACKAGES or len(by_id) != len(listed):
            raise ValueError(f"between 1 and {MAX_PACKAGES} packages, each with an id of its own")
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise Misconfigured(setting="PACKAGES_FILE", problem=f"{file}: {type(error).__name__}: {error}") from None
    return Packages(by_id)


def _package(item: Mapping[str, Any]) -> Package:
    name = item["id"]
    credits, bonus = parse_credits(item["credits"]), parse_credits(item.get("bonus", "0"))
    if not name.isidentifier() or len(name) > 16:
        raise ValueError(f"package.id: {name!r} is not a short plain word")
    if credits <= 0 or bonus < 0 or credits + bonus > MAX_AMOUNT:
        raise ValueError(f"package {name}: credits must be above zero")
    prices = dict(item["prices"])
    if not prices or any(type(price) is not int or not 0 < price <= MAX_PRICE for price in prices.values()):
        raise ValueError(f"package {name}: every price is a whole number above zero, of the currency's smallest unit")
    return Package(name, credits, bonus, prices)
