"""The ring of key-encryption keys, its file, and the Secret that shows nothing."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from core.errors import Misconfigured
from core.vault.errors import CannotOpen
from core.vault.keyring import Keyring, keyring_file, new_key
from core.vault.secret import MASK, Secret

KEY = "sk-abcdefghijk"


async def test_the_newest_key_wraps_and_every_key_unwraps() -> None:
    old, new = new_key("old"), new_key("new")
    [wrapped] = await Keyring(old).wrap([b"d" * 32])
    ring = Keyring(f"{new}, {old}")
    assert ring.ids() == ["new", "old"] and await ring.newest() == "new"
    assert [each.by for each in await ring.wrap([b"d" * 32])] == ["new"]
    assert await ring.unwrap([wrapped]) == [b"d" * 32]
    [refused] = await Keyring(new).unwrap([wrapped])
    assert isinstance(refused, CannotOpen)


@pytest.mark.parametrize(
    "text", ["", " , ", "k1", "k1:", "k1:short", "k1:" + "A" * 43, ":" + "A" * 43 + "=", "k1:äöü", "k" * 33 + ":" + "A" * 43 + "="]
)
def test_a_malformed_ring_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Keyring(text)
    encoded = text.partition(":")[2]
    assert not encoded or encoded not in str(refused.value)


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(Misconfigured):
        Keyring(f"{new_key('k')},{new_key('k')}")


def test_the_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "keyring"
    made = keyring_file(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert keyring_file(file) == made and Keyring(made).ids() == ["k1"]
    assert [each.name for each in file.parent.iterdir()] == ["keyring"]


def test_an_older_key_in_a_second_line_is_read(tmp_path: Path) -> None:
    file = tmp_path / "keyring"
    file.write_text(f"{new_key('k2')}\n{new_key('k1')}\n")
    file.chmod(0o600)
    assert Keyring(keyring_file(file)).ids() == ["k2", "k1"]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keyring"
    keyring_file(file)
    file.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        keyring_file(file)


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{0!r:>3}".format, "%s".__mod__, lambda each: f"{each:>40}"])
def test_a_secret_shows_nothing(show: Callable[[Secret], str]) -> None:
    assert show(Secret(KEY)).strip() == MASK


@pytest.mark.parametrize(
    "use",
    [pickle.dumps, copy.copy, copy.deepcopy, hash, json.dumps, vars, list, len, lambda each: each == each, lambda each: each == KEY],
)  # fmt: skip
def test_a_secret_cannot_be_used_as_anything_else(use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as refused:
        use(Secret(KEY))
    assert KEY not in str(refused.value)


def test_a_secret_reaches_no_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("key %s in %r", Secret(KEY), {"key": Secret(KEY)})
    assert KEY not in caplog.text and caplog.text.count(MASK) == 2
    assert Secret(KEY).reveal() == KEY and Secret(KEY) and not Secret("")


def test_processes_that_start_at_once_agree_on_one_ring(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        rings = set(pool.map(keyring_file, [tmp_path / "keyring"] * 6))
    assert len(rings) == 1 and [each.name for each in tmp_path.iterdir()] == ["keyring"]
