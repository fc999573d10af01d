"""Callbacks: checked, stored, committed, and only then acknowledged."""

import hmac
import json
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from api.errors import problem
from core.app import INBOX, App
from core.mailbox.models import MAX_EVENT_BYTES, Received
from core.payments.rails.base import BadSignature
from core.payments.receive import Applied

router = APIRouter()
log = structlog.get_logger(__name__)
PLATFORM = "telegram"
CHECKOUTS = "telegram:pay"
"""Questions before a payment wait in a line of their own: they have ten seconds, whatever else their chat has said."""


@router.post("/webhooks/telegram")
async def on_telegram(request: Request) -> Response:
    """One Telegram update. Without a configured secret the route is off; a wrong one is refused."""
    app: App = request.app.state.core
    secret = app.settings.telegram_webhook_secret.get_secret_value()
    if not secret:
        return _refused("off", 404, "not_found")
    given = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    if not hmac.compare_digest(given.encode(), secret.encode()):
        return _refused("secret", 403, "forbidden")
    body = await request.body()
    if len(body) > MAX_EVENT_BYTES:
        return problem(413, "too_large")
    try:
        update = json.loads(body)
        event_id = str(int(update["update_id"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return _refused("no update", 400, "invalid_request")
    lane = CHECKOUTS if "pre_checkout_query" in update else PLATFORM
    received = Received(event_id, _chat_key(update), app.vault.veil(body, f"{lane}:{event_id}"))
    await app.run(lambda work: work.mailbox.store(lane, [received]))
    await app.hints.wake(INBOX)
    return Response(status_code=200)


@router.post("/webhooks/stripe")
async def on_stripe(request: Request) -> Response:
    """One Stripe event. Any answer of 2xx ends its repetition, so it is given after the commit."""
    applied = await _receive(request, "stripe")
    return applied if isinstance(applied, Response) else Response(status_code=200)


@router.post("/webhooks/alipay")
async def on_alipay(request: Request) -> Response:
    """One Alipay notice. Only the word `success` ends its repetition."""
    applied = await _receive(request, "alipay")
    if isinstance(applied, Response):
        return Response("failure", applied.status_code, media_type="text/plain")
    return Response("success", media_type="text/plain")


def _refused(why: str, status: int, code: str) -> Response:
    log.warning("callback_refused", rail=PLATFORM, problem=why)
    return problem(status, code)


async def _receive(request: Request, name: str) -> Applied | Response | None:
    """What became of a callback, or why it was refused. A rail without its secrets is off, and proves nothing."""
    app: App = request.app.state.core
    rail = app.rails.get(name)
    if rail is None:
        log.warning("callback_refused", rail=name, problem="off")
        return problem(404, "not_found")
    body = await request.body()
    if len(body) > MAX_EVENT_BYTES:
        return problem(413, "too_large")
    try:
        event = rail.read(request.headers, body, app.now())
    except BadSignature as error:
        log.warning("callback_refused", rail=name, problem=error.facts.get("problem"))
        return problem(403, error.code)
    return None if event is None else await app.receive(name, event)


def _chat_key(update: dict[str, Any]) -> str:
    """What keeps an update in order with others: its chat, else its sender, else nothing. Payments have an order of their own, so that they
    neither wait for what is said in the chat nor hold it up."""
    if "pre_checkout_query" in update:
        return f"checkout:{update['update_id']}"
    message = update.get("message")
    if isinstance(message, dict) and ("successful_payment" in message or "refunded_payment" in message):
        return f"pay:{(message.get('chat') or {}).get('id')}"
    for value in update.values():
        if isinstance(value, dict):
            chat = value.get("chat") or (value.get("message") or {}).get("chat") or value.get("from")
            if isinstance(chat, dict) and "id" in chat:
                return str(chat["id"])
    return f"update:{update['update_id']}"
