"""Settings: what is wrong is said by name and without its value, before anything starts."""

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.config import Settings, load
from core.errors import Misconfigured
from core.keys import keyring

WHOLE = base64.b64encode(bytes(range(32))).decode()
"""A key of the right length; always the same, as it names tests."""


def loaded(**values: str) -> Settings:
    """Settings of an environment with those names, in lower case and without their prefix."""
    return load({f"AETHERFLOW_{name.upper()}": value for name, value in values.items()}, None)


def problem(**values: str) -> str:
    """Why those settings do not load."""
    with pytest.raises(Misconfigured) as refused:
        loaded(**values)
    return str(refused.value.facts["problem"])


def test_nothing_set_is_the_embedded_size() -> None:
    settings = loaded()
    assert settings.embedded
    assert settings.sqlalchemy_url == "sqlite+aiosqlite:///var/aetherflow.sqlite3"
    assert settings.blob_location == (Path.cwd() / "var" / "blobs").as_uri()
    assert (settings.miner_percent, settings.commission_percent, settings.royalty_percent) == (85, 15, 5)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
    ],
)
def test_a_database_is_named_without_its_driver(url: str, expected: str) -> None:
    settings = loaded(database_url=url)
    assert settings.sqlalchemy_url == expected
    assert settings.embedded is url.startswith("sqlite")
    assert not loaded(database_url=url, redis_url="redis://h").embedded


@pytest.mark.parametrize("name", ["nonsense", "port", "stability_api", "vault_key", "commission"])
def test_an_unknown_name_is_an_error_by_its_name(name: str) -> None:
    assert f"AETHERFLOW_{name.upper()}: " in problem(**{name: "1"})


def test_names_of_others_and_of_tests_are_none_of_ours() -> None:
    environment = {"AETHERFLOW_TEST_POSTGRES_URL": "x", "NONSENSE": "1", "AETHERFLOW_API_PORT": "", "API_PORT": "9"}
    assert load(environment, None) == loaded()


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("api_port", "-1", "0"), ("api_port", "65536", "65535"), ("discord_shards", "10001", "10000"),
        ("commission_percent", "101", "100"), ("miner_percent", "-1", "0"), ("royalty_percent", "101", "100"),
        ("earnings_hold_hours", "-1", "0"), ("earnings_hold_hours", "8761", "8760"), ("worker_slots", "0", "1"),
        ("lease_seconds", "0", "0"), ("lease_seconds", "3601", "3600"), ("lease_seconds", "inf", "3600"), ("lease_seconds", "nan", "3600"),
        ("sweep_seconds", "-0.1", "0"), ("call_seconds", "3600.1", "3600"), ("generation_minutes", "0", "1"),
        ("generation_minutes", "1441", "1440"), ("tries_per_generation", "21", "20"), ("running_per_user", "0", "1"),
        ("queued_per_user", "100001", "100000"), ("resources_per_miner", "0", "1"), ("handover_minutes", "0", "1"),
        ("events_per_minute", "0", "1"), ("sync_minutes", "1441", "1440"),
        ("payment_minutes", "30", "31"), ("unpaid_payments", "0", "1"), ("payments_per_day", "1001", "1000"),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_told_with_its_bound(name: str, value: str, bound: str) -> None:
    told = problem(**{name: value})
    assert f"AETHERFLOW_{name.upper()}: " in told
    assert re.search(rf"\b{bound}\b", told)


@pytest.mark.parametrize(
    "name",
    [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)],
)
@pytest.mark.parametrize("value", ["many", "1,5", "0x10", "1 2", "--"])
def test_what_is_no_number_is_told_by_name_and_not_shown(name: str, value: str) -> None:
    told = problem(**{name: value})
    assert f"AETHERFLOW_{name.upper()}: " in told and ("number" in told or "integer" in told)
    assert value not in told.replace("AETHERFLOW_", "")


