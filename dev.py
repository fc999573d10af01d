"""Everything that is done with this project, from a plain shell: `python dev.py TARGET`, or `make TARGET`.

Makes `.venv` and installs what `requirements/` pins, when that has changed; needs Python 3.11 and a package index, nothing else.
Arguments after the target are handed on: `python dev.py test tests/ledger -k refund`.

Keep this file readable to old Pythons: it is the one that has to say that they are too old.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
EXE = ".exe" if os.name == "nt" else ""  # Windows adds it to a bare name alone, not to a path
PYTHON = SCRIPTS / ("python" + EXE)
LOCALES = ROOT / "bots" / "chat" / "locales"
CODE = ("core", "bots", "api", "sandbox", "bench", "migrations", "tests", "cli.py", "demo.py", "dev.py", "doctor.py")
CACHES = (".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache")
LEFTOVERS = (".venv", ".coverage", *CACHES, "aetherflow.egg-info", "build")
MISLEADING = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOCK = ("--universal", "--python-version=3.11", "--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet", "--group=build")


def demo(arguments: list[str]) -> None:
    """plays the main job through the real bots, on this machine"""
    prepare("app")
    become("-m", "cli", "demo", *arguments)


def sandbox(arguments: list[str]) -> None:
    """the same world, stays up, with a chat page in the browser"""
    prepare("app")
    become("-m", "cli", "sandbox", *arguments)


def run(arguments: list[str]) -> None:
    """the product itself, all in one process"""
    prepare("app")
    become("-m", "cli", "up", *arguments)


def bench(arguments: list[str]) -> None:
    """the measurements"""
    if os.name == "nt":
        sys.exit("The measurements need Linux or macOS: they start PostgreSQL and Valkey.")
    prepare("dev")
    become("-m", "bench", *arguments)


def fuzz(arguments: list[str]) -> None:
    """the API's description against many made-up requests, for as long as it takes"""
    prepare("dev")
    call("-m", "pytest", "tests/api/test_contract.py", "-n", "2", *arguments, AETHERFLOW_TEST_EXAMPLES="300")


def test(arguments: list[str]) -> None:
    """every test, with the coverage gate; or those that the arguments name"""
    prepare("dev")
    if arguments:
        become("-m", "pytest", *arguments)
    shutil.rmtree(ROOT / ".coverage", ignore_errors=True)
    (ROOT / ".coverage").mkdir()
    environment = {"AETHERFLOW_TEST_CHROMIUM": chromium()} if wants_browser() else {}
    workers = str(1 + (os.cpu_count() or 1))  # one more than processors: each waits for sockets and clocks some of its time
    call("-m", "coverage", "run", "-m", "pytest", "-n", workers, "--dist", "worksteal", **environment)
    call("-m", "coverage", "combine", "--quiet")
    call("-m", "coverage", "report")


def check(_arguments: list[str]) -> None:
    """format, lint, types, import contracts, migrations, translations"""
    prepare("dev")
    steps = {
        "ruff format": ["-m", "ruff", "format", "--check", "."],
        "ruff check": ["-m", "ruff", "check", "."],
        "mypy": ["-m", "mypy", *CODE],
        "import contracts": ["-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-logo"],
        "translations": [str(LOCALES / "compile.py"), "--check"],
    }
    failed = [name for name, arguments in steps.items() if not passes(name, [str(PYTHON), *arguments])]
    with tempfile.TemporaryDirectory() as folder:
        call("-m", "migrations.sql", folder)
        files = sorted(map(str, Path(folder).glob("*.sql")))
        if files and not passes("squawk", [str(SCRIPTS / ("squawk" + EXE)), *files]):  # without files it would wait for input
            failed.append("squawk")
    if failed:
        sys.exit("Failed: " + ", ".join(failed))


def lock(arguments: list[str]) -> None:
    """pins what pyproject.toml asks for; `--upgrade` takes the newest"""
    prepare("dev")
    app, everything = "requirements/app.txt", "requirements/dev.txt"
    call("-m", "uv", "pip", "compile", "pyproject.toml", *LOCK, "-o", app, *arguments)
    call("-m", "uv", "pip", "compile", "pyproject.toml", *LOCK, "--group=dev", "-c", app, "-o", everything, *arguments)
    extra = "requirements/classifier.txt"
    call("-m", "uv", "pip", "compile", "pyproject.toml", *LOCK, "--extra=classifier", "-c", app, "-o", extra, *arguments)


def clean(_arguments: list[str]) -> None:
    """removes what these targets made; the data in var/ stays"""
    for name in LEFTOVERS:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for file in LOCALES.glob("*/LC_MESSAGES/*.mo"):
        file.unlink()
    for folder in CODE:
        for cache in (ROOT / folder).rglob("__pycache__"):
            shutil.rmtree(cache, ignore_errors=True)


TARGETS = (demo, test, sandbox, check, bench, fuzz, run, lock, clean)


