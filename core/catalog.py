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
    """Reads the catalog. Raises Misconfigured with the place of what is wrong, in a sentence for the operator."""
    file = path or DEFAULT_FILE
    try:
        return _catalog(_Table("", tomllib.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:  # no such file, not UTF-8, no TOML, or wrong in itself
        raise Misconfigured(setting="CATALOG_FILE", problem=f"{file}: {error}") from None


class _Table:
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

    def credits(self, name: str) -> int:
        """A price in Credits, written as a text so that no fraction is lost; milli-credits."""
        try:
            amount = parse_credits(self.text(name))
        except ValueError as error:
            raise self.wrong(name, 'is not a number of Credits in quotation marks, such as "4.5"') from error
        if amount <= 0:
            raise self.wrong(name, "must be above zero")
        return amount

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

    def tables(self, name: str) -> "dict[str, _Table]":
        """The tables within a table, by name; at least one."""
        inside = _Table(f"{self.place}.{name}".lstrip("."), self._data.get(name, {}))
        if not inside._data:
            raise self.wrong(name, "is missing")
        return {key: _Table(f"{inside.place}.{key}", value) for key, value in inside._data.items()}

    def prices(self, name: str) -> dict[str, int]:
        """A table of prices, in milli-credits; empty when it is left out."""
        inside = _Table(f"{self.place}.{name}", self._data.get(name, {}))
        return {key: inside.credits(key) for key in inside._data}


def _catalog(file: _Table) -> Catalog:
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


LENDINGS: Mapping[str, Lending] = {"open": "open", "attested": "attested", "refused": "refused"}


def _provider(name: str, item: _Table) -> ProviderRule:
    item.only("name", "lending", "rule_version", "key_shape")
    lending = LENDINGS[item.one_of("lending", *LENDINGS)]
    return ProviderRule(name, item.text("name"), lending, item.text("rule_version"), item.text("key_shape"))


def _model(name: str, item: _Table, providers: Mapping[str, ProviderRule]) -> Model:
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
    provider = item.one_of("provider", *providers)
    return Model(
        name, provider, item.text("provider_model"), item.credits("price"), operations, item.words("ratios"), item.words("styles"),
        qualities, quality, item.flag("seed"), item.flag("negative"), item.day("retires"),
    )  # fmt: skip


MODEL_KEYS = (
    "provider", "provider_model", "price", "operations", "ratios", "styles", "qualities", "default_quality", "seed", "negative", "retires",
)  # fmt: skip