@pytest.mark.parametrize(("name", "value", "allowed"), [("telegram_mode", "push", "webhook"), ("log_level", "loud", "warning")])
def test_a_word_that_is_not_known_is_told_with_those_that_are(name: str, value: str, allowed: str) -> None:
    told = problem(**{name: value})
    assert f"AETHERFLOW_{name.upper()}: " in told and allowed in told and value not in told


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"miner_percent": "90"}, ("MINER_PERCENT", "COMMISSION_PERCENT", "100")),
        ({"miner_percent": "60", "commission_percent": "60"}, ("MINER_PERCENT", "COMMISSION_PERCENT", "100")),
        ({"commission_percent": "14"}, ("MINER_PERCENT", "COMMISSION_PERCENT", "100")),
        ({"royalty_percent": "16"}, ("ROYALTY_PERCENT", "commission")),
        ({"miner_percent": "100", "commission_percent": "0"}, ("ROYALTY_PERCENT", "commission")),
        ({"telegram_mode": "webhook"}, ("TELEGRAM_WEBHOOK_SECRET",)),
        ({"stripe_secret_key": "sk_test_1"}, ("STRIPE", "all of its settings")),
        ({"stripe_webhook_secret": "whsec_1"}, ("STRIPE", "all of its settings")),
        ({"alipay_app_id": "1", "alipay_seller_id": "2", "alipay_private_key": "3"}, ("ALIPAY", "all of its settings")),
    ],
)
def test_parts_that_do_not_agree_are_told_together(values: dict[str, str], named: tuple[str, ...]) -> None:
    told = problem(**values)
    assert all(each in told for each in named)


def test_parts_that_agree_load() -> None:
    assert loaded(miner_percent="100", commission_percent="0", royalty_percent="0").miner_percent == 100
    assert loaded(miner_percent="80", commission_percent="20", royalty_percent="20").royalty_percent == 20
    assert loaded().rails == []
    assert loaded(stripe_secret_key="sk_test_1", stripe_webhook_secret="whsec_1", telegram_token="1:x").rails == ["stripe", "stars"]
    assert loaded(telegram_mode="webhook", telegram_webhook_secret="a-long-webhook-secret").telegram_mode == "webhook"


def test_every_problem_is_told_at_once() -> None:
    told = problem(nonsense="1", api_port="x", log_level="loud")
    assert all(f"AETHERFLOW_{each}: " in told for each in ("NONSENSE", "API_PORT", "LOG_LEVEL"))


@pytest.mark.parametrize(
    "values",
    [
        {"nonsense": "1"},
        {"miner_percent": "90"},
        {"royalty_percent": "16"},
        {"telegram_mode": "webhook"},
        {"api_port": "65536"}, {"api_port": "many"}, {"api_port": "1" * 5000}, {"lease_seconds": "many"}, {"lease_seconds": "0"},
        {"worker_slots": "0"}, {"lease_seconds": "nan"}, {"log_level": "loud"}, {"support_contact": "x" * 201},
    ],
    ids=str,
)  # fmt: skip
def test_the_sentence_is_the_operators_and_not_the_librarys(values: dict[str, str]) -> None:
    told = problem(**values)
    assert not [
        each
        for each in ("Value error", "Extra inputs", "AETHERFLOW_: ", "pydantic", "Input should", "String should", "unable to")
        if each in told
    ]
    assert told.startswith("AETHERFLOW_") and "\n" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "nonsense"), ("database_url", "mysql://h/d"), ("redis_url", "http://h"), ("redis_url", "h:6379"),
        ("public_url", "nonsense"), ("public_url", "ftp://h"), ("telegram_api_url", "api.telegram.org"), ("discord_api_url", "/api"),
        ("discord_gateway_url", "https://h"), ("stability_api_url", "file:///etc"), ("openai_api_url", "https://"),
        ("blob_url", "nonsense"), ("stripe_api_url", "nonsense"), ("public_url", "http://h:99999"), ("openai_api_url", "http://[::1"),
        ("redis_url", "redis://h:x"), ("alipay_gateway_url", "nonsense"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_told_by_name(name: str, value: str) -> None:
    assert f"AETHERFLOW_{name.upper()}" in problem(**{name: value})


@pytest.mark.parametrize("secret", ["x", "short", "with a space in it, and long", "ключ-ключ-ключ-ключ", "x" * 257])
def test_a_webhook_secret_that_can_be_guessed_or_that_telegram_refuses_is_told(secret: str) -> None:
    """Telegram takes 1 to 256 of A-Z, a-z, 0-9, _ and - (core.telegram.org/bots/api#setwebhook)."""
    told = problem(telegram_mode="webhook", telegram_webhook_secret=secret)
    assert "TELEGRAM_WEBHOOK_SECRET" in told and secret not in told.replace("AETHERFLOW_", "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vault_kms_url": "https://kms.example"}, "belong together"),
        ({"vault_kms_token": "hvs.x"}, "belong together"),
        ({"vault_kms_url": "https://kms.example", "vault_kms_token": "hvs.x", "vault_kms_token_file": "/t"}, "belong together"),
        ({"vault_kms_url": "http://kms.example", "vault_kms_token": "hvs.x"}, "must begin with https://"),
        ({"vault_kms_url": "ftp://kms.example", "vault_kms_token": "hvs.x"}, "VAULT_KMS_URL: is not an address"),
        ({"vault_kms_key": "k" * 25}, "VAULT_KMS_KEY: must have at most 24"),
        ({"vault_kms_key": "../sys"}, "VAULT_KMS_KEY: must look like"),
        ({"vault_kms_mount": "a/../b"}, "VAULT_KMS_MOUNT: must look like"),
        ({"vault_kms_seconds": "0"}, "VAULT_KMS_SECONDS: must be a number above 0"),
    ],
)
def test_a_kms_that_is_half_named_or_without_tls_is_told(values: dict[str, str], words: str) -> None:
    assert words in problem(**values) and "hvs.x" not in problem(**values)
    assert loaded(vault_kms_url="http://127.0.0.1:8200", vault_kms_token="hvs.x").vault_kms_key == "aetherflow"


