"""Packages of Credits: the shipped ones are whole, and an operator's own load or are refused with the place of what is wrong."""

from pathlib import Path

import pytest

from core.errors import Misconfigured
from core.money import MAX_AMOUNT
from core.payments.errors import PackageNotFound
from core.payments.models import CURRENCIES
from core.payments.packages import DEFAULT_FILE, MAX_PACKAGES, MAX_PRICE, Package, Packages, load_packages

SMALL = """
[[package]]
id = "small"
credits = "500"
prices = { USD = 500, XTR = 400 }
"""
LARGE = """
[[package]]
id = "large"
credits = "5000"
bonus = "500.5"
prices = { USD = 5000 }
"""
WHOLE = LARGE + SMALL
FIRST, SECOND = "package[1]", "package[2]"


def loaded(tmp_path: Path, text: str) -> Packages:
    """The packages of a file with that text."""
    file = tmp_path / "packages.toml"
    file.write_text(text, encoding="utf-8")
    return load_packages(file)


def problem(tmp_path: Path, text: str) -> str:
    """Why a file with that text does not load, without the name of the file."""
    with pytest.raises(Misconfigured) as refused:
        loaded(tmp_path, text)
    assert refused.value.facts["setting"] == "PACKAGES_FILE"
    file, told = str(tmp_path / "packages.toml"), str(refused.value.facts["problem"])
    assert told.startswith(f"{file}: ") and "\n" not in told
    assert not [each for each in ("Error", "Exception", "'str'", "NoneType") if each in told]
    return told.removeprefix(file)


def test_what_is_shipped_is_whole() -> None:
    packages = load_packages()
    assert packages == load_packages(DEFAULT_FILE)
    for currency in CURRENCIES.values():
        assert packages.sold_in(currency) == list(packages.by_id.values())
    assert all(each.total >= each.credits > 0 for each in packages.by_id.values())


def test_an_operators_file_takes_the_place_of_ours_in_its_order(tmp_path: Path) -> None:
    packages = loaded(tmp_path, WHOLE)
    assert list(packages.by_id) == ["large", "small"]
    assert packages.by_id["large"] == Package("large", 5_000_000, 500_500, {"USD": 5000})
    assert (packages.by_id["large"].total, packages.by_id["small"].bonus) == (5_500_500, 0)
    assert [each.id for each in packages.sold_in("XTR")] == ["small"]
    with pytest.raises(PackageNotFound):
        packages.find("large", "XTR")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ("package", "[[package]]")),
        ("package = []", ("package", "[[package]]")),
        ('package = "small"', ("package", "[[package]]")),
        ("[package]\nid = 'small'", ("package", "[[package]]")),
        ("package = ['small']", (FIRST, "table")),
        ("package = [1, 2]", (FIRST, "table")),
        ("no toml", ("line 1",)),
        (WHOLE + "price = 1\n", (f"{SECOND}.price ", "not known")),
        ("packages = 1\n" + WHOLE, ("packages", "not known")),
        (WHOLE + SMALL, ("package[3].id", "small")),
        (SMALL * (MAX_PACKAGES + 1), ("package", str(MAX_PACKAGES))),
        *((WHOLE.replace('id = "small"', f"id = {each}"), (f"{SECOND}.id",))
          for each in ('""', "7", '"two words"', '"1st"', '"a:b"', '"' + "x" * 17 + '"')),
        *((WHOLE.replace(f"{name} = ", f"un{name} = "), (name,)) for name in ("id", "credits", "prices")),
        (WHOLE.replace('id = "small"\n', ""), (f"{SECOND}.id", "missing")),
        (WHOLE.replace('credits = "500"\n', ""), (f"{SECOND}.credits", "missing")),
        *((WHOLE.replace('"500"', each), (f"{SECOND}.credits",))
          for each in ("500", "5.5", '"many"', '"0"', '"-1"', '"0.0001"', '"nan"', "[]", "true")),
        *((WHOLE.replace('"500.5"', each), (f"{FIRST}.bonus",)) for each in ("500", '"-1"', '"lots"', "{}")),
        (WHOLE.replace('"5000"', f'"{MAX_AMOUNT // 1000}"'), (f"{FIRST}.bonus",)),
        *((WHOLE.replace("XTR = 400", f"XTR = {each}"), (f"{SECOND}.prices.XTR", str(MAX_PRICE)))
          for each in ("0", "-1", "4.5", '"400"', "true", str(MAX_PRICE + 1), "[]")),
        (WHOLE.replace("XTR = 400", "EUR = 400"), (f"{SECOND}.prices.EUR", "not known")),
        (WHOLE.replace("{ USD = 5000 }", "{}"), (f"{FIRST}.prices", "missing")),
        (WHOLE.replace("{ USD = 5000 }", "5000"), (f"{FIRST}.prices", "table")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, named: tuple[str, ...]) -> None:
    told = problem(tmp_path, text)
    assert all(each in told for each in named), told


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes("name = 'ü'".encode("latin-1"))
    for name, words in (("none.toml", "No such file"), ("latin.toml", "UTF-8"), ("", "directory")):
        with pytest.raises(Misconfigured) as refused:
            load_packages(tmp_path / name)
        assert str(tmp_path / name) in refused.value.facts["problem"] and words in refused.value.facts["problem"]
