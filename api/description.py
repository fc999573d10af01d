"""The OpenAPI document: what FastAPI knows of the routes, with our error shapes in place of its own."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.shown import ProblemDocument

TAGS = [
    {"name": "account", "description": "Signing up, signing in, API tokens, joining chat identities."},
    {"name": "catalog", "description": "What is on sale, at which price."},
    {"name": "generations", "description": "Ordering pictures and getting them."},
    {"name": "wallet", "description": "Credits: balances, statement, payments."},
    {"name": "disputes", "description": "Against a delivered picture, and what was decided."},
    {"name": "presets", "description": "Templates of prompts, and publishing them."},
    {"name": "pools", "description": "Credits that communities share: those that one may spend, and giving to them."},
    {"name": "resources", "description": "Lending keys."},
    {
        "name": "OpenAI-compatible",
        "description": "For clients of OpenAI's API: this address as `base_url`, an API token of ours as the key.",
    },
    {"name": "admin", "description": "Users, verdicts and figures, for the operator's programs."},
    {"name": "operation", "description": "For whoever runs it."},
]
ABOUT = """Pictures for Credits, from capacity that miners lend.

Amounts are decimal numbers of Credits in strings, such as `"4.5"`. Moments are RFC 3339 in UTC. Lists are pages: `next` is the address
of the following one. A POST that moves value takes an `Idempotency-Key`. Errors are problem documents (RFC 9457) in the language of
`Accept-Language` (English, Chinese), else of the user; under `/v1` they have OpenAI's shape. Every answer carries `X-Request-Id`.
"""
OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "examples": ["invalid_request_error"]},
                "param": {"type": ["string", "null"], "examples": ["size"]},
                "code": {"type": ["string", "null"], "examples": ["invalid_request"]},
                "generations": {"type": "array", "items": {"type": "integer"}, "description": "Where some were ordered."},
            },
        }
    },
}
NOT_OURS = ("HTTPValidationError", "ValidationError")


def describe(api: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if api.openapi_schema is None:
        document = get_openapi(title=api.title, version=api.version, description=ABOUT, routes=api.routes, tags=TAGS)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in NOT_OURS:
            schemas.pop(name, None)
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas.update({"ProblemDocument": problem, "OpenAIError": OPENAI_ERROR})
        for path in document["paths"].values():
            for operation in path.values():
                _leave_out_foreign(operation["responses"])
        api.openapi_schema = document
    return api.openapi_schema


def _leave_out_foreign(responses: dict[str, Any]) -> None:
    """FastAPI adds its own shape of 422 wherever a route says nothing about that status."""
    schema = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("$ref", "").endswith(NOT_OURS):
        del responses["422"]