def test_no_secret_shows_in_settings_or_in_what_is_wrong_with_them() -> None:
    secret = "a-secret-that-must-not-show"
    names = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    assert {"vault_keys", "telegram_token", "discord_token", "telegram_webhook_secret", "jwt_secret"} <= set(names)
    others = {"alipay_app_id": "2021000000000000", "alipay_seller_id": "2088000000000000"}  # what belongs to them
    others["vault_kms_url"] = "https://kms.example"
    settings = loaded(**dict.fromkeys(names, secret), **others)
    assert secret not in f"{settings!r} {settings} {settings.model_dump()}"
    assert secret not in problem(**dict.fromkeys(names, secret), api_port=secret, nonsense=secret)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('AETHERFLOW_API_PORT=1\nAETHERFLOW_ADMINS="telegram:1"\nOTHER=2\nAETHERFLOW_LOG_LEVEL\n')
    settings = load({"AETHERFLOW_API_PORT": "2"}, file)
    assert (settings.api_port, settings.admins, settings.log_level) == (2, "telegram:1", "info")
    file.write_text("AETHERFLOW_NONSENSE=1\n")
    with pytest.raises(Misconfigured) as refused:
        load({}, file)
    assert "AETHERFLOW_NONSENSE" in refused.value.facts["problem"]
    assert load({}, tmp_path / "none") == loaded()


def test_what_was_not_given_to_load_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "AETHERFLOW_API_PORT", "3")
    assert load({}, None).api_port == 8000
    assert load(None, None).api_port == 3


def test_admins_are_platforms_and_ids() -> None:
    assert loaded().admin_identities == []
    assert loaded(admins=" telegram:1, discord:22 ,").admin_identities == [("telegram", "1"), ("discord", "22")]


@pytest.mark.parametrize("admins", ["1001", "telegram", "telegram:", "sms:1", "telegram:1;discord:2x, ada"])
def test_a_malformed_list_of_admins_is_told(admins: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        _ = loaded(admins=admins).admin_identities
    assert refused.value.facts["setting"] == "ADMINS" and "platform:id" in refused.value.facts["problem"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("short", "key 1"), ("k1:short", "key 1"), ("k1:" + "A" * 43, "key 1"), (f":{WHOLE}", "key 1"), (f"{'k' * 33}:{WHOLE}", "key 1"),
        (f"k1:{WHOLE},k2:c2hvcnQ=", "key 2"), (f"k1:{WHOLE},k1:{WHOLE}", "key 2"), (" , ", "is empty"),
    ],
)  # fmt: skip
def test_a_malformed_ring_of_keys_is_told_without_showing_it(keys: str, told: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        keyring(loaded(vault_keys=keys))
    facts: dict[str, Any] = refused.value.facts
    assert facts["setting"] == "VAULT_KEYS" and told in facts["problem"]
    assert not [part for part in re.split("[,:]", keys) if len(part) > 4 and part in facts["problem"]]


@pytest.mark.parametrize("values", [{"database_url": "postgresql://h/d"}, {"redis_url": "redis://h"}])
def test_several_processes_need_a_ring_of_their_own(values: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        keyring(loaded(data_dir=str(tmp_path), **values))
    assert refused.value.facts["setting"] == "VAULT_KEYS" and not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_ring_that_others_may_read_is_refused(tmp_path: Path) -> None:
    settings = loaded(data_dir=str(tmp_path))
    first, second = keyring(settings), keyring(settings)
    assert first is not None and second is not None and first.ids() == second.ids() == ["k1"]
    (tmp_path / "keyring").chmod(0o640)
    with pytest.raises(Misconfigured) as refused:
        keyring(settings)
    assert "chmod 600" in refused.value.facts["problem"]
