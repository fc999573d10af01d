"""The vault behind a KMS, over real sockets: moving there, rotating, waiting while it is sealed, and what start-up refuses."""

import asyncio
import base64
import datetime as dt
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from sqlalchemy import select, update

from core.config import Settings
from core.db import Database
from core.errors import Misconfigured
from core.generations.models import State, attempts, generations
from core.keys import open_keys
from core.mailbox.models import outbox
from core.resources.models import resources
from core.vault.errors import CannotOpen, VaultAway
from core.vault.keyring import new_key
from core.vault.models import Sealed, data_keys, sealed_secrets
from core.vault.redact import Redactor
from core.vault.rotate import rotate
from core.vault.secret import Secret
from core.vault.service import ASK_SECONDS, Vault, fetch, open_vault, store
from core.worker import Worker
from tests.chat.search import every_row
from tests.stage import PRICE, Stage, breaches, ended, settings_for, staged, work_off
from tests.vault.kms import TOKEN, Kms, standing_in

KEY = "sk-lent-to-be-wrapped-elsewhere"


@pytest.fixture
async def kms() -> AsyncIterator[Kms]:
    async with standing_in() as made:
        yield made


def told(kms: Kms, **changes: Any) -> dict[str, Any]:
    """Settings of a process that knows the KMS and no ring."""
    return {"vault_keys": SecretStr(""), "vault_kms_url": kms.url, "vault_kms_token": SecretStr(TOKEN), "redis_url": ""} | changes


async def rotated(settings: Settings) -> int:
    """What `aetherflow vault rotate` does."""
    database = Database(settings.sqlalchemy_url)
    async with open_keys(settings) as keys:
        try:
            return await rotate(database, keys)
        finally:
            await database.close()


@asynccontextmanager
async def vaulted(settings: Settings) -> AsyncIterator[tuple[Database, Vault]]:
    """A started vault."""
    database = Database(settings.sqlalchemy_url)
    try:
        async with open_keys(settings) as keys:
            yield database, await open_vault(database, keys)
    finally:
        await database.close()


async def keep(database: Database, vault: Vault, count: int) -> list[Sealed]:
    """So many secrets in escrow."""
    made = [await vault.seal(Secret(f"{KEY}{n}"), subject=f"resource:{n}", provider="stability", version=1) for n in range(count)]
    for each in made:
        await database.run(lambda connection, sealed=each: store(connection, sealed, 1))  # type: ignore[misc]  # a lambda with a default
    return made


async def wrappings(database: Database) -> set[str]:
    async with database.read() as connection:
        return {by for table in (sealed_secrets, data_keys) for by in await connection.scalars(select(table.c.wrapping))}


async def draw(stage: Stage, *keys: str) -> list[State]:
    made = await stage.submit(*keys)
    await work_off(Worker(stage.app, 1))
    return [(await stage.generation(each.id)).state for each in made]


