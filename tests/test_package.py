"""What is installed is whole: a wheel of a fresh copy holds every file that the code finds beside itself, and runs from anywhere."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "pyproject.toml"
MADE = ignore_patterns("__pycache__", "*.pyc", "*.mo", "*.egg-info")
"""Not in a fresh copy: what is made on this machine."""
USE = """
import cli, demo
from api.language import WORDS
from bots.chat.chat import SENTENCES
from core.catalog import load_catalog
from core.payments.packages import load_packages
from core.words import Text, Words
from migrations.upgrade import upgrade
from sandbox.pictures import FONT
from sandbox.world import _PAGE
import core, pathlib, sys
assert pathlib.Path(core.__file__).is_relative_to(sys.argv[1]), core.__file__
load_catalog(), load_packages()
for words in (WORDS, Words(SENTENCES)):
    assert words.knows("error.misconfigured") or words.knows("error.not_found"), words
upgrade(f"sqlite+aiosqlite:///{sys.argv[2]}")
assert FONT.is_file() and (_PAGE / "index.html").is_file()
"""


def _packages() -> list[str]:
    found = tomllib.loads(BUILT.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]["include"]
    return [each.removesuffix("*") for each in found]


def _modules() -> list[str]:
    return [f"{each}.py" for each in tomllib.loads(BUILT.read_text(encoding="utf-8"))["tool"]["setuptools"]["py-modules"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what is in this folder, without what was made here before."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in _packages():
        copytree(ROOT / name, source / name, ignore=MADE)
    for name in ("pyproject.toml", "setup.py", "README.md", *_modules()):
        copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = out.glob("*.whl")
    return made


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        file.relative_to(ROOT).as_posix()
        for name in _packages()
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    wanted |= {f"{each[:-3]}.mo" for each in wanted if each.endswith(".po")} | set(_modules())
    assert len(wanted) > 200
    assert sorted(wanted - inside) == []


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {each for each in tops if not each.endswith(".dist-info")} == {*_packages(), *_modules()}


def test_what_is_installed_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(installed)
    elsewhere.mkdir()
    command = [
        sys.executable,
        "-P",
        "-c",
        f"import sys; sys.path.insert(0, {str(installed)!r})\n{USE}",
        str(installed),
        str(elsewhere / "db"),
    ]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