def prepare(requirements: str) -> None:
    """Makes .venv hold `requirements/<requirements>.txt`, the command `aetherflow`, and the compiled translations."""
    if not venv_works():
        say("making .venv")
        make_venv()
    wanted = ROOT / "requirements" / (requirements + ".txt")
    # dev.txt holds everything that app.txt holds: whoever has the one needs no other.
    if not any(is_stamped(name, ROOT / "requirements" / (name + ".txt")) for name in {requirements, "dev"}):
        say("installing " + wanted.relative_to(ROOT).as_posix() + " (the first time takes about a minute)")
        pip("--require-hashes", "-r", str(wanted))
        stamp(requirements, wanted)
    if not is_stamped("command", ROOT / "pyproject.toml"):
        pip("--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        stamp("command", ROOT / "pyproject.toml")
    call(str(LOCALES / "compile.py"))


def venv_works() -> bool:
    """False too for a .venv that was left half made, or whose Python is gone."""
    if not PYTHON.is_file():
        return False
    question = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.call([str(PYTHON), "-c", question], env=clean_environment(), stderr=subprocess.DEVNULL) == 0


def make_venv() -> None:
    """Explains the one way in which this commonly fails: Debian ships the module venv without what it needs."""
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)], env=clean_environment(), stdout=subprocess.DEVNULL) == 0:
        return
    if subprocess.call([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL):
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit("Python's module venv is missing. On Debian and Ubuntu: apt install python" + version + "-venv. Then run this again.")
    sys.exit("The virtual environment " + str(VENV) + " could not be made; the lines above say why.")


def pip(*arguments: str) -> None:
    """Installs into .venv, or says in one sentence what is the matter."""
    options = ("-qq", "--no-input", "--disable-pip-version-check")
    if subprocess.call([str(PYTHON), "-m", "pip", "install", *options, *arguments], cwd=ROOT, env=clean_environment()):
        sys.exit("The packages could not be installed: pip says why above. It needs a package index, by network or as configured for pip.")


def is_stamped(name: str, file: Path) -> bool:
    """Whether .venv has had this very file."""
    mark = VENV / ("installed-" + name)
    return mark.is_file() and mark.read_text(encoding="utf-8") == digest(file)


def stamp(name: str, file: Path) -> None:
    """Remembers that it has."""
    (VENV / ("installed-" + name)).write_text(digest(file), encoding="utf-8")  # the folder's name may be in any script


def digest(file: Path) -> str:
    """Changes with the file's content and with where the project lies."""
    return hashlib.sha256(file.read_bytes()).hexdigest() + " " + str(ROOT) + "\n"


def wants_browser() -> bool:
    """Whether any test drives a page."""
    return any((ROOT / "tests" / "pages").glob("test_*.py"))


def chromium() -> str:
    """The path of a Chromium: one on PATH, else Debian's, else playwright's; "" where there is none (the tests skip, and CI fails)."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and sys.platform != "win32" and shutil.which("apt-get") and os.geteuid() == 0:
        say("installing Chromium for the tests of pages")
        quiet = {**clean_environment(), "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "chromium"]):
            subprocess.call(["apt-get", *words], env=quiet, stdout=subprocess.DEVNULL)
        found = shutil.which("chromium")
    if found is None:
        say("asking playwright for a Chromium")
        subprocess.call([str(PYTHON), "-m", "playwright", "install", "chromium"], cwd=ROOT, env=clean_environment())
        question = "from playwright.sync_api import sync_playwright as p\nwith p() as q: print(q.chromium.executable_path)"
        asked = subprocess.run([str(PYTHON), "-c", question], env=clean_environment(), stdout=subprocess.PIPE, text=True, check=False)
        found = asked.stdout.strip() if Path(asked.stdout.strip()).is_file() else None
    return found or ""


def passes(name: str, command: list[str]) -> bool:
    """Runs one step of a check."""
    say(name)
    return subprocess.call(command, cwd=ROOT, env=clean_environment()) == 0


def call(*arguments: str, **environment: str) -> None:
    """Runs .venv's Python in the project's folder; ends with its exit code when that is not 0."""
    code = subprocess.call([str(PYTHON), *arguments], cwd=ROOT, env={**clean_environment(), **environment})
    if code:
        sys.exit(code if code > 0 else 128 - code)


def become(*arguments: str) -> None:
    """Puts .venv's Python in the place of this process, so that Ctrl-C, signals and the exit code are its own."""
    os.chdir(ROOT)
    if os.name == "nt":  # exec there returns to the shell at once
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the other process too, which ends in order; else we would kill it
        sys.exit(subprocess.call([str(PYTHON), *arguments], env=clean_environment()))
    sys.stdout.flush()
    os.execve(str(PYTHON), [str(PYTHON), *arguments], clean_environment())


def clean_environment() -> dict[str, str]:
    """This environment without what leads another Python astray, or has each process compile everything anew."""
    kept = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    if os.name == "nt":  # files and consoles hold Chinese, whatever the code page of this Windows
        kept["PYTHONUTF8"] = "1"
    return kept


def say(words: str) -> None:
    """One line about what happens now."""
    print("==>", words, flush=True)


def main() -> None:
    """Reads the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this is where it is found out
        sys.exit("Python 3.11 or newer is needed, and this is " + sys.version.split()[0] + ". Try: python3.11 dev.py demo")
    targets = {target.__name__: target for target in TARGETS}
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        listed = "\n".join("  " + name.ljust(9) + str(target.__doc__) for name, target in targets.items())
        sys.exit("usage: python dev.py TARGET\n" + listed)
    try:
        targets[sys.argv[1]](sys.argv[2:])
    except PermissionError as error:
        sys.exit("No right to write " + str(error.filename) + ": run this as the user that the folder belongs to.")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
