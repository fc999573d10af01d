"""The image, the containers and CI say what the code knows: commands, settings, files and addresses that are there."""

import os
import re
import stat
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]  # no types are installed for it

import cli
from api.health import router
from core.config import PREFIX, Settings, load
from core.keys import keyring
from core.pulse import LOOPS
from dev import TARGETS

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image", "").startswith("aetherflow:")}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
IN_THE_IMAGE = {"data_dir", "api_host", "api_port", "catalog_file", "packages_file", "moderation_file"}
"""Settings that name places inside the container; a file of the operator's own needs a volume of theirs."""
GIVEN = {
    "POSTGRES_PASSWORD": "a" * 32,
    "REDIS_PASSWORD": "b" * 32,
    "AETHERFLOW_PUBLIC_URL": "https://pictures.example.org",
    "AETHERFLOW_VAULT_KEYS": "k1:" + "A" * 43 + "=",
    "AETHERFLOW_JWT_SECRET": "c" * 43,
}
"""What an operator must set."""


def commands() -> set[str]:
    """The commands of the shell that stand alone."""
    return set(getattr(typer.main.get_command(cli.app), "commands", {}))


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What a container is started with when only what is required is set."""

    def filled(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"] or ""
        return GIVEN.get(name, default if found["kind"] == ":-" else f"${name} is not given")

    shown = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<default>[^}]*))?\}")
    return {name: shown.sub(filled, value) for name, value in service["environment"].items() if value is not None}


def let_through(path: str) -> bool:
    """Whether .dockerignore lets a path into the image: the last line that matches it or its folder decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        paths = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        if (
            line
            and not line.startswith("#")
            and any(fnmatch(each, pattern) or ("**/" in line and fnmatch(each, f"*/{pattern}")) for each in paths)
        ):
            kept = line.startswith("!")
    return kept


def named(instruction: str) -> list[str]:
    """What follows an instruction of the Dockerfile, line by line."""
    return re.findall(rf"^{instruction} +(.+)$", DOCKERFILE, re.MULTILINE)


def test_every_role_has_a_container_with_a_command_of_ours() -> None:
    assert set(OURS) == {*cli.ROLES, "migrate"}
    for name, service in OURS.items():
        assert service["command"] == [name]
        assert name in commands()


def test_the_containers_know_each_other() -> None:
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert {each.split(":")[0] for each in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    for name, service in OURS.items():
        for host in re.findall(r"@([a-z]+):\d", " ".join(environment(service).values())):
            assert host in COMPOSE["services"]
            assert name == "migrate" or host in {*service["depends_on"], *OURS["migrate"]["depends_on"]}, name


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_a_container_is_started_with_are_settings_that_load(name: str) -> None:
    settings = load(environment(OURS[name]), None)
    assert not settings.embedded
    assert settings.database_url.startswith("postgresql://aetherflow:aaaa") and settings.redis_url.startswith("redis://:bbbb")
    ring = keyring(settings)
    assert ring is not None and ring.ids() == ["k1"]
    assert {each.removeprefix(PREFIX).lower() for each in OURS[name]["environment"]} <= set(Settings.model_fields)


def test_every_setting_reaches_a_container() -> None:
    passed = {each.removeprefix(PREFIX).lower() for service in OURS.values() for each in service["environment"]}
    assert set(Settings.model_fields) - IN_THE_IMAGE - passed == set()


def test_the_api_is_asked_where_it_listens() -> None:
    api = OURS["api"]
    port = str(load({}, None).api_port)
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(api["healthcheck"]["test"]))
    assert asked == (port, "/healthz") and asked[1] in {getattr(route, "path", "") for route in router.routes}
    assert [each.split(":")[-1] for each in api["ports"]] == [port] == named("EXPOSE")


def test_every_role_has_a_health_check_and_those_without_a_port_are_asked_for_their_loops() -> None:
    assert {name for name in OURS if "healthcheck" in OURS[name]} == set(cli.ROLES)
    assert set(LOOPS) == set(cli.ROLES) - {"api"}
    for name in LOOPS:
        assert OURS[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "core.pulse", name]
        (folder,) = OURS[name]["tmpfs"]
        assert Path(environment(OURS[name])["AETHERFLOW_PULSE_DIR"]).is_relative_to(folder), "one for each container, and writable"


def test_what_the_image_copies_and_runs_is_there() -> None:
    copied = [source for line in named("COPY") if "--from" not in line for source in line.split()[:-1]]
    assert copied and all((ROOT / each).exists() and (each == "." or let_through(each)) for each in copied)
    scripts = re.findall(r"(?<![\w/])([\w/]+\.py)\b", DOCKERFILE)
    assert {"bots/chat/locales/compile.py", "cli.py"} <= set(scripts)
    assert all((ROOT / each).is_file() and let_through(each) for each in scripts)
    (folders,) = re.findall(r"compileall -q (.+)$", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / each).exists() and let_through(each) for each in folders.split())


def test_the_image_holds_what_is_installed_and_nothing_that_is_secret() -> None:
    setup = PROJECT["tool"]["setuptools"]
    packages = [each.removesuffix("*") for each in setup["packages"]["find"]["include"] if each != "bench*"]
    for each in (*packages, *(f"{name}.py" for name in setup["py-modules"]), "setup.py", "pyproject.toml", PROJECT["project"]["readme"]):
        assert let_through(each), each
    data = [
        f"{each}/{pattern}"
        for each in ("core", "sandbox/page", "bots/chat/locales/en/LC_MESSAGES")
        for pattern in ("x.toml", "x.po", "x.js")
    ]
    assert all(let_through(each) for each in data)
    for each in (".env", "core/.env", "var/keyring", "var", "tests", ".git", "a.sqlite3", "core/a.sqlite3-wal", "core/__pycache__"):
        assert not let_through(each), each


def test_the_image_starts_the_command_that_is_installed() -> None:
    assert named("ENTRYPOINT") == [f'["{next(iter(PROJECT["project"]["scripts"]))}"]']
    assert re.findall(r'"(\w+)"', named("CMD")[0])[0] in commands()
    assert {each.lower() for each in re.findall(rf"\b{PREFIX}(\w+)=", DOCKERFILE)} <= set(Settings.model_fields)
    told = re.findall(r"`(?:docker run aetherflow|…) (\w+)`", DOCKERFILE)
    assert len(told) > 3 and set(told) <= commands()
    versions = {tuple(map(int, each.split("."))) for each in re.findall(r"^FROM python:([\d.]+)", DOCKERFILE, re.MULTILINE)}
    assert len(versions) == 1 and min(versions) >= least_python()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_ci_runs_what_is_there(file: Path) -> None:
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        for version in job.get("strategy", {}).get("matrix", {}).get("python", []):
            assert tuple(map(int, version.split("."))) >= least_python()
        steps = [step["run"] for step in job["steps"] if "run" in step]
        assert steps
        for step in steps:
            script = ROOT / step.split()[0]
            assert script.is_file() and (os.name != "posix" or script.stat().st_mode & stat.S_IXUSR)
            targets = re.findall(r"^make (\w+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
            assert {"check", "test"} <= set(targets) <= {each.__name__ for each in TARGETS}


def least_python() -> tuple[int, ...]:
    """The oldest Python that the project takes."""
    return tuple(map(int, PROJECT["project"]["requires-python"].removeprefix(">=").split(".")))
