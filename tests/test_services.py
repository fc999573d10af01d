"""The ground that the other tests stand on."""

import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from sqlalchemy import inspect, text

from core.db import Database
from core.tables import metadata
from core.users.models import Identity
from core.users.service import Users
from tests import databases, network, services

RUN = """
import os, signal, sys
from tests import services
with services.keeper():
    print(services.postgres(), services.valkey(), flush=True)
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_database_is_migrated(database: Database) -> None:
    async with database.begin() as connection:
        names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    assert set(metadata.tables) < set(names)


@pytest.mark.parametrize("_time", [1, 2])
async def test_a_database_holds_nothing_of_another_test(database: Database, _time: int) -> None:
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE left_behind (id integer)"))


@pytest.mark.parametrize("_time", [1, 2])
async def test_a_database_holds_no_row_of_another_test_and_counts_from_one(database: Database, _time: int) -> None:
    async with database.begin() as connection:
        first = await Users(connection, 1).resolve(Identity("telegram", "7", "Ada", "7"))
    assert first.id == 1


async def test_a_database_is_dropped_after_its_test() -> None:
    server = services.postgres()
    with databases.created(server) as url:
        name = urlsplit(url).path[1:]
    connection = await asyncpg.connect(server)
    assert await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name) == 0
    await connection.close()


async def test_postgres_wants_a_password() -> None:
    server = urlsplit(services.postgres())
    assert server.hostname == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=server.hostname, port=server.port, user="postgres", password="a guess", database="postgres")


def test_redis_is_empty_and_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_redis_is_emptied_between_tests(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_stranger_gets_no_password() -> None:
    port = os.environ[services.KEEPER].partition(":")[0]
    with socket.create_connection(("127.0.0.1", int(port))) as connection, connection.makefile("rwb") as stream:
        stream.write(b'{"token": "a guess", "kind": "postgres", "name": "fast"}\n')
        stream.flush()
        assert b"url" not in stream.readline()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows: no servers are started there, and no SIGKILL to send")
def test_a_killed_run_leaves_no_server_behind() -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith(services.OURS)}
    with subprocess.Popen([sys.executable, "-c", RUN], env=alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin is not None and run.stdout is not None
        ports = [urlsplit(url).port for url in run.stdout.readline().decode().split()]
        watchers = [socket.create_connection(("127.0.0.1", port or 0)) for port in ports]
        run.stdin.write(b"!")
        run.stdin.flush()
    assert run.returncode == -signal.SIGKILL
    for watcher in watchers:
        watcher.settimeout(20)
        with watcher:
            assert watcher.recv(1) == b""  # the server has closed it, which it does when it stops


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)])
def test_nothing_leaves_this_machine(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as outward, pytest.raises(network.NetworkClosed):
        outward.connect(address)
    with pytest.raises(network.NetworkClosed):
        socket.getaddrinfo("example.org", 443)
    assert len(network.attempts) == 2
    network.attempts.clear()
