"""`Idempotency-Key`: the same request again gets the same answer and has no second effect (draft-ietf-httpapi-idempotency-key-header).

The answer is kept for 24 hours (`core/idempotency`). If the process dies between the effect and the keeping, the use case's own business
key makes it once: the request may be sent again after a minute and finds what it did.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Header, Request, Response

from api.errors import answer
from api.problems import Problem
from core.app import App
from core.errors import Refusal
from core.ledger.errors import KeyReused

KEPT_HEADERS = ("Location", "Content-Language", "WWW-Authenticate")
FLEETING = frozenset({401, 429, 503})
"""Refusals that say nothing about the request itself: it may be sent again as it is."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="1 to 255 visible ASCII characters, such as a UUID. The same key with the same content gets the same answer for 24 "
        "hours, marked `Idempotency-Replayed: true`; with other content it is refused with 422 `key_reused`.",
    ),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered, and kept: `body` is JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def response(self, *, replayed: bool = False) -> Response:
        """As HTTP."""
        mark = {"Idempotency-Replayed": "true"} if replayed else {}
        return Response(self.body, self.status, self.headers | mark, self.media_type)


async def once(
    request: Request, app: App, user_id: int, key: str | None, content: object, act: Callable[[], Awaitable[Answer]]
) -> tuple[Answer, bool]:
    """The answer of `act`, or of the same request before, and whether it is the latter. `content`: what is asked for, as JSON has it.

    Raises KeyReused, or Problem busy while the same request is being worked on.
    """
    if key is None:
        return await act(), False
    digest = hashlib.sha256(json.dumps([request.method, request.url.path, content], sort_keys=True).encode()).hexdigest()
    standing = await app.run(lambda work: work.idempotency.take(user_id, key, digest))
    context = f"idempotency:{user_id}:{key}"
    if not standing.mine:
        if standing.content != digest:
            raise KeyReused(key=key)
        if standing.answer is None:
            raise Problem("busy")
        status, media_type, headers, body = json.loads(app.vault.unveil(standing.answer, context))
        return Answer(status, body.encode(), headers, media_type), True
    try:
        done = await _answered(request, act)
    except Exception:
        await app.run(lambda work: work.idempotency.forget(user_id, key))
        raise
    kept = json.dumps([done.status, done.media_type, done.headers, done.body.decode()])
    await app.run(lambda work: work.idempotency.keep(user_id, key, app.vault.veil(kept.encode(), context)))
    return done, False


def business_key(user_id: int, key: str) -> str:
    """The core's key of what a request's key stands for: of bounded length whatever the sender chose, and of this user alone."""
    return f"api:{user_id}:{hashlib.sha256(key.encode()).hexdigest()[:40]}"


async def _answered(request: Request, act: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `act` answers; a refusal that is about the request is an answer too."""
    try:
        return await act()
    except (Refusal, Problem) as error:
        refused = answer(request, error)
        if refused.status_code in FLEETING or refused.status_code >= 500:
            raise
        headers = {name: refused.headers[name] for name in KEPT_HEADERS if name in refused.headers}
        return Answer(refused.status_code, bytes(refused.body), headers, str(refused.media_type))
