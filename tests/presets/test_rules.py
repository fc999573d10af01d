"""What a preset may be, how it is filled, and that a split is whole whatever the percentages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generations.rules import split_price
from core.ledger.models import FEES, pending
from core.presets.errors import BadPreset, BadPresetField
from core.presets.models import Draft, Preset, PresetState
from core.presets.rules import checked, earns, filled
from core.presets.service import STARTERS, read_starters

GOOD = Draft("neon-shoe", "Neon shoe", "a neon {subject} at {place}", {"ar": "16:9", "field.place": "night"}, ("neon", "shop"))
PRESET = Preset(1, GOOD.name, 1, 5, GOOD.title, GOOD.template, GOOD.options, GOOD.tags, PresetState.LISTED)


def test_a_preset_is_filled() -> None:
    assert filled(PRESET, {"prompt": "red shoe"}) == {"ar": "16:9", "prompt": "a neon red shoe at night"}
    assert filled(PRESET, {"field.subject": "hat", "field.place": "{noon}", "ar": "1:1"}) == {"ar": "1:1", "prompt": "a neon hat at {noon}"}
    assert filled(PRESET, {"prompt": "x", "field.subject": "hat"})["prompt"] == "a neon hat at night"


@pytest.mark.parametrize(
    "options", [{}, {"prompt": " "}, {"field.subject": ""}, {"prompt": "x", "field.color": "red"}, {"prompt": "x" * 301},
                {"prompt": "x", "field.place": ""}, {"prompt": "x", "field.place": "y" * 301}],
)  # fmt: skip
def test_what_cannot_be_filled(options: dict[str, str]) -> None:
    with pytest.raises(BadPresetField):
        filled(PRESET, options)


BAD: list[tuple[str, dict[str, object]]] = [
    ("name", {"name": "a"}), ("name", {"name": "Ä-shoe"}), ("name", {"name": "-shoe"}), ("name", {"name": "x" * 41}),
    ("title", {"title": "  "}), ("title", {"title": "x" * 61}), ("long", {"template": ""}), ("long", {"template": "{a}" + "x" * 1000}),
    ("fields", {"template": "no field"}), ("fields", {"template": " ".join(f"{{f{n}}}" for n in range(9))}),
    ("braces", {"template": "{subject} {"}), ("braces", {"template": "{subject} {Other}"}), ("braces", {"template": "{{subject}}"}),
    ("tags", {"tags": tuple(f"tag{n}" for n in range(6))}), ("tags", {"tags": ("x",)}), ("tags", {"tags": ("a b",)}),
    ("option", {"options": {"image": "x"}}), ("option", {"options": {"field.other": "x"}}), ("option", {"options": {"no": "x" * 301}}),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "changes"), BAD)
def test_what_is_no_preset(problem: str, changes: dict[str, object]) -> None:
    values: dict[str, object] = {"name": GOOD.name, "title": GOOD.title, "template": GOOD.template, "options": {}, "tags": ()}
    with pytest.raises(BadPreset) as caught:
        checked(Draft(**values | changes))  # type: ignore[arg-type]  # as a form sends them
    assert caught.value.facts["problem"] == problem


def test_the_starters_are_presets() -> None:
    starters = read_starters(STARTERS)
    assert len({each.name for each in starters}) == len(starters) == 8


@given(st.integers(0, 10**9), st.integers(0, 100), st.integers(0, 100), st.sampled_from([None, 1, 2]))
def test_a_split_is_whole(price: int, miner: int, royalty: int, author: int | None) -> None:
    legs = split_price(price, 1, miner, author, min(royalty, 100 - miner))
    assert sum(leg.amount for leg in legs) == price
    assert min(leg.amount for leg in legs) >= 0
    assert len({leg.account for leg in legs}) == len(legs)
    plain = dict(split_price(price, 1, miner))
    shares = dict(legs)
    if author != 1:
        assert shares[pending(1)] == plain[pending(1)], "a royalty is not the miner's to pay"
    assert shares[FEES] <= plain[FEES]


def test_who_earns() -> None:
    assert earns(5, 6, frozen=False, paid_today=0, most=1)
    assert not earns(None, 6, frozen=False, paid_today=0, most=1)
    assert not earns(6, 6, frozen=False, paid_today=0, most=1)
    assert not earns(5, 6, frozen=True, paid_today=0, most=1)
    assert not earns(5, 6, frozen=False, paid_today=1, most=1)
