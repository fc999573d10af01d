"""`aetherflow doctor`: all that is well is said to be, each thing that is not has its own line with what to do, and no secret shows."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.config import Settings
from core.db import Database
from core.vault.keyring import Keyring, new_key
from core.vault.service import open_vault
from doctor import Finding, examine
from sandbox.world import World
from tests.vault.kms import TOKEN, standing_in

ROOT = Path(__file__).parents[1]
TELEGRAM, DISCORD = "7000000001:AAsandboxTokenForTheDoctor", "MTAwMDAwMDAwMDAwMDAwMDAx.sandbox.doctor"
NOWHERE = "http://127.0.0.1:1"
ALL = {
    "settings", "database", "vault", "redis", "blobs", "telegram", "discord", "mail", "rail stripe", "rail alipay", "rail stars",
}  # fmt: skip


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start(port=0)
    yield made
    await made.stop()


async def seen(settings: Settings) -> dict[str, Finding]:
    """What the doctor finds, by name; no secret is among its words."""
    found = {finding.name: finding async for finding in examine(settings)}
    assert set(found) == ALL
    words = " ".join(finding.words for finding in found.values())
    for name, field in Settings.model_fields.items():
        secret = getattr(settings, name).get_secret_value() if field.annotation is SecretStr else ""
        assert not secret or secret not in words
    assert all(finding.words for finding in found.values())
    return found


def whole(world: World, folder: Path, **changed: Any) -> Settings:
    """Everything set and well, but for what is changed."""
    values: dict[str, Any] = {
        "data_dir": folder, "admins": "telegram:1009",
        "telegram_token": SecretStr(TELEGRAM), "telegram_api_url": f"{world.url}/telegram",
        "discord_token": SecretStr(DISCORD), "discord_api_url": f"{world.url}/discord/api/v10",
        "stripe_secret_key": SecretStr("sk_test_doctor"), "stripe_webhook_secret": SecretStr("whsec_doctor"),
        "stripe_api_url": f"{world.url}/stripe",
        "smtp_url": SecretStr(world.mail.smtp_url), "mail_from": "Aetherflow <hello@aetherflow.example>",
        **{name.lower(): value for name, value in world.alipay.settings().items()},
    }  # fmt: skip
    return Settings(**values | changed)


async def test_a_whole_installation_is_well_and_nothing_is_left_behind(
    world: World, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = whole(
        world, tmp_path, database_url=database_url, redis_url=redis_url, vault_keys=SecretStr(new_key("k1")), jwt_secret=SecretStr("j" * 40)
    )
    found = await seen(settings)
    assert {name: finding.state for name, finding in found.items()} == dict.fromkeys(ALL, "ok"), found
    assert "@" in found["telegram"].words and "hello@aetherflow.example" in found["mail"].words
    assert not list((tmp_path / "blobs").rglob("*.png"))
    assert world.mail.mails == []


async def test_nothing_set_but_a_schema_is_the_embedded_size_with_the_rest_off(world: World, sqlite_url: str, tmp_path: Path) -> None:
    found = await seen(Settings(data_dir=tmp_path, database_url=sqlite_url))
    assert {name for name, finding in found.items() if finding.state == "ok"} == {"settings", "database", "vault", "blobs"}
    assert {finding.state for name, finding in found.items()} == {"ok", "off"}
    for name, setting in (("telegram", "TELEGRAM_TOKEN"), ("discord", "DISCORD_TOKEN"), ("mail", "SMTP_URL"),
                          ("rail stripe", "STRIPE_SECRET_KEY"),
                          ("rail alipay", "ALIPAY_PUBLIC_KEY"), ("rail stars", "TELEGRAM_TOKEN"), ("redis", "REDIS_URL")):  # fmt: skip
        assert f"AETHERFLOW_{setting}" in found[name].words


async def test_an_empty_database_is_to_be_migrated(world: World, empty_url: str, tmp_path: Path) -> None:
    found = await seen(whole(world, tmp_path, database_url=empty_url, redis_url=NOWHERE.replace("http", "redis")))
    assert found["database"].state == "failed" and "aetherflow migrate" in found["database"].words
    assert found["vault"].state == "off"
    assert found["blobs"].state == found["telegram"].state == "ok"


async def test_a_schema_of_a_newer_program_is_told_apart(world: World, database: Database, database_url: str, tmp_path: Path) -> None:
    settings = whole(world, tmp_path, database_url=database_url, redis_url=NOWHERE.replace("http", "redis"))
    for version, words in (("9999", "newer"), ("0001", "aetherflow migrate")):
        async with database.begin() as connection:
            await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")
        found = await seen(settings)
        assert found["database"].state == "failed" and words in found["database"].words and version in found["database"].words


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"database_url": "postgresql://u:hidden@127.0.0.1:1/d"}, "database", "AETHERFLOW_DATABASE_URL"),
        ({"database_url": "sqlite:////nowhere/at/all.db"}, "database", "AETHERFLOW_DATABASE_URL"),
        ({"redis_url": "redis://127.0.0.1:1"}, "redis", "AETHERFLOW_REDIS_URL"),
        ({"blob_url": "file:///proc/nowhere"}, "blobs", "AETHERFLOW_BLOB_URL"),
        ({"telegram_token": SecretStr("no token")}, "telegram", "@BotFather"),
        ({"telegram_api_url": NOWHERE}, "telegram", "AETHERFLOW_TELEGRAM_API_URL does not answer"),
        ({"discord_api_url": NOWHERE}, "discord", "AETHERFLOW_DISCORD_API_URL does not answer"),
        ({"smtp_url": SecretStr("nonsense")}, "mail", "AETHERFLOW_SMTP_URL"),
        ({"smtp_url": SecretStr("smtp://127.0.0.1:1")}, "mail", "AETHERFLOW_SMTP_URL"),
        ({"mail_from": "nobody"}, "mail", "AETHERFLOW_MAIL_FROM"),
        ({"alipay_private_key": SecretStr("no key at all")}, "rail alipay", "AETHERFLOW_ALIPAY_PRIVATE_KEY"),
        ({"alipay_seller_id": "20 88"}, "rail alipay", "AETHERFLOW_ALIPAY_SELLER_ID"),
        ({"admins": "ada"}, "settings", "AETHERFLOW_ADMINS"),
        ({"public_url": "http://shop.example"}, "settings", "https://"),
        ({"catalog_file": Path("/nowhere/catalog.toml")}, "settings", "AETHERFLOW_CATALOG_FILE"),
    ],
)  # fmt: skip
async def test_what_fails_is_told_with_its_setting_and_the_rest_is_looked_at(
    world: World, sqlite_url: str, tmp_path: Path, changed: dict[str, Any], name: str, words: str
) -> None:
    settings = whole(
        world, tmp_path, **{"database_url": sqlite_url, "vault_keys": SecretStr(new_key("k1")), "jwt_secret": SecretStr("j" * 40)} | changed
    )
    found = await seen(settings)
    assert found[name].state == "failed" and words in found[name].words, found[name]
    assert "hidden" not in found[name].words
    others = {each for each, finding in found.items() if finding.state == "failed"} - {name}
    assert others <= {"settings"}  # a database beyond this process wants a Redis as well


async def test_a_rail_whose_currency_nothing_is_sold_in_is_told(world: World, sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "packages.toml"
    file.write_text('[[package]]\nid = "small"\ncredits = "500"\nprices = { USD = 500 }\n')
    found = await seen(whole(world, tmp_path, database_url=sqlite_url, packages_file=file))
    assert [found[f"rail {rail}"].state for rail in ("stripe", "alipay", "stars")] == ["ok", "failed", "failed"]
    assert "PACKAGES_FILE" in found["rail stars"].words and "XTR" in found["rail stars"].words


async def test_a_token_that_was_revoked_and_a_password_that_is_wrong(world: World, sqlite_url: str, tmp_path: Path) -> None:
    settings = whole(world, tmp_path, database_url=sqlite_url)
    world.telegram.revoked = True
    world.discord.faults.refuse_token = True
    world.mail.password = "another"
    found = await seen(settings)
    assert "@BotFather" in found["telegram"].words and "DISCORD_TOKEN" in found["discord"].words
    assert "user and password" in found["mail"].words
    assert {found[name].state for name in ("telegram", "discord", "mail")} == {"failed"}


async def test_a_ring_that_did_not_seal_what_is_stored_is_told(world: World, database: Database, database_url: str, tmp_path: Path) -> None:
    await open_vault(database, Keyring(new_key("k1")))
    for key in (new_key("k1"), new_key("k2")):
        settings = whole(
            world, tmp_path, database_url=database_url, redis_url=NOWHERE.replace("http", "redis"), vault_keys=SecretStr(key),
            jwt_secret=SecretStr("j" * 40),
        )  # fmt: skip
        found = await seen(settings)
        assert found["vault"].state == "failed" and "VAULT_KEYS" in found["vault"].words


async def test_how_the_kms_is(world: World, database: Database, database_url: str, tmp_path: Path) -> None:
    async with standing_in() as kms:
        settings = whole(world, tmp_path, database_url=database_url, vault_kms_url=kms.url, vault_kms_token=SecretStr(TOKEN))
        found = (await seen(settings))["vault"]
        assert found.state == "ok" and "aetherflow:v1 of the KMS at 127.0.0.1:" in found.words
        kms.sealed = True
        found = (await seen(settings))["vault"]
        assert found.state == "failed" and "VAULT_KMS_URL: the KMS is sealed" in found.words


def test_the_command_ends_with_one_when_something_fails(sqlite_url: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AETHERFLOW_")}
    environment |= {"AETHERFLOW_DATA_DIR": str(tmp_path), "AETHERFLOW_DATABASE_URL": sqlite_url, "PYTHONPATH": str(ROOT)}
    for blobs, code in (("", 0), ("file:///proc/nowhere", 1)):
        command = [sys.executable, str(ROOT / "cli.py"), "doctor"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | {"AETHERFLOW_BLOB_URL": blobs}, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert len(done.stdout.splitlines()) == len(ALL)
        assert ("failed blobs" in done.stdout) is bool(code)
