"""The measurements run, count what they claim to count, and a target that is missed is called missed."""

from dataclasses import replace

from bench import flow, ledger, report
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
