"""What prompts may not say: found however it is written, told with its words, and never where it is part of another word."""

from pathlib import Path

import pytest

from core.errors import Misconfigured
from core.moderation import DEFAULT_FILE, ForbiddenPrompt, Moderation, load_moderation

LISTS = load_moderation()


FORBIDDEN = {
    "a FAKE   Passport on a desk": "fraud",
    "\uff46\uff41\uff4b\uff45 passport": "fraud",  # wide letters
    "fake-passport": "fraud",
    "一张假护照的照片": "fraud",
    "a fa\u200fke pass\u200eport": "fraud",
    "一张假\u200d护\ufe0f照的照片": "fraud",
    "a nude\nchild": "minors",
    "儿童色情": "minors",
    "Snuff film poster": "cruelty",
}
FINE = ["a fox", "a passport", "a child in a red coat", "unfake passports", "counterfeit moneyball poster", "护照", "", "a bomb shelter"]


@pytest.mark.parametrize(("prompt", "topic"), FORBIDDEN.items())
def test_what_is_not_drawn(prompt: str, topic: str) -> None:
    with pytest.raises(ForbiddenPrompt) as caught:
        LISTS.check(prompt)
    assert caught.value.facts["topic"] == topic


@pytest.mark.parametrize("prompt", FINE)
def test_what_is(prompt: str) -> None:
    LISTS.check(prompt)


def test_an_operators_own_lists(tmp_path: Path) -> None:
    file = tmp_path / "words.toml"
    file.write_text('[topics]\nbirds = ["blue jay"]\nnone = []\n', encoding="utf-8")
    own = load_moderation(file)
    with pytest.raises(ForbiddenPrompt):
        own.check("Blue  Jay")
    own.check("fake passport")
    Moderation({}).check("anything")
    for wrong in ("[topic]\n", '[topics]\nbirds = "blue jay"\n', "topics"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(Misconfigured) as caught:
            load_moderation(file)
        assert caught.value.facts["setting"] == "MODERATION_FILE"
    assert DEFAULT_FILE.is_file()
