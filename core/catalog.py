"""What is on sale: models, their parameters and prices, and who may lend which provider's keys. A data file that the operator can replace.

A model without a price cannot be used: the file does not load. Prices come from here and from nowhere else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from core.datafile import Table, read
from core.errors import Refusal
from core.money import percent_of

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


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Everything on sale. `sale(today)` leaves out what has retired. One catalog is only equal to itself, so that it can key a cache."""

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
    """Reads the catalog. Raises Misconfigured with the place of what is wrong, in a sentence for the operator."""
    return read(path or DEFAULT_FILE, "CATALOG_FILE", _catalog)


def _catalog(file: Table) -> Catalog:
    file.only("default_model", "default_edit", "default_upscale", "providers", "models")
    providers = {name: _provider(name, item) for name, item in file.tables("providers").items()}
    models = {name: _model(name, item, providers) for name, item in file.tables("models").items()}
    defaults = {}
    for key, operation in (("default_model", "generate"), ("default_edit", "edit"), ("default_upscale", "upscale")):
        name = file.text(key)
        if name not in models:
            raise file.wrong(key, f"is {name!r}, and there is no such model")
        if operation not in models[name].operations:
            raise file.wrong(key, f"is {name!r}, which does not {operation}")
        defaults[key] = name
    return Catalog(providers, models, **defaults)


_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")
LENDINGS: Mapping[str, Lending] = {"open": "open", "attested": "attested", "refused": "refused"}


def _provider(name: str, item: Table) -> ProviderRule:
    item.only("name", "lending", "rule_version", "key_shape")
    lending = LENDINGS[item.one_of("lending", *LENDINGS)]
    return ProviderRule(name, item.text("name"), lending, item.text("rule_version"), item.text("key_shape"))


def _model(name: str, item: Table, providers: Mapping[str, ProviderRule]) -> Model:
    item.only(*MODEL_KEYS)
    operations = frozenset(item.words("operations"))
    if not operations or operations - {"generate", "edit", "upscale"}:
        raise item.wrong("operations", f"are {sorted(operations)}; at least one of generate, edit, upscale")
    qualities = item.prices("qualities")
    if "price" in qualities:
        raise item.wrong("qualities", "has one called price, which is no quality")
    quality = item.one_of("default_quality", *qualities) if qualities else None
    if not qualities and item.has("default_quality"):
        raise item.wrong("default_quality", "is one of no qualities")
    provider, ratios = item.one_of("provider", *providers), item.words("ratios")
    if odd := [each for each in ratios if not _RATIO.fullmatch(each)]:
        raise item.wrong("ratios", f"has {odd[0]!r}; a ratio is two whole numbers above zero, such as 16:9")
    return Model(
        name, provider, item.text("provider_model"), item.credits("price"), operations, ratios, item.words("styles"),
        qualities, quality, item.flag("seed"), item.flag("negative"), item.day("retires"),
    )  # fmt: skip


MODEL_KEYS = (
    "provider", "provider_model", "price", "operations", "ratios", "styles", "qualities", "default_quality", "seed", "negative", "retires",
)  # fmt: skip
