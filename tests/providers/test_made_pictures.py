"""Made pictures are looked at before anybody sees them: by the moderation provider over real sockets, and by a classifier of a stand-in."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bots.chat.notices import result
from core.errors import Misconfigured
from core.generations.models import Generation, OutcomeKind, State, attempts
from core.judge import reduced
from core.ledger.models import pending, wallet
from core.moderation import ALONE, Audience
from core.providers.base import Delivered, ImageRequest, Picture
from core.providers.classifier import Classifier, classifier_of
from core.providers.http import Client
from core.worker import Worker
from sandbox import pictures
from sandbox.openai import OpenAISandbox
from tests.fakes import PIXEL
from tests.providers.conftest import listening
from tests.providers.test_moderator import asked, moderator
from tests.stage import Stage, breaches, ended, staged, work_off

PUBLIC, STRICT = Audience(adult=False), Audience(strict=True, adult=False)


@pytest.fixture
async def sandbox() -> AsyncIterator[OpenAISandbox]:
    async with listening(OpenAISandbox(public_url="", draft=True)) as made:
        yield made


class FakeDetector:
    """Says what NudeNet would of the marks of the sandbox's pictures. `gate`: nothing is seen before it is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[str] = set()

    def detect(self, image: bytes, /) -> Sequence[Mapping[str, Any]]:
        self.threads.add(threading.current_thread().name)
        self.gate.wait(10)
        face = {"class": "FACE_FEMALE", "score": 0.99, "box": [0, 0, 9, 9]}
        nude = {"class": "BUTTOCKS_EXPOSED", "score": 0.8 if "sexual" in pictures.marks(image) else 0.2, "box": [0, 0, 9, 9]}
        return [face, nude]


def drawn(request: ImageRequest, _key: str) -> Delivered:
    """A picture that shows what the prompt says."""
    return Delivered(Picture(pictures.draw(request.prompt, 1, 128, 96), "image/png", 128, 96), seed=1, cost=30_000, reference="req_1")


async def made(stage: Stage, wanted: Sequence[tuple[str, Audience]]) -> list[Generation]:
    """Drawn and settled, in that order."""
    stage.provider.answer = drawn
    ordered = [await asked(stage, f"g{number}", prompt, audience) for number, (prompt, audience) in enumerate(wanted)]
    await work_off(Worker(stage.app, 1))
    return [await stage.generation(each.id) for each in ordered]


async def test_what_a_picture_shows_decides_where_it_is_shown(
    database_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client
) -> None:
    async with staged(database_url, tmp_path, running_per_user=10) as stage:
        stage.app.moderator = moderator(sandbox, client)
        lent = await stage.lend("sk-1111111111")
        wanted = [
            ("a fox", PUBLIC), ("a bare fox", ALONE), ("a bloody fox", ALONE), ("a bare fox", PUBLIC), ("a bloody fox", STRICT),
        ]  # fmt: skip
        found = await made(stage, wanted)
        assert [(each.state, each.reason, each.spoiler) for each in found] == [
            (State.DELIVERED, None, False),
            (State.DELIVERED, None, True),
            (State.DELIVERED, None, True),
            (State.FAILED, "withheld", False),
            (State.FAILED, "withheld", False),
        ]
        assert [each.spoiler for each in result(found[1], "ada").media] == [True]
        withheld = found[3]
        assert (withheld.paid, withheld.blob, result(withheld, "ada").media, result(withheld, "ada").rows) == (0, None, (), ())
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - 3 * 4_500
        assert await stage.balance(pending(lent.owner_id)) == 3 * 3_825
        async with stage.app.read() as work:
            resource = await work.resources.get(lent.id)
            assert (resource.strikes, resource.in_flight, resource.health.failures) == (0, 0, 0)
            assert (await work.users.strikes(stage.creator.id))[0] == 2
            query = attempts.select().where(attempts.c.generation_id == withheld.id)
            row = (await work.connection.execute(query)).one()
            assert (row.outcome, row.fault, row.cost, row.reference) == (OutcomeKind.REJECTED, "withheld", 30_000, "req_1")
        assert len(list((tmp_path / "blobs").rglob("*.png"))) == len({each.blob for each in found if each.blob}), "thrown away"
        assert not breaches(await stage.audit())


async def test_silence_holds_a_picture_up_for_a_named_time_alone(
    sqlite_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client
) -> None:
    async with staged(sqlite_url, tmp_path, moderation_seconds=0.2) as stage:
        stage.app.moderator = moderator(sandbox, client)
        await stage.lend("sk-1111111111")
        sandbox.faults.set(fail_rate=1.0, fail_kind="unavailable")
        (late,) = await made(stage, [("a fox", PUBLIC)])
        assert (late.state, late.spoiler) == (State.DELIVERED, True)
        sandbox.faults.set(fail_rate=0.0)
        stage.provider.answer = lambda _request, _key: Delivered(Picture(PIXEL[:40], "image/png", 1, 1))
        broken = await asked(stage, "broken", "a fox")
        await work_off(Worker(stage.app, 1))
        assert (await stage.generation(broken.id)).spoiler, "bytes that nobody can look at"


async def test_a_classifier_on_this_machine(sqlite_url: str, tmp_path: Path) -> None:
    detector = FakeDetector()
    async with staged(sqlite_url, tmp_path, moderation_seconds=0.3) as stage:
        stage.app.classifier = Classifier(lambda: detector)
        await stage.lend("sk-1111111111")
        found = await made(stage, [("a fox", PUBLIC), ("a bare fox", ALONE), ("a bare fox", PUBLIC), ("a bloody fox", PUBLIC)])
        assert [(each.reason, each.spoiler) for each in found] == [(None, False), (None, True), ("withheld", False), (None, False)]
        assert detector.threads == {"classifier_0"}, "the event loop does not wait for it"
        detector.gate.clear()
        stuck = await asked(stage, "stuck", "a fox")
        worker = Worker(stage.app, 1)
        await worker.claim()
        await ended(worker)
        assert (await stage.generation(stuck.id)).spoiler
        detector.gate.set()
        await asyncio.to_thread(stage.app.classifier.close)


async def test_what_one_finds_counts_whatever_the_other_says(
    sqlite_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client
) -> None:
    def no_model() -> FakeDetector:
        raise OSError("no model")

    async with staged(sqlite_url, tmp_path, moderation_seconds=0.2) as stage:
        stage.app.moderator, stage.app.classifier = moderator(sandbox, client), Classifier(no_model)
        await stage.lend("sk-1111111111")
        found = await made(stage, [("a bare fox", PUBLIC), ("a fox", PUBLIC)])
        assert [(each.reason, each.spoiler) for each in found] == [("withheld", False), (None, True)]
        stage.app.classifier.close()


def test_the_extra_is_asked_for_by_name() -> None:
    assert classifier_of("off") is None
    with pytest.raises(Misconfigured) as caught:  # the tests' environment does not have it
        classifier_of("on")
    assert caught.value.facts["setting"] == "MODERATION_CLASSIFIER"
    assert "aetherflow[classifier]" in caught.value.facts["problem"]


def test_what_is_looked_at_is_small() -> None:
    small = reduced(pictures.draw("a bare fox", 1, 1024, 512))
    assert small is not None
    assert pictures.size(small) == (768, 384)
    assert pictures.marks(small) == {"sexual"}
    assert reduced(b"nonsense") is None
