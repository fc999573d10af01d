"""schemathesis asks every operation of the OpenAPI document what it allows and what it does not: no answer may be our mistake, and each is
one that the document describes."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from api.description import describe
from tests.api.stage import served_stage

EXAMPLES = int(os.environ.get("AETHERFLOW_TEST_EXAMPLES", "10"))
"""Requests of each kind, allowed and not allowed, with a token and without, for each operation. `make fuzz` asks for many."""
NO_MISTAKE: CheckFunction = schemathesis.checks.not_a_server_error
CONFORMS: list[CheckFunction] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
WAITS = "POST /v1/images/generations"
"""Nobody makes its pictures here, so it answers 504, as it says it does."""


@pytest.mark.uncounted
@pytest.mark.timeout(12 * max(10, EXAMPLES))
async def test_every_operation_keeps_to_its_description(database_url: str, tmp_path: Path) -> None:
    many: dict[str, Any] = {"requests_per_user": 100_000, "requests_per_address": 100_000, "queued_per_user": 10}
    async with served_stage(database_url, tmp_path, openai_wait_seconds=0.01, **many) as served:
        document, token = describe(served.api), await served.token()
        asked = await asyncio.to_thread(_ask_everything, document, served.url, token)
        assert len(asked) >= 18
        assert not [label for label, count in asked.items() if not count]
        assert not [each for each in (await served.stage.audit()).findings if each.breaches]


def _ask_everything(document: dict[str, Any], url: str, token: str) -> dict[str, int]:
    """How many requests each operation answered as described. Raises at the first that did not."""
    asked: dict[str, int] = {}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.generation.allow_extra_parameters = False  # a query may say more than is listened to
    for result in schema.get_all_operations():
        operation = cast("APIOperation[Any, Any, Any, Any]", result.ok())  # type: ignore[union-attr]  # an Err raises here
        asked[operation.label] = 0
        takes = [*operation.iter_parameters(), *operation.body]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if takes else (GenerationMode.POSITIVE,):
            _asking(operation.as_strategy(generation_mode=mode), url, {"Authorization": f"Bearer {token}"}, asked)()
        _asking(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), url, {}, asked)()
    return asked


def _asking(cases: Any, url: str, headers: dict[str, str], asked: dict[str, int]) -> Callable[[], None]:
    @given(case=cases)
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        label = case.operation.label
        response = case.call(base_url=url, headers=headers)
        conforms = [each for each in CONFORMS if each is not checks.negative_data_rejection or not _lost(case, str(response.request.url))]
        case.validate_response(response, checks=conforms if label == WAITS else [NO_MISTAKE, *conforms])
        assert response.status_code < 500 or (label, response.status_code) == (WAITS, 504), response.text
        asked[label] += 1

    return ask


def _lost(case: Any, url: str) -> set[str]:
    """What a made-up query holds and its address does not: an empty list is nothing on the wire, so what was sent may be allowed."""
    return set(case.query or {}) - set(parse_qs(urlsplit(url).query, keep_blank_values=True))
