"""docs/benchmarks.md: what was measured, on which machine, and which targets were met."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench import api, chat, flow, ledger

WALLET_TARGET, POOL_TARGET, PROCESSOR_TARGET, MEMORY_TARGET = 1.0, 4.0, 0.5, 400.0

_HEAD = """# Benchmarks

Everything here is measured by `make bench` (about ten minutes; `make bench ARGS=--quick` takes one, prints its figures and writes nothing).
It needs nothing but what `make test` installs: PostgreSQL and pgbench come from a wheel, and all traffic stays on this machine.
Figures of one run are to be compared with each other, not with those of another machine: look at the ratios.
"""
_LEDGER = """## Ledger

A life cycle is a hold, then a capture with a three-way split: two durable commits, both acknowledged. PostgreSQL runs with its defaults
for durability (`fsync` and `synchronous_commit` on). *ours* is the code of production: `Ledger.apply` inside a `Coalescer`, which commits
together what many callers ask for at the same time, in one Python process. *pgbench* does the same on the same tables in the same run: once
with plain statements, once with one PL/pgSQL call per step (`bench/pgbench.sql`), both prepared. It is favoured: it keeps no list of
entries to seal, and does not tell a replay from a key used twice. Processor time of PostgreSQL is that of all of its processes. pgbench's
includes opening its connections; ours does not.
"""
_FLOW = """## Flow

App, Worker and load in one process, the image provider's stand-in in another; {rate} submits a second, a provider that takes 0.5 s,
pictures of an eighth of the size. *reach*: from the call of `submit` until the provider has the request. *result*: from the provider's
picture until the outbox row of the result is committed. Each as p50 / p95 / p99.
The chat platforms are not part of it: see *Chat* below. Memory is the resident set of the process
with everything that it has kept from the measurements before, load included; so the real worker is smaller.
"""
_API = """## API

`POST /v1/images/generations` answered with the picture as base64: two api processes and a worker on PostgreSQL (durable) and Valkey, with a
provider that takes no time, or 200 ms, and pictures of 100 kB. *floor* is `bench/floor.py` in the same run, two processes of it: the
smallest FastAPI program that does the metered steps alone (token, hold and commit, the provider's call, decode, store, settle with a split
and commit), with no queue, scheduling, limits, failover, seals or messages. The load, the provider and the databases share the processors.
Processor time of ours is that of the api processes + the worker. Each delay as p50 / p95 / p99, from the request to the last byte.

| provider | callers | who | pictures/s | of the floor | delay, ms | processor, ms a picture | x floor | PostgreSQL, ms | MB |
|---|---|---|---|---|---|---|---|---|---|
"""
RATE_TARGET, OWN_TARGET, MIXED_TARGET = 0.6, 1.7, 50.0
ADDED_TARGET = 100.0
_CHAT = """## Chat

`/imagine` typed {rate} times a second by as many people, {telegram} of them in Telegram, the others in Discord; the real bots over
real sockets, the stand-ins of both platforms and of the provider (which takes 0.5 s) in one process, with the platforms' limits over
all chats in force. *embedded* is `aetherflow up` on its defaults, one process on SQLite; *scaled* is a telegram, a discord and a worker
process on PostgreSQL (durable) and Valkey. *reach*: from the moment at which the event lies ready at its platform until the provider
has the request. *result*: from the provider's picture until the request that brings it arrives at the platform. *added*: both, of the
same event. Each as p50 / p95 / p99. Processor time of ours is that of all of our processes. Everything shares the machine's processors.

| size | typed | shown | reach, ms | result, ms | added, ms | processor, ms an event |
|---|---|---|---|---|---|---|
"""
_DELAYS = "| database | submitted | settled | reach, ms | result, ms | idle, MB | calls in flight | MB then |"


def machine() -> str:
    """One line about where this ran."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors, "
        f"{memory} GB; Python {platform.python_version()}; other load when it began: {os.getloadavg()[0]:.1f}."
    )


def page(where: str, sections: Sequence[str]) -> str:
    """The whole page. `where`: see `machine`."""
    return "\n".join([_HEAD, f"Measured {where}", "", *sections]).rstrip() + "\n"