async def test_a_lent_key_moves_from_the_ring_and_outlives_every_rotation(
    kms: Kms, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with staged(database_url, tmp_path) as stage:
        await stage.lend(KEY)
    with_both = settings_for(database_url, tmp_path, **{k: v for k, v in told(kms).items() if k != "vault_keys"})
    assert (await rotated(with_both), await rotated(with_both)) == (3, 0)
    async with staged(database_url, tmp_path, **told(kms)) as stage:
        assert await wrappings(stage.app.database) == {"aetherflow:v1"}
        assert await draw(stage, "one", "two") == [State.DELIVERED] * 2
        kms.key().rotate()
        kms.calls.clear()
        assert (await rotated(stage.app.settings), await rotated(stage.app.settings)) == (3, 0)
        assert {verb for verb, _ in kms.calls} == {"encrypt", "rewrap"}  # one probe of the newest version each; no data key came out
        kms.key().least = 2
        assert await draw(stage, "three") == [State.DELIVERED]
        assert await stage.balance(f"user:{stage.creator.id}:wallet") == 1_000_000 - 3 * PRICE
        assert not breaches(await stage.audit())
    async with staged(database_url, tmp_path, **told(kms)) as stage:
        assert await wrappings(stage.app.database) == {"aetherflow:v2"}
        assert [key for key, _ in stage.provider.calls] == [] and await draw(stage, "four") == [State.DELIVERED]
        assert stage.provider.calls[0][0] == KEY
        kept = b"".join(await every_row(stage.app.database))
    back = with_both.model_copy(update={"vault_kms_mode": "open"})
    assert await rotated(back) == 3
    async with staged(database_url, tmp_path) as stage:  # without the KMS, as it began
        assert await draw(stage, "five") == [State.DELIVERED]
    written = caplog.text.encode() + repr([vars(each) for each in caplog.records]).encode() + kept
    for clear in (KEY, TOKEN, *kms.opened):
        assert clear.encode() not in written and base64.b64decode(clear + "==", validate=False) not in written


async def test_a_sealed_kms_is_waited_for_and_said(kms: Kms, database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with staged(database_url, tmp_path, **told(kms)) as stage:
        await stage.admin()
        await stage.lend(KEY)
        patient, late = await stage.submit("patient", "late")
        app, worker = stage.app, Worker(stage.app, 1)
        kms.sealed = True
        leases = {lease.generation.id: lease.generation for lease in (await worker.claim()).leases}
        calls = {lease.generation.id: task for task, lease in worker._running.items()}  # neither has had its turn
        with pytest.raises(VaultAway, match="sealed"):
            await stage.app.vault.seal(Secret("sk-another"), subject="resource:9", provider="stability", version=1)
        await worker.sweep()
        over = update(generations).where(generations.c.id == late.id).values(deadline=app.now())
        await app.database.run(lambda connection: connection.execute(over))
        object.__setattr__(leases[late.id], "deadline", 0)  # its time ends while it waits, however slow the machine is
        await calls[late.id]
        assert (await stage.generation(late.id)).state is State.FAILED and not calls[patient.id].done()
        assert (await stage.generation(patient.id)).state is State.RUNNING
        assert await stage.balance(f"user:{stage.creator.id}:wallet") == 1_000_000 - PRICE  # of the other it is held
        kms.calls.clear()
        kms.opened.clear()
        kms.sealed = False
        await calls[patient.id]
        assert kms.calls == [("decrypt", 1)] and not kms.opened, "whether it is back is asked without opening anything"
        waited = await stage.generation(patient.id)
        assert waited.state is State.QUEUED, "what its key may do in a minute is reckoned anew"
        await work_off(worker)
        await worker.sweep()
        assert (await stage.generation(patient.id)).state is State.DELIVERED
        assert [key for key, _ in stage.provider.calls] == [KEY]
        assert not breaches(await stage.audit())
        async with app.read() as work:
            bodies = await work.connection.scalars(select(outbox.c.body).where(outbox.c.kind == "alert").order_by(outbox.c.id))
            said = [json.loads(each)["facts"] for each in bodies]
            faults = set(await work.connection.scalars(select(attempts.c.fault)))
            health = await work.connection.scalar(select(resources.c.health))
        assert said == [{"problem": "sealed"}, {"problem": None}]
        assert faults == {"unopened", None} and health == "healthy"
    printed = "".join(capfd.readouterr())
    assert (printed.count("kms_away"), printed.count("kms_back"), printed.count("kms_waited_for")) == (1, 1, 2)


async def test_all_who_wait_for_the_kms_share_one_question(kms: Kms, sqlite_url: str, tmp_path: Path) -> None:
    settings = settings_for(sqlite_url, tmp_path, **told(kms))
    async with vaulted(settings) as (database, vault):
        [sealed] = await keep(database, vault, 1)
        kms.opened.clear()
        kms.sealed, kms.requests = True, 0
        assert await asyncio.gather(*(vault.lacking(sealed.wrapping) for _ in range(50))) == ["sealed"] * 50
        assert kms.requests == 1
        kms.sealed = False
        await asyncio.sleep(ASK_SECONDS + 0.1)  # what it said is too old to count
        assert await vault.lacking(sealed.wrapping) is None and kms.requests == 2 and not kms.opened


async def test_a_version_that_is_gone_is_not_waited_for_and_the_next_claim_takes_the_key_as_it_is_wrapped_by_then(
    kms: Kms, database_url: str, tmp_path: Path
) -> None:
    async with staged(database_url, tmp_path, **told(kms)) as stage:
        await stage.lend(KEY)
        [asked] = await stage.submit("one")
        kms.key().rotate()
        kms.key().least = 2
        worker = Worker(stage.app, 1)
        for kms.sealed in (True, False):  # it is gone when the KMS is back, or already
            kms.asked.clear()
            assert len((await worker.claim()).leases) == 1
            await asyncio.wait_for(kms.asked.wait(), 20)
            kms.sealed = False
            await asyncio.wait_for(ended(worker), 20)
            assert (await stage.generation(asked.id)).state is State.QUEUED and stage.provider.calls == []
        kms.key().least = 1
        assert await rotated(stage.app.settings) == 3
        kms.key().least = 2
        await work_off(worker)
        assert (await stage.generation(asked.id)).state is State.DELIVERED
        assert not breaches(await stage.audit())


async def test_start_up_proves_in_batches_and_those_who_open_at_once_share_a_request(kms: Kms, database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, tmp_path, **told(kms, vault_kms_seconds=0.3))
    async with vaulted(settings) as (database, vault):
        await keep(database, vault, 7)
    kms.calls.clear()
    async with vaulted(settings) as (database, vault):
        assert kms.calls == [("decrypt", 7), ("decrypt", 2), ("decrypt", 2)]
        async with database.read() as connection:
            found = list((await fetch(connection, [f"resource:{n}" for n in range(7)])).values())
        kms.calls.clear()
        opened = await asyncio.gather(*(vault.open(each) for each in found * 5))
        assert sorted(each.reveal() for each in opened) == sorted(f"{KEY}{n}" for n in range(7) for _ in range(5))
        assert len(kms.calls) <= 3 and sum(count for _, count in kms.calls) == 35
        bad = Sealed(**{name: getattr(found[0], name) for name in Sealed.__dataclass_fields__} | {"wrapped": bytes(60)})
        one, two = await asyncio.gather(vault.open(bad), vault.open(found[1]), return_exceptions=True)
        assert isinstance(one, CannotOpen) and isinstance(two, Secret)  # a bad one spoils nobody else's
        kms.answering.clear()
        with pytest.raises(VaultAway, match="unreachable"):
            await asyncio.wait_for(vault.open(found[0]), 5)


async def test_start_up_refuses_with_a_sentence(kms: Kms, sqlite_url: str, tmp_path: Path) -> None:
    settings = settings_for(sqlite_url, tmp_path, **told(kms, vault_kms_seconds=0.3))
    async with vaulted(settings) as (database, vault):
        await keep(database, vault, 1)
    kms.key("other")

    async def refused(**changes: Any) -> str:
        with pytest.raises(Misconfigured) as found:
            async with vaulted(settings.model_copy(update=changes)):
                pass
        assert TOKEN not in str(found.value) and KEY not in str(found.value)
        return f"{found.value.facts['setting']} {found.value.facts['problem']}"

    assert "VAULT_KMS_TOKEN the KMS denies it (403)" in await refused(vault_kms_token=SecretStr("hvs.wrong"))
    assert "VAULT_KMS_TOKEN_FILE holds no token" in await refused(vault_kms_token_file=tmp_path / "nothing")
    assert "VAULT_KMS_URL the KMS gives no answer" in await refused(vault_kms_url="http://127.0.0.1:9")
    assert "no transit engine at VAULT_KMS_MOUNT" in await refused(vault_kms_mount="elsewhere")
    ring = {"vault_kms_url": "", "vault_keys": SecretStr(new_key("k1"))}
    assert "VAULT_KMS_URL is needed: stored keys are wrapped by the KMS, with aetherflow:v1" in await refused(**ring)
    for switch, words in (("sealed", "unseal it"), ("moved", "points to another address")):
        setattr(kms, switch, True)
        assert words in await refused()
        setattr(kms, switch, False)
    kms.answering.clear()
    assert "gives no answer" in await refused()
    kms.answering.set()
    kms.key().rotate()
    kms.key().least = 2
    assert "does not decrypt aetherflow:v1 any more: lower its min_decryption_version" in await refused()
    kms.keys["aetherflow"] = kms.keys["other"]
    assert "is not the one that wrapped" in await refused()
    del kms.keys["aetherflow"]
    assert "VAULT_KMS_KEY the KMS has no such key" in await refused()


async def test_rotation_that_breaks_off_is_taken_up_again_and_moves_between_keys(kms: Kms, database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, tmp_path, **told(kms))
    async with vaulted(settings) as (database, vault):
        await keep(database, vault, 3)
        kms.key("next")
        other = settings.model_copy(update={"vault_kms_key": "next"})
        broken = update(sealed_secrets).where(sealed_secrets.c.subject == "resource:1").values(wrapped=bytes(60))
        good = (await fetch_wrapped(database))["resource:1"]
        await database.run(lambda connection: connection.execute(broken))
        with pytest.raises(Misconfigured, match="resource:1 was not wrapped by aetherflow:v1"):
            await rotated(other)
        assert await wrappings(database) == {"aetherflow:v1", "next:v1"}
        mended = update(sealed_secrets).where(sealed_secrets.c.subject == "resource:1").values(wrapped=good)
        await database.run(lambda connection: connection.execute(mended))
        assert await rotated(other) == 3  # the broken one, and our own two
    async with vaulted(other) as (database, vault):
        assert await wrappings(database) == {"next:v1"}


async def fetch_wrapped(database: Database) -> dict[str, bytes]:
    async with database.read() as connection:
        return {row[0]: row[1] for row in await connection.execute(select(sealed_secrets.c.subject, sealed_secrets.c.wrapped))}


async def test_over_tls_with_authorities_of_ones_own_and_a_token_that_an_agent_renews(sqlite_url: str, tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with standing_in(_served(certificate), "keys/of-ours") as kms:
        changes = {
            "vault_kms_token": SecretStr(""),
            "vault_kms_token_file": file,
            "vault_kms_namespace": "team",
            "vault_kms_mount": "keys/of-ours",
        }
        settings = settings_for(sqlite_url, tmp_path, **told(kms, **changes))
        with pytest.raises(Misconfigured, match="VAULT_KMS_CA_FILE"):
            async with vaulted(settings):
                pass
        async with vaulted(settings.model_copy(update={"vault_kms_ca_file": certificate})) as (database, vault):
            [sealed] = await keep(database, vault, 1)
            kms.token = "hvs.renewed"
            with pytest.raises(VaultAway, match="denied"):
                await vault.open(sealed)
            file.write_text("hvs.renewed")
            assert (await vault.open(sealed)).reveal() == f"{KEY}0"
            assert kms.namespaces == {"team"}
    with pytest.raises(Misconfigured, match="VAULT_KMS_CA_FILE"):
        async with open_keys(settings.model_copy(update={"vault_kms_ca_file": tmp_path / "nothing"})):
            pass
    assert "hvs.CAES" not in Redactor().text(f"token {TOKEN}!")


def _served(certificate: Path) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 by an authority of its own, which is written to `certificate`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kms")])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both = certificate.with_name("both.pem")
    form = serialization.PrivateFormat.PKCS8
    both.write_bytes(certificate.read_bytes() + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
