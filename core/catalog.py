"""What is on sale: models, their parameters and prices, and who may lend which provider's keys. A data file that the operator can replace.

A model without a price cannot be used: the file does not load. Prices come from here and from nowhere else.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from core.errors import Misconfigured, Refusal
from core.money import parse_credits, percent_of

DEFAULT_FILE = Path(__file__).with_name("catalog.toml")
MAX_PROMPT = 2000
"""Characters of a prompt: what every model on sale takes, and what a chat shows."""
MAX_SEED = 2**32 - 2
WARN_DAYS = 30
"""A model's retirement is announced so many days ahead."""

Lending = Literal["open", "attested", "refused"]


MAX_QUOTED = 40
"""Characters of a wrong word that a refusal repeats."""


class UnknownModel(Refusal):
    """No such model is on sale. Facts: `model`, `known`."""

    code = "unknown_model"


class BadParameter(Refusal):
    """A parameter that the model does not take, or a value that it does not know. Facts: `flag`, `value`, `allowed`, `model`."""

    code = "bad_parameter"


@dataclass(frozen=True, slots=True)
class ProviderRule:
    """Who may lend a provider's keys. `rule_version` names the text of the provider's terms that the miner is shown."""

    id: str
    name: str
    lending: Lending
    rule_version: str
    key_shape: str


@dataclass(frozen=True, slots=True)
class Model:
    """One model on sale. `price` in milli-credits is the most that one picture costs; `qualities` have prices of their own."""

    id: str
    provider: str
    provider_model: str
    price: int
    operations: frozenset[str]
    ratios: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    qualities: Mapping[str, int] = field(default_factory=dict)
    default_quality: str | None = None
    seed: bool = False
    negative: bool = False
    retires: date | None = None

    @property
    def capability(self) -> str:
        """What a resource must be able to serve: "stability:core"."""
        return f"{self.provider}:{self.provider_model}"

    def price_of(self, quality: str | None) -> int:
        """Milli-credits for one picture of that quality."""
        return self.qualities.get(quality or self.default_quality or "", self.price)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything on sale. `sale(today)` leaves out what has retired."""

    providers: Mapping[str, ProviderRule]
    models: Mapping[str, Model]
    default_model: str
    default_edit: str
    default_upscale: str

    def sale(self, today: date) -> dict[str, Model]:
        """Models that can be asked for on that day, by id."""
        return {each.id: each for each in self.models.values() if each.retires is None or today < each.retires}

    def retiring(self, today: date) -> list[Model]:
        """Models that retire within WARN_DAYS."""
        return [each for each in self.sale(today).values() if each.retires is not None and each.retires - today <= timedelta(WARN_DAYS)]

    def find(self, model: str, today: date) -> Model:
        """Raises UnknownModel."""
        found = self.sale(today).get(model)
        if found is None:
            raise UnknownModel(model=model[:MAX_QUOTED], known=sorted(self.sale(today)))
        return found

    def served_by(self, provider: str) -> frozenset[str]:
        """The provider's model ids that are for sale."""
        return frozenset(each.provider_model for each in self.models.values() if each.provider == provider)


def ask(price: int, percent: int) -> int:
    """A miner's price for one picture: their percentage of the list price, in milli-credits, rounded up, at least 1."""
    return max(1, percent_of(price, percent))


def load_catalog(path: Path | None = None) -> Catalog:
    """Reads the catalog. Raises Misconfigured with the place of what is wrong."""
    file = path or DEFAULT_FILE
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        providers = {name: _provider(name, item) for name, item in data["providers"].items()}
        models = {name: _model(name, item, providers) for name, item in data["models"].items()}
        catalog = Catalog(providers, models, data["default_model"], data["default_edit"], data["default_upscale"])
        for name, operation in ((catalog.default_model, "generate"), (catalog.default_edit, "edit"), (catalog.default_upscale, "upscale")):
            if operation not in models[name].operations:
                raise ValueError(f"the default for {operation}, {name}, does not do it")
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise Misconfigured(setting="CATALOG_FILE", problem=f"{file}: {type(error).__name__}: {error}") from None
    return catalog


def _provider(name: str, item: Mapping[str, Any]) -> ProviderRule:
    if item["lending"] not in ("open", "attested", "refused"):
        raise ValueError(f"providers.{name}.lending: {item['lending']}")
    return ProviderRule(name, item["name"], item["lending"], item["rule_version"], item["key_shape"])


def _model(name: str, item: Mapping[str, Any], providers: Mapping[str, ProviderRule]) -> Model:
    if item["provider"] not in providers:
        raise ValueError(f"models.{name}.provider: {item['provider']}")
    prices = {"price": item["price"], **item.get("qualities", {})}
    milli = {key: parse_credits(value) for key, value in prices.items()}
    if min(milli.values()) <= 0:
        raise ValueError(f"models.{name}.price: must be above zero")
    operations = frozenset(item["operations"])
    if not operations or operations - {"generate", "edit", "upscale"}:
        raise ValueError(f"models.{name}.operations: {sorted(operations)}")
    price = milli.pop("price")
    return Model(
        name, item["provider"], item["provider_model"], price, operations, tuple(item.get("ratios", ())), tuple(item.get("styles", ())),
        milli, item.get("default_quality"), item.get("seed", False), item.get("negative", False), item.get("retires"),
    )  # fmt: skip
