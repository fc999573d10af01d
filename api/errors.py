"""Code -> HTTP status, one table; errors as problem details (RFC 9457)."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from core.errors import AetherflowError, Forbidden, NotFound, Refusal

STATUS: dict[type[AetherflowError], int] = {Forbidden: 403, NotFound: 404, Refusal: 409, AetherflowError: 500}
"""The nearest class of an error decides."""


def status_of(error: AetherflowError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(status: int, code: str, **facts: object) -> JSONResponse:
    """A problem document."""
    body = {"type": f"urn:aetherflow:{code}", "title": code, "status": status, **facts}
    return JSONResponse(body, status, media_type="application/problem+json")


def install(api: FastAPI) -> None:
    """Every error leaves as a problem document."""

    @api.exception_handler(AetherflowError)
    async def on_refusal(_request: Request, error: AetherflowError) -> JSONResponse:
        return problem(status_of(error), error.code)

    @api.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error"))

    @api.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "invalid_request", fields=[".".join(map(str, each["loc"])) for each in error.errors()])