def ledger_section(figures: Sequence[ledger.Figure], short: ledger.Refused) -> str:
    """Every figure, then the targets."""
    lines = [
        _LEDGER,
        "| payers | callers | who | cycles/s | ours / this | PostgreSQL, ms a cycle | client, ms a cycle |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = {(each.place, each.callers): each.rate for each in figures if each.who == "ours"}
    for each in figures:
        ratio = ours[each.place, each.callers] / each.rate
        lines.append(
            f"| {each.place} | {each.callers} | {each.who} | {each.rate:,.0f} | {ratio:.2f} | {each.server:.3f} | {each.own:.3f} |"
        )
    lines += ["", "| target | measured | |", "|---|---|---|"]
    most = max(each.callers for each in figures)
    for place, target in zip(ledger.PLACES, (WALLET_TARGET, POOL_TARGET), strict=True):
        here = [each for each in figures if each.place == place and each.callers == most]
        mine = next(each for each in here if each.who == "ours")
        best = max((each for each in here if "PL/pgSQL" in each.who), key=lambda each: each.rate)
        rate, used = mine.rate / best.rate, mine.server / min(each.server for each in here if each.who != "ours")
        lines.append(_target(f"{place}, {most} callers: at least {target:g} x pgbench with PL/pgSQL", f"{rate:.2f} x", rate >= target))
        name = f"{place}, {most} callers: PostgreSQL's processor time at most half of pgbench's best"
        lines.append(_target(name, f"{used:.2f} x", used <= PROCESSOR_TARGET))
    told = f"{short.recorded} recorded, {short.refused} refused, {short.transactions} transaction(s)"
    alone = (short.recorded, short.refused) == (63, 1)
    lines.append(_target("64 holds at once, one of an empty wallet: only that one is refused", told, alone))
    return "\n".join([*lines, ""])


def flow_section(figures: Sequence[flow.Figure]) -> str:
    """Delays and memory, then the target."""
    lines = [
        _FLOW.format(rate=flow.RATE),
        _DELAYS,
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.engine} | {each.submitted} | {each.settled} | {_delay(each.reach)} | {_delay(each.result)} "
        f"| {each.idle_memory:.0f} | {each.in_flight} | {each.memory:.0f} |"
        for each in figures
    ]
    lines += ["", "| target | measured | |", "|---|---|---|"]
    for each in figures:
        name = f"{each.engine}: a worker with {each.in_flight} calls in flight below {MEMORY_TARGET:.0f} MB"
        lines.append(_target(name, f"{each.memory:.0f} MB", each.memory < MEMORY_TARGET))
        lines.append(_target(f"{each.engine}: everything submitted is settled", f"{each.settled}", each.settled == each.submitted))
    return "\n".join([*lines, ""])


def chat_section(figures: Sequence[chat.Figure]) -> str:
    """Delays, then the targets."""
    lines = [
        f"| {each.size} | {each.typed} | {each.shown} | {_delay(each.reach)} | {_delay(each.result)} | {_delay(each.added)} "
        f"| {each.own:.1f} |"
        for each in figures
    ]
    lines += ["", "| target | measured | |", "|---|---|---|"]
    for each in figures:
        name = f"{each.size}: p95 of what we add below {ADDED_TARGET:.0f} ms"
        lines.append(_target(name, f"{each.added.p95:.0f} ms", each.added.p95 < ADDED_TARGET))
        lines.append(_target(f"{each.size}: every picture that was asked for is shown", f"{each.shown}", each.shown == each.typed))
    return "\n".join([_CHAT.format(rate=chat.RATE, telegram=chat.TELEGRAM) + "\n".join(lines), ""])


def api_section(figures: Sequence[api.Figure], mixed: api.Mixed) -> str:
    """Every figure beside its floor, then the targets, at the most callers."""
    floors = {(each.provider, each.callers): each for each in figures if each.who == "floor"}
    lines, targets = [], ["", "| target | measured | |", "|---|---|---|"]
    for each in figures:
        floor = floors[each.provider, each.callers]
        own, rate, own_floor = each.api + each.worker, each.rate / floor.rate, floor.api
        lines.append(
            f"| {each.provider} ms | {each.callers} | {each.who} | {each.rate:,.0f} | {rate:.0%} | {_delay(each.delay)} | {own:.1f} "
            f"| {own / own_floor:.1f} | {each.server:.1f} | {each.memory:.0f} |"
        )
        if each.who == "floor":
            continue
        name = f"{each.provider} ms, {each.callers} callers"
        targets.append(_target(f"{name}: at least {RATE_TARGET:.0%} of the floor's rate", f"{rate:.0%}", rate >= RATE_TARGET))
        most = f"{name}: at most {OWN_TARGET:g} x the floor's processor time"
        targets.append(_target(most, f"{own / own_floor:.1f} x", own <= OWN_TARGET * own_floor))
        added, added_floor = each.delay.p95 - each.provider, floor.delay.p95 - floor.provider
        most = f"{name}: at most {OWN_TARGET:g} x the floor's added p95"
        targets.append(_target(most, f"{added / max(0.1, added_floor):.1f} x", added <= OWN_TARGET * added_floor))
        if each.failed:
            targets.append(_target(f"{name}: none fails", f"{each.failed}", False))
    told = f"{mixed.delay.p95:.0f} ms at {mixed.rate:.0f} a second, {mixed.failed} failed"
    met = mixed.delay.p95 < MIXED_TARGET and not mixed.failed
    targets.append(_target(f"every other route, mixed: p95 below {MIXED_TARGET:.0f} ms", told, met))
    return "\n".join([_API + "\n".join(lines), *targets, ""])


def write(text: str) -> Path:
    """Writes the page; returns where."""
    file = Path(__file__).parents[1] / "docs" / "benchmarks.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def _target(name: str, measured: str, met: bool) -> str:
    return f"| {name} | {measured} | {'met' if met else '**missed**'} |"


def _delay(delay: flow.Delay) -> str:
    return f"{delay.p50:.0f} / {delay.p95:.0f} / {delay.p99:.0f}"
