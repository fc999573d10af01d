"""What every route shows alike: amounts as decimal strings of Credits, moments as RFC 3339 in UTC, and strict requests."""

import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.app import App
from core.db import SECOND

Credits = Annotated[str, Field(pattern=r"^-?\d+(\.\d{1,3})?$", examples=["4.5"], description="Credits, as a decimal number in a string.")]
When = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-25T05:00:00.000000Z"])]
MAX_ID = 2**63 - 1


class Asked(BaseModel):
    """A request's body: what is not named is refused, and so is a zero byte, which no database takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _without_zero(cls, value: object) -> object:
        if "\\u0000" in json.dumps(value, default=str).replace("\\\\", ""):
            raise ValueError("has a zero byte")
        return value


class Shown(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="forbid")


class FieldProblem(Shown):
    """One thing that is wrong with a request."""

    pointer: str | None = Field(None, description="JSON pointer into the body.", examples=["#/ratio"])
    parameter: str | None = Field(None, description="Name of a query, path or header parameter.")
    message: str | None = None


class ProblemDocument(BaseModel):
    """RFC 9457. Further members are facts of the problem, such as `needed` and `available`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:aetherflow:insufficient_credits"])
    title: str = Field(examples=["Not enough Credits"])
    status: int = Field(examples=[402])
    detail: str = Field(examples=["That costs 4.5 Credits, and 0 are there."])
    instance: str = Field(description="The request's id, as in X-Request-Id.")
    errors: list[FieldProblem] | None = None


def moment(at: int) -> str:
    """Microseconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(at // SECOND, UTC).replace(microsecond=at % SECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_or_none(at: int | None) -> str | None:
    """The same for what may not have happened."""
    return None if at is None else moment(at)


def core_of(request: Request) -> App:
    """The App behind the api."""
    app: App = request.app.state.core
    return app


def refusals(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Problem documents of those statuses, for the description of a route; what any route may answer is among them."""
    listed = sorted({*statuses, 429})
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {status: {"description": REASONS[status], "content": content} for status in listed}


REASONS = {
    400: "The request cannot be read, or its cursor is not ours.",
    401: "No token, or one that is not valid.",
    402: "Not enough Credits.",
    403: "The token's scopes or the user's state do not allow it.",
    404: "Not there, or not yours.",
    409: "Not possible in this state, or the same request is being worked on.",
    410: "The link was used or is too old.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Understood, and not possible as asked; `errors` says which fields.",
    429: "Too many at once; `Retry-After` says when.",
    503: "Something that is needed is away for a while.",
    504: "Not done within the time.",
}
