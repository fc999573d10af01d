"""The catalog: the shipped one is whole, and an operator's own loads or is refused with the place of what is wrong."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.catalog import DEFAULT_FILE, MAX_PROMPT, WARN_DAYS, Catalog, Model, UnknownModel, ask, load_catalog
from core.errors import Misconfigured

TODAY = date(2026, 11, 25)
HEAD = """
default_model = "core"
default_edit = "ultra"
default_upscale = "ultra"
"""
PROVIDER = """
[providers.stability]
name = "Stability AI"
lending = "attested"
rule_version = "2025-07-31"
key_shape = "sk-…"
"""
CORE = """
[models.core]
provider = "stability"
provider_model = "core"
price = "4.5"
operations = ["generate"]
"""
ULTRA = """
[models.ultra]
provider = "stability"
provider_model = "ultra"
price = "12"
operations = ["generate", "edit", "upscale"]
"""
WHOLE = HEAD + PROVIDER + ULTRA + CORE  # `core` comes last: what a case adds belongs to it


def loaded(tmp_path: Path, text: str = WHOLE) -> Catalog:
    """The catalog of a file with that text."""
    file = tmp_path / "catalog.toml"
    file.write_text(text, encoding="utf-8")
    return load_catalog(file)


def problem(tmp_path: Path, text: str) -> str:
    """Why a file with that text does not load, without the name of the file."""
    with pytest.raises(Misconfigured) as refused:
        loaded(tmp_path, text)
    assert refused.value.facts["setting"] == "CATALOG_FILE"
    file, told = f"{tmp_path / 'catalog.toml'}", str(refused.value.facts["problem"])
    assert told.startswith(file)
    return told.removeprefix(file)


def test_what_is_shipped_is_whole() -> None:
    catalog = load_catalog()
    assert asdict(catalog) == asdict(load_catalog(DEFAULT_FILE))
    assert {each.provider for each in catalog.models.values()} == set(catalog.providers) == {"stability", "openai"}
    for model in catalog.models.values():
        prices = [model.price, *model.qualities.values()]
        assert all(isinstance(price, int) and price > 0 for price in prices)
        assert (model.default_quality in model.qualities) if model.qualities else model.default_quality is None
        assert not model.ratios or "1:1" in model.ratios
    assert set(catalog.sale(TODAY)) == set(catalog.models)
    assert 0 < MAX_PROMPT < 4_000


def test_an_operators_file_takes_the_place_of_ours(tmp_path: Path) -> None:
    catalog = loaded(tmp_path)
    assert set(catalog.models) == {"core", "ultra"}
    assert catalog.models["core"] == Model("core", "stability", "core", 4_500, frozenset({"generate"}))
    assert catalog.models["ultra"].capability == "stability:ultra"
    assert catalog.providers["stability"].lending == "attested"
    assert catalog.served_by("stability") == {"core", "ultra"}
    assert catalog.served_by("openai") == frozenset()


PRICES = ("4.5", "4", "true", '"4.5555"', '"cheap"', '""', '"NaN"', '"1e12"')
PRICE, OPERATIONS = 'price = "4.5"\n', 'operations = ["generate"]\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("this is no TOML", ["line 1"]),
        (WHOLE + "price = \n", ["line"]),
        (WHOLE + CORE, ["core", "twice", "line"]),
        (WHOLE + PRICE, ["line"]),
        (WHOLE.replace(PRICE, 'price = "0"\n'), ["models.core.price", "above zero"]),
        (WHOLE.replace(PRICE, 'price = "-1"\n'), ["models.core.price", "above zero"]),
        (WHOLE + 'qualities = { low = "-1" }\n', ["models.core", "above zero"]),
        (WHOLE.replace(CORE, CORE.replace('provider = "stability"', 'provider = "midway"')), ["models.core.provider", "midway"]),
        (WHOLE.replace(OPERATIONS, 'operations = ["generate", "fly"]\n'), ["models.core.operations", "fly"]),
        (WHOLE.replace(OPERATIONS, "operations = []\n"), ["models.core.operations"]),
        (WHOLE.replace('"attested"', '"maybe"'), ["providers.stability.lending", "maybe"]),
        (WHOLE.replace('default_edit = "ultra"', 'default_edit = "core"'), ["edit", "core"]),
        (HEAD + PROVIDER, ["models"]),
        (HEAD + CORE + ULTRA, ["providers"]),
        *(((WHOLE.replace(f"{name} = ", f"x{name} = "), [name])) for name in ("default_model", "default_edit", "default_upscale")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, named: list[str]) -> None:
    told = problem(tmp_path, text)
    assert all(each in told for each in named), told


@pytest.mark.parametrize(
    ("text", "named"),
    [
        *((WHOLE.replace(PRICE, f"price = {price}\n"), "price") for price in PRICES),
        (WHOLE.replace(PRICE, ""), "price"),
        (WHOLE.replace(OPERATIONS, ""), "operations"),
        (WHOLE.replace(CORE, CORE.replace('provider = "stability"\n', "")), "provider"),
        (WHOLE.replace(CORE, CORE.replace('provider_model = "core"\n', "")), "provider_model"),
        (WHOLE + "qualities = { low = 1.5 }\n", "qualities"),
        (WHOLE + 'qualities = { low = "low" }\n', "qualities"),
    ],
)  # fmt: skip
def test_the_model_is_named(tmp_path: Path, text: str, named: str) -> None:
    told = problem(tmp_path, text)
    assert "models.core" in told and named in told, told


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (WHOLE + 'retires = "2027-01-01"\n', "models.core.retires"),
        (WHOLE + "retires = 2027-01-01T00:00:00\n", "models.core.retires"),
        (WHOLE + 'ratios = "1:1"\n', "models.core.ratios"),
        *((WHOLE + f'ratios = ["1:1", "{ratio}"]\n', "models.core.ratios") for ratio in ("wide", "0:1", "16x9", "16:9 ", "1:-1")),
        (WHOLE + 'seed = "no"\n', "models.core.seed"),
        (WHOLE + 'qualities = { low = "1" }\ndefault_quality = "lost"\n', "models.core.default_quality"),
        (WHOLE + 'qualities = { low = "1" }\n', "models.core.default_quality"),
        (WHOLE + 'qualities = { price = "1" }\ndefault_quality = "price"\n', "models.core.qualities"),
        (WHOLE + "retire = 2027-01-01\n", "models.core.retire"),
    ],
)  # fmt: skip
def test_what_would_fail_in_use_does_not_load(tmp_path: Path, text: str, named: str) -> None:
    assert named in problem(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (WHOLE.replace('default_model = "core"', 'default_model = "lost"'), ("default_model", "lost")),
        (WHOLE.replace('lending = "attested"\n', ""), ("providers.stability", "lending")),
        (WHOLE.replace('key_shape = "sk-…"\n', ""), ("providers.stability", "key_shape")),
        (HEAD + 'models = "x"\nproviders = "y"\n', ("providers",)),
    ],
)  # fmt: skip
def test_defaults_and_providers_are_named(tmp_path: Path, text: str, named: tuple[str, ...]) -> None:
    told = problem(tmp_path, text)
    assert all(each in told for each in named), told


@pytest.mark.parametrize("text", ["x", WHOLE.replace(PRICE, 'price = "-1"\n'), WHOLE.replace('"attested"', '"maybe"')])
def test_the_sentence_is_the_operators(tmp_path: Path, text: str) -> None:
    told = problem(tmp_path, text)
    assert not [each for each in ("ValueError", "KeyError", "TypeError", "DecodeError") if each in told]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes("name = 'ü'".encode("latin-1"))
    for name in ("none.toml", "latin.toml", ""):
        with pytest.raises(Misconfigured) as refused:
            load_catalog(tmp_path / name)
        assert str(tmp_path / name) in refused.value.facts["problem"]


RETIRES = date(2026, 12, 25)


@pytest.mark.parametrize(
    ("today", "sold", "warned"),
    [
        (RETIRES - timedelta(WARN_DAYS + 1), True, False), (RETIRES - timedelta(WARN_DAYS), True, True),
        (RETIRES - timedelta(1), True, True), (RETIRES, False, False), (RETIRES + timedelta(400), False, False),
    ],
)  # fmt: skip
def test_a_model_is_announced_and_leaves_on_its_day(tmp_path: Path, today: date, sold: bool, warned: bool) -> None:
    catalog = loaded(tmp_path, WHOLE + f"retires = {RETIRES}\n")
    assert ("core" in catalog.sale(today), [each.id for each in catalog.retiring(today)]) == (sold, ["core"] if warned else [])
    if sold:
        assert catalog.find("core", today).retires == RETIRES
    else:
        with pytest.raises(UnknownModel) as refused:
            catalog.find("core", today)
        assert refused.value.facts == {"model": "core", "known": ["ultra"]}
    assert "core" in catalog.models and catalog.served_by("stability") == {"core", "ultra"}  # what was made before is still known


def test_each_quality_has_its_price(tmp_path: Path) -> None:
    tail = 'qualities = { low = "1.5", high = "32" }\ndefault_quality = "high"\n'
    model = loaded(tmp_path, WHOLE + tail).models["core"]
    prices: Mapping[str | None, Any] = {quality: model.price_of(quality) for quality in ("low", "high", None)}
    assert prices == {"low": 1_500, "high": 32_000, None: 32_000}
    assert model.price == 4_500


@pytest.mark.parametrize(
    ("price", "percent", "expected"), [(4_500, 100, 4_500), (4_500, 80, 3_600), (4_501, 33, 1_486), (1, 10, 1), (9, 10, 1), (4_500, 0, 1)]
)
def test_a_miners_price_is_rounded_up_and_never_nothing(price: int, percent: int, expected: int) -> None:
    assert ask(price, percent) == expected
