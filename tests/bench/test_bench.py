"""The measurements run, count what they claim to count, and a target that is missed is called missed."""

from dataclasses import replace

from bench import api, chat, flow, ledger, report
from tests import services

GOOD = ledger.Refused(63, 1, 1)


def test_the_ledger_is_measured_beside_pgbench() -> None:
    figures, short = ledger.measure(services.postgres(), (2,), 1.0)
    assert [(each.place, each.who) for each in figures] == [(place, who) for place in ledger.PLACES for who in ("ours", *ledger.SCRIPTS)]
    assert all(each.rate > 0 and each.server > 0 and each.own > 0 for each in figures)
    assert short == GOOD


def test_the_flow_settles_what_it_submits() -> None:
    figure = flow.measure("sqlite", "", 0.5, 5)
    assert figure.submitted == figure.settled == flow.RATE // 2
    assert figure.in_flight == 5
    assert 0 < figure.reach.p50 <= figure.reach.p95 <= figure.reach.p99
    assert 0 < figure.result.p50 <= figure.result.p99


def _figures(rate: float, server: float) -> list[ledger.Figure]:
    first = [ledger.Figure("ours", place, 64, rate, server, 0.1) for place in ledger.PLACES]
    return first + [ledger.Figure(who, place, 64, 1000.0, 1.0, 0.1) for place in ledger.PLACES for who in ledger.SCRIPTS]


def test_a_missed_target_is_called_missed() -> None:
    assert "missed" not in report.ledger_section(_figures(4000.0, 0.5), GOOD)
    assert report.ledger_section(_figures(3999.0, 0.5), GOOD).count("missed") == 1
    assert report.ledger_section(_figures(999.0, 0.51), GOOD).count("missed") == 4
    assert report.ledger_section(_figures(4000.0, 0.5), replace(GOOD, recorded=0, refused=64)).count("missed") == 1


def test_a_heavy_worker_is_called_too_heavy() -> None:
    delay = flow.Delay(1.0, 2.0, 3.0)
    figure = flow.Figure("sqlite", 10, 10, delay, delay, 1000, 100.0, 399.0)
    assert "missed" not in report.flow_section([figure])
    assert report.flow_section([replace(figure, memory=400.0)]).count("missed") == 1
    assert report.flow_section([replace(figure, settled=9)]).count("missed") == 1


def test_the_chats_are_measured_through_the_real_bots() -> None:
    figure = chat.measure("embedded", "", 0.2)
    assert figure.typed == figure.shown == chat.RATE // 5
    assert 0 < figure.reach.p50 <= figure.added.p95 and 0 < figure.result.p50 <= figure.added.p95 and figure.own > 0
    quick = replace(figure, added=flow.Delay(50.0, 99.0, 120.0))
    assert "missed" not in report.chat_section([quick])
    assert report.chat_section([replace(quick, added=flow.Delay(50.0, 100.0, 120.0), shown=9)]).count("missed") == 2


def test_the_api_is_measured_beside_its_floor() -> None:
    figures, mixed = api.measure(services.postgres(), (2,), (0,), 0.5)
    assert [(each.who, each.callers) for each in figures] == [("ours", 2), ("floor", 2)]
    assert all(each.rate > 0 and each.api > 0 and each.server > 0 and each.failed == 0 for each in figures)
    assert figures[0].worker > 0
    assert mixed.failed == 0 < mixed.delay.p95


def test_a_slow_api_is_called_slow() -> None:
    quick, slow = flow.Delay(10.0, 20.0, 30.0), flow.Delay(10.0, 35.0, 40.0)
    floor = api.Figure("floor", 0, 64, 100.0, quick, 1.0, 0.0, 1.0, 100.0, 0)
    ours = api.Figure("ours", 0, 64, 60.0, quick, 1.0, 0.7, 1.0, 300.0, 0)
    even = api.Mixed(200.0, quick, 0)
    assert "missed" not in report.api_section([ours, floor], even)
    for worse in (replace(ours, rate=59.0), replace(ours, worker=0.8), replace(ours, delay=slow), replace(ours, failed=1)):
        assert report.api_section([worse, floor], even).count("missed") == 1
    assert report.api_section([ours, floor], replace(even, failed=1)).count("missed") == 1
