"""Every error leaves as a problem document (RFC 9457) in the reader's language. Code -> HTTP status, one table.

Under `/v1/`, where clients of OpenAI's API ask, errors have OpenAI's shape instead (`api/openai_errors.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.language import WORDS, language_of
from api.openai_errors import openai_error
from api.problems import Problem
from api.shown import core_of, moment
from api.validation import is_malformed, is_other_media, read_errors
from core.access.errors import BadAddress, BadInitData, BadPassword, CapReached, CodeExpired, Unauthenticated, WrongPassword
from core.blobs import BlobsUnavailable
from core.catalog import BadParameter, UnknownModel
from core.db import SECOND
from core.errors import AetherflowError, Forbidden, NotFound, Refusal
from core.generations.errors import BadPrompt, Maintenance, TooManyQueued
from core.joining.errors import JoinCodeExpired
from core.ledger.errors import InsufficientCredits, KeyReused
from core.moderation import ForbiddenPrompt
from core.money import format_credits
from core.payments.rails.base import BadSignature, RailError
from core.pools.errors import PoolCap, PoolEmpty
from core.presets.errors import BadPreset, BadPresetField
from core.resources.errors import BadLimit, KeyOfAnother, LinkExpired, NotAKey
from core.users.errors import TooManyStrikes
from core.vault.errors import VaultAway
from core.words import Amount, Text

STATUS: dict[type[AetherflowError], int] = {
    Unauthenticated: 401,
    WrongPassword: 401,
    CapReached: 402,
    PoolCap: 402,
    PoolEmpty: 402,
    InsufficientCredits: 402,
    BadSignature: 403,
    Forbidden: 403,
    NotFound: 404,
    Refusal: 409,
    LinkExpired: 410,
    CodeExpired: 410,
    JoinCodeExpired: 410,
    BadPrompt: 422,
    BadAddress: 422,
    BadPassword: 422,
    BadInitData: 401,
    UnknownModel: 422,
    BadParameter: 422,
    BadLimit: 422,
    BadPreset: 422,
    ForbiddenPrompt: 422,
    BadPresetField: 422,
    NotAKey: 422,
    KeyOfAnother: 422,
    KeyReused: 422,
    TooManyQueued: 429,
    TooManyStrikes: 429,
    AetherflowError: 500,
    BlobsUnavailable: 503,
    Maintenance: 503,
    RailError: 503,
    VaultAway: 503,
}
"""The nearest class of an error decides."""

MEDIA_TYPE = "application/problem+json"
AMOUNTS = frozenset({"needed", "available", "held", "asked", "debt", "left", "most", "above"})
"""Facts in milli-credits; people read Credits."""
MOMENTS = frozenset({"until"})
"""Facts in microseconds since 1970."""
HIDDEN = frozenset({"account", "blob", "hold", "key", "order", "subject"})
"""Facts that name what is inside; a sentence may use them, a document does not show them."""
RESERVED = frozenset({"type", "title", "status", "detail", "instance", "errors"})
SAID_APART = frozenset({"off", "model", "quiet", "remote", "unseen"})
"""Why a pool does not pay, where that has a sentence of its own."""
FIELDS = {"ar": "ratio", "no": "negative"}
"""The core names parameters as a chat types them; a request has other names for these."""
RETRY_SECONDS = {409: 1, 429: 60, 503: 5}
"""`Retry-After` where a later try may do better, and the error does not say when."""
DRAIN_SECONDS = 60
"""`Retry-After` during maintenance."""


def _read(name: str, value: Any) -> Any:
    return Amount(value) if name in AMOUNTS else moment(value) if name in MOMENTS else value


def status_of(error: AetherflowError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def sentence_of(error: AetherflowError) -> Text:
    """The sentence that an error is said in, with its facts as a reader reads them."""
    facts = {name: _read(name, value) for name, value in error.facts.items()}
    code = f"error.{error.code}"
    if error.code == "bad_prompt":
        code += f".{facts['problem']}"
    if error.code == "bad_preset":
        code += f".{facts['problem']}"
    if error.code == "pool_closed" and facts["why"] in SAID_APART:
        code += f".{facts['why']}"
    if error.code == "bad_parameter" and not facts["allowed"]:
        code += ".unsupported"
    if error.code in ("bad_prompt", "bad_parameter"):
        flag = str(facts.get("flag", "prompt"))
        facts["flag"] = FIELDS.get(flag, flag)
    if error.code == "grant_too_large":
        facts["limit"] = Amount(error.facts["limit"])
    if error.code == "not_allowed_now":
        facts["state"] = Text(f"resource.state.{facts['state']}")
    if error.code in ("not_waiting", "not_delivered"):
        facts["state"] = Text(f"state.{facts['state']}")
    return Text(code, facts)


def document(
    request: Request, status: int, code: str, sentence: Text, facts: Mapping[str, Any], errors: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """A problem document: `facts` are its extension members, `errors` the fields that are wrong."""
    language = language_of(request)
    body: dict[str, Any] = {
        "type": f"urn:aetherflow:{code}",
        "title": WORDS.plain(Text(f"title.{status}"), language),
        "status": status,
        "detail": WORDS.plain(sentence, language),
        "instance": request.scope.get("request_id", ""),
    }
    if errors:
        body["errors"] = [dict(each) for each in errors]
    return body | {name: shown for name, value in facts.items() if (shown := _shown(value)) is not None and name not in RESERVED}


def refuse(request: Request, code: str, **facts: Any) -> JSONResponse:
    """The answer to a Problem, for code that does not raise it."""
    return answer(request, Problem(code, **facts))


def problem(status: int, code: str, **facts: object) -> JSONResponse:
    """A problem document for callbacks of platforms: machines read it, in no language."""
    body = {"type": f"urn:aetherflow:{code}", "title": code, "status": status, **facts}
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


def answer(request: Request, error: AetherflowError | Problem) -> JSONResponse:
    """The response to an error."""
    if isinstance(error, Problem):
        status, sentence, errors = error.status_code, Text(f"error.{error.code}", error.facts), error.errors
        headers = dict(error.headers or {})
    else:
        status, sentence, errors, headers = status_of(error), sentence_of(error), _fields_of(error), {}
    if status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if error.code in ("busy", "slow_down", "too_many_queued") or status == 503:
        headers.setdefault("Retry-After", str(RETRY_SECONDS[status]))
    if error.code == "maintenance":
        headers["Retry-After"] = str(DRAIN_SECONDS)
    if error.code == "too_many_strikes":
        headers["Retry-After"] = str(max(1, (error.facts["until"] - core_of(request).now()) // SECOND))
    language = language_of(request)
    headers["Content-Language"] = language
    if request.url.path.startswith("/v1/"):
        return openai_error(status, error.code, WORDS.plain(sentence, language), error.facts, errors, headers)
    facts = {name: _read(name, value) for name, value in error.facts.items() if name not in HIDDEN}
    return JSONResponse(document(request, status, error.code, sentence, facts, errors), status, headers, MEDIA_TYPE)


def install(api: FastAPI) -> None:
    """Makes every error of the application leave as such a document."""

    @api.exception_handler(AetherflowError)
    async def on_refusal(request: Request, error: AetherflowError) -> JSONResponse:
        return answer(request, error)

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, Problem):
            return answer(request, error)
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "malformed")
        if code == "not_found":
            return answer(request, NotFound())
        return answer(request, Problem(code, headers=dict(error.headers or {})))

    @api.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if is_malformed(error):
            return answer(request, Problem("malformed"))
        if is_other_media(error, request.headers.get("Content-Type", "")):
            return answer(request, Problem("unsupported_media"))
        return answer(request, Problem("invalid_request", errors=read_errors(error, language_of(request))))


def _fields_of(error: AetherflowError) -> list[dict[str, str]]:
    """The one field that a refusal of the core is about, where it says so."""
    name = error.facts.get("flag") if error.code in ("bad_prompt", "bad_parameter") else error.facts.get("field")
    if error.code == "unknown_model":
        name = "model"
    return [{"pointer": f"#/{FIELDS.get(name, name)}"}] if isinstance(name, str) else []


def _shown(value: Any) -> Any:
    """A fact as JSON has it: amounts as decimal strings of Credits, what is plain as it is; None for what cannot be shown."""
    if isinstance(value, Amount):
        return format_credits(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(each) for each in value]
    return None
