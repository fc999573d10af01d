"""What `aetherflow doctor` looks at: everything that the settings name is opened or asked once, and what to do is said where it ails.

Nothing is sent to a person, and nothing that a platform, a rail or a server answers is repeated: it may quote a token.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import aiosmtplib
import httpx
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from obstore.exceptions import BaseError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bots.mail.server import mail_from, mail_server
from core.accounts import signing_keys
from core.app import App
from core.blobs import Blobs
from core.catalog import load_catalog
from core.config import PREFIX, Settings
from core.db import UNREACHABLE, Database
from core.errors import AetherflowError, Misconfigured
from core.hints import open_hints
from core.keys import open_keys
from core.moderation import load_moderation
from core.payments.models import CURRENCIES
from core.payments.packages import load_packages
from core.payments.rails.opened import alipay_rail
from core.providers.classifier import classifier_of
from core.providers.http import Client, make_client
from core.vault.errors import VaultAway
from core.vault.service import open_vault
from core.vault.transit import misconfigured
from migrations.upgrade import configuration

SECONDS = 15.0
"""The longest that one thing is waited for."""
PNG = b"\x89PNG"
RAIL_SETTINGS = {
    "stripe": ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"),
    "alipay": ("ALIPAY_APP_ID", "ALIPAY_SELLER_ID", "ALIPAY_PRIVATE_KEY", "ALIPAY_PUBLIC_KEY"),
    "stars": ("TELEGRAM_TOKEN",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `words` say how it is, and where it is not "ok" what to do."""

    state: Literal["ok", "off", "failed"]
    name: str
    words: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, in the order of what stands on what. Raises nothing for what is wrong outside."""
    yield await _looked("settings", _settings, settings)
    database = await _looked("database", _database, settings)
    yield database
    if database.state == "ok":
        yield await _looked("vault", _vault, settings)
    else:
        yield Finding("off", "vault", "not looked at, as it is in the database")
    yield await _looked("redis", _redis, settings)
    yield await _looked("blobs", _blobs, settings)
    for name, check in (("telegram", _telegram), ("discord", _discord), ("mail", _mail)):
        yield await _looked(name, check, settings)
    for rail in RAIL_SETTINGS:
        yield await _looked(f"rail {rail}", partial(_rail, rail=rail), settings)


async def _looked(name: str, check: Callable[[Settings], Awaitable[Finding]], settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(SECONDS):
            return await check(settings)
    except Misconfigured as error:
        return Finding("failed", name, f"{PREFIX}{error.facts['setting']}: {error.facts['problem']}")
    except TimeoutError:
        return Finding("failed", name, f"no answer within {SECONDS:g} seconds: look at the network between here and there")


async def _settings(settings: Settings) -> Finding:
    catalog, packages = load_catalog(settings.catalog_file), load_packages(settings.packages_file)
    load_moderation(settings.moderation_file)
    if (classifier := classifier_of(settings.moderation_classifier)) is not None:
        classifier.close()
    await asyncio.to_thread(signing_keys, settings)
    admins = len(settings.admin_identities)
    public = urlsplit(settings.public_url)
    if public.scheme == "http" and not settings.is_loopback(settings.public_url):
        return Finding(
            "failed", "settings", f"{PREFIX}PUBLIC_URL must begin with https:// where it is not this machine: keys are typed there"
        )
    if settings.database_url.startswith("postgres") and not settings.redis_url:
        words = f"set {PREFIX}REDIS_URL: without it processes do not wake each other and count limits each for itself"
        return Finding("failed", "settings", words)
    size = "embedded" if settings.embedded else "scaled"
    words = f"{size} size, data in {settings.data_dir}, {len(catalog.models)} models, {len(packages.by_id)} packages, {admins} admins"
    return Finding("ok", "settings", words if admins else f"{words}; set {PREFIX}ADMINS to telegram:ID or discord:ID to have one")


async def _database(settings: Settings) -> Finding:
    database = Database(settings.sqlalchemy_url)
    known = ScriptDirectory.from_config(configuration())
    head = known.get_current_head()
    try:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
        try:
            async with database.read() as connection:
                at = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        except DBAPIError:  # it answers, and has no such table
            at = None
    except UNREACHABLE as error:
        words = f"{PREFIX}DATABASE_URL: no database answers there ({type(error).__name__}); is it running, and are name and password right?"
        return Finding("failed", "database", words)
    finally:
        await database.close()
    if at == head:
        return Finding("ok", "database", f"{database.dialect}, schema {head}")
    if at is None or _is_known(known, str(at)):
        return Finding("failed", "database", f"{database.dialect}, schema {at or 'empty'} instead of {head}: run `aetherflow migrate`")
    return Finding("failed", "database", f"{database.dialect}, schema {at} is newer than this program: install the version that made it")


def _is_known(known: ScriptDirectory, revision: str) -> bool:
    try:
        return known.get_revision(revision) is not None
    except CommandError:
        return False


async def _vault(settings: Settings) -> Finding:
    database = Database(settings.sqlalchemy_url)
    try:
        async with open_keys(settings) as keys:
            await open_vault(database, keys)
            newest = await keys.newest()
    except VaultAway as error:
        raise misconfigured(error) from None
    finally:
        await database.close()
    kms = f" of the KMS at {urlsplit(settings.vault_kms_url).netloc}" if ":" in newest else ""
    return Finding("ok", "vault", f"every stored key can be unwrapped; {newest}{kms} wraps new ones")


async def _redis(settings: Settings) -> Finding:
    if not settings.redis_url:
        return Finding("off", "redis", f"not needed by one process; for several set {PREFIX}REDIS_URL")
    key = f"doctor:{secrets.token_hex(8)}"
    async with open_hints(settings.redis_url) as hints:  # swallows an outage: what was remembered is not recalled then
        await hints.remember(key, "ok", 10)
        if await hints.recall(key) == "ok":
            await hints.remember(key, "", 0)
            return Finding("ok", "redis", "remembers and recalls")
    return Finding("failed", "redis", f"{PREFIX}REDIS_URL: no Redis answers there; is it running, and is the password right?")


async def _blobs(settings: Settings) -> Finding:
    problem = f"{PREFIX}BLOB_URL: pictures cannot be stored there; look at the address, its credentials, and the disk"
    try:
        blobs = await asyncio.to_thread(Blobs, settings.blob_location)
    except (OSError, ValueError, BaseError) as error:
        return Finding("failed", "blobs", f"{problem} ({type(error).__name__})")
    try:
        name = await blobs.put("doctor", PNG, "image/png")
        same = await blobs.get(name) == PNG
        await blobs.delete(name)
    except AetherflowError:
        return Finding("failed", "blobs", problem)
    finally:
        await asyncio.to_thread(blobs.close)
    place = urlsplit(settings.blob_location)
    return Finding("ok" if same else "failed", "blobs", f"{place.scheme}://{place.hostname or ''}{place.path}" if same else problem)


async def _telegram(settings: Settings) -> Finding:
    token = settings.telegram_token.get_secret_value()
    if not token:
        return Finding("off", "telegram", f"set {PREFIX}TELEGRAM_TOKEN; @BotFather gives one")
    status, answer = await _asked(f"{settings.telegram_api_url}/bot{token}/getMe", {})
    bot = answer.get("result")
    if status == 200 and isinstance(bot, dict):
        return Finding("ok", "telegram", f"@{bot.get('username')}, by {settings.telegram_mode}")
    if status in (401, 404):  # 404: it has not even the shape of one
        return Finding("failed", "telegram", f"{PREFIX}TELEGRAM_TOKEN: Telegram does not know it; get a valid one from @BotFather")
    return _silent("telegram", "TELEGRAM_API_URL", status)


async def _discord(settings: Settings) -> Finding:
    token = settings.discord_token.get_secret_value()
    if not token:
        return Finding("off", "discord", f"set {PREFIX}DISCORD_TOKEN; the Discord developer portal gives one")
    status, answer = await _asked(f"{settings.discord_api_url}/users/@me", {"Authorization": f"Bot {token}"})
    if status == 200:
        return Finding("ok", "discord", str(answer.get("username")))
    if status in (401, 403):
        return Finding("failed", "discord", f"{PREFIX}DISCORD_TOKEN: Discord does not know it; reset it in the developer portal")
    return _silent("discord", "DISCORD_API_URL", status)


async def _asked(url: str, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
    """Status and JSON object; status 0 when nothing answered."""
    client: Client = make_client()
    try:
        answered = await client.get(url, headers=headers)
        found = answered.json() if answered.status_code == 200 else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError):
        return 0, {}
    finally:
        await client.aclose()
    return answered.status_code, found if isinstance(found, dict) else {}


def _silent(name: str, setting: str, status: int) -> Finding:
    told = f"answered {status}" if status else "does not answer"
    return Finding("failed", name, f"{PREFIX}{setting} {told}: look at the address and the network, and ask again in a minute")


async def _mail(settings: Settings) -> Finding:
    if not settings.smtp_url.get_secret_value():
        return Finding("off", "mail", f"no accounts by e-mail; for them set {PREFIX}SMTP_URL")
    server = mail_server(settings)
    sender = mail_from(settings, server)
    client = aiosmtplib.SMTP(
        hostname=server.host, port=server.port, username=server.user or None, password=server.password or None, use_tls=server.tls,
        start_tls=server.start_tls, timeout=SECONDS,
    )  # fmt: skip
    try:
        await client.connect()
        await client.quit()
    except aiosmtplib.SMTPAuthenticationError:
        return Finding("failed", "mail", f"{PREFIX}SMTP_URL: the server refuses its user and password")
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        words = f"{PREFIX}SMTP_URL: no mail server to be used ({type(error).__name__}); look at host, port and smtp:// or smtps://"
        return Finding("failed", "mail", words)
    finally:
        client.close()
    return Finding("ok", "mail", f"{server.host}:{server.port}, from {sender.addr_spec}")


async def _rail(settings: Settings, rail: str) -> Finding:
    name, currency = f"rail {rail}", CURRENCIES[rail]
    if rail not in settings.rails:
        return Finding("off", name, f"to take {currency}, set {' and '.join(PREFIX + each for each in RAIL_SETTINGS[rail])}")
    if rail == "alipay":
        client = make_client()
        try:
            alipay_rail(settings, client, App.now)
        finally:
            await client.aclose()
    if not load_packages(settings.packages_file).sold_in(currency):
        return Finding("failed", name, f"{PREFIX}PACKAGES_FILE: no package has a price in {currency}")
    return Finding("ok", name, f"takes {currency}")
