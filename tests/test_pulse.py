"""What a container's health check says: of real processes that turn, are stopped and go on, and of a loop that is stuck in a living one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from core.app import App
from core.errors import Misconfigured
from core.pulse import FOLDER, LOOPS, SECOND, Pulse, stuck
from core.worker import Worker
from demo import settings_for
from sandbox.world import World
from tests.fleet import ROOT, environment
from tests.stage import staged
from tests.test_deployment import COMPOSE

NOW = 1_000


async def checked(role: str, folder: Path) -> str:
    """What the health check of the role's container says, by the very command; empty when it is content."""
    words = COMPOSE["services"][role]["healthcheck"]["test"]
    assert words[:2] == ["CMD", "python"]
    env, pipe = {**os.environ, FOLDER: str(folder)}, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words[2:], cwd=ROOT, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert bool(process.returncode) == bool(said)
    return said.decode()


async def all_say(folder: Path, content: bool) -> None:
    """Until the checks of all roles are content, or none is."""
    async with asyncio.timeout(50):
        for role in LOOPS:
            while True:  # a file tells nobody that it was written
                if bool(await checked(role, folder)) is not content:
                    break
                await asyncio.sleep(0.1)


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if found():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Worker and bots in one process of their own, in the sandbox."""
    world = World()
    await world.start(port=0)
    changes = {"pulse_dir": folder, "pulse_seconds": 0.5, "sweep_seconds": 0.5}
    settings = settings_for(world, folder.parent / "data").model_copy(update=changes)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "up", cwd=ROOT, env=environment(settings), stdout=-3, stderr=-3
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await world.stop()


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP there")
async def test_a_process_that_stands_still_is_told_from_one_that_turns(tmp_path: Path) -> None:
    folder = tmp_path / "pulse"
    assert "has noted nothing" in await checked("worker", folder)
    async with running(folder) as process:
        await all_say(folder, content=True)
        process.send_signal(signal.SIGSTOP)
        await all_say(folder, content=False)
        assert "should have turned" in await checked("telegram", folder) and process.returncode is None
        process.send_signal(signal.SIGCONT)
        await all_say(folder, content=True)


async def test_a_loop_that_is_stuck_in_a_living_process_is_found(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "pulse"
    async with staged(sqlite_url, tmp_path, pulse_dir=folder, pulse_seconds=0.3, sweep_seconds=0.1) as stage:
        stop = asyncio.Event()

        def turns() -> bool:
            return stuck(folder, "worker", App.now() / SECOND) is None

        await stage.submit("one")  # what it wants to claim
        async with asyncio.TaskGroup() as group:
            async with stage.app.database.begin():  # the one that writes
                group.create_task(Worker(stage.app, 1).run(stop))
                await until(turns)
                await until(lambda: not turns())
            await until(turns)
            stop.set()


def test_what_is_noted_and_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = NOW * SECOND
    pulse = Pulse(tmp_path / "a" / "b", 60.0, lambda: clock)
    pulse.beat("telegram", 5.0)
    assert "telegram.updates has noted nothing" in str(stuck(tmp_path / "a" / "b", "telegram", NOW))
    pulse.beat("telegram.updates", 30.0)
    assert stuck(tmp_path / "a" / "b", "telegram", NOW + 64) is None
    assert stuck(tmp_path / "a" / "b", "telegram", NOW + 75) == "telegram should have turned 10 s ago"
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="PULSE_DIR"):
        Pulse(tmp_path / "file" / "b", 60.0, lambda: clock)
    Pulse(None, 60.0, lambda: clock).beat("worker", 1.0)
    assert "not set" in str(stuck(None, "worker", NOW)) and "one of worker" in str(stuck(tmp_path, "api", NOW))
    monkeypatch.chdir(tmp_path)  # no .env of this machine
    monkeypatch.setenv(FOLDER, str(tmp_path / "a"))
    assert "worker has noted nothing" in _alive("worker", 1)
    Pulse(tmp_path / "a", 60.0, App.now).beat("worker", 5.0)
    assert _alive("worker", 0) == "ok worker\n"
    monkeypatch.setenv("AETHERFLOW_PULSE_SECONDS", "0")
    assert "PULSE_SECONDS" in _alive("worker", 2)


def _alive(role: str, code: int) -> str:
    """What `aetherflow alive` says."""
    done = CliRunner().invoke(cli.app, ["alive", role])
    assert done.exit_code == code
    return done.output
