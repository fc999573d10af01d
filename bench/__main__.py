"""`python -m bench`: every measurement, then docs/benchmarks.md. With `--quick` a minute's worth, printed and not kept."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench import api, chat, flow, ledger, report, simulator
from bench.scenarios import SCENARIOS
from tests import services

CALLERS = (1, 16, 64)
API_CALLERS = (1, 16, 64, 256)
QUICK_CALLERS = (64,)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what `arguments` (default: the command line's) ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, printed instead of written to docs/benchmarks.md")
    parser.add_argument("--scheduler", type=Path, metavar="FILE", help="take the scheduler's section from this output of bench.simulator")
    chosen = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    quick: bool = chosen.quick
    where = report.machine()
    with services.keeper():
        server = services.postgres(durable=True)
        _tell("ledger")
        figures, short = ledger.measure(server, QUICK_CALLERS if quick else CALLERS, 2.0 if quick else 4.0)
        sections = [report.ledger_section(figures, short)]
        _tell("flow")
        seconds, in_flight = (3.0, 100) if quick else (20.0, 1000)
        sections.append(report.flow_section([flow.measure(engine, server, seconds, in_flight) for engine in flow.ENGINES]))
        _tell("chat")
        seconds = 3.0 if quick else 20.0
        sections.append(report.chat_section([chat.measure(size, server, seconds) for size in chat.SIZES]))
        _tell("api")
        providers, seconds = ((0,), 2.0) if quick else ((0, 200), 6.0)
        sections.append(report.api_section(*api.measure(server, QUICK_CALLERS if quick else API_CALLERS, providers, seconds)))
    _tell("scheduler")
    if chosen.scheduler is not None:
        sections.append(chosen.scheduler.read_text(encoding="utf-8"))
    else:
        sections.append(simulator.report((101,), SCENARIOS[:1]) if quick else simulator.report())
    text = report.page(where, sections)
    if quick:
        sys.stdout.write(text)
    else:
        _tell(str(report.write(text)))


def _tell(what: str) -> None:
    sys.stderr.write(what + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
