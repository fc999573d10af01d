"""Callbacks: checked, stored, committed, and only then acknowledged."""

import hmac
import json
from typing import Any

from fastapi import APIRouter, Request, Response

from api.errors import problem
from core.app import INBOX, App
from core.mailbox.models import MAX_EVENT_BYTES, Received

router = APIRouter()
PLATFORM = "telegram"


@router.post("/webhooks/telegram")
async def on_telegram(request: Request) -> Response:
    """One Telegram update. Without a configured secret the route is off; a wrong one is refused."""
    app: App = request.app.state.core
    secret = app.settings.telegram_webhook_secret.get_secret_value()
    if not secret:
        return problem(404, "not_found")
    given = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    if not hmac.compare_digest(given.encode(), secret.encode()):
        return problem(403, "forbidden")
    body = await request.body()
    if len(body) > MAX_EVENT_BYTES:
        return problem(413, "too_large")
    try:
        update = json.loads(body)
        event_id = str(int(update["update_id"]))
    except (ValueError, KeyError, TypeError):
        return problem(400, "invalid_request")
    received = Received(event_id, _chat_key(update), app.vault.veil(body, f"{PLATFORM}:{event_id}"))
    await app.run(lambda work: work.mailbox.store(PLATFORM, [received]))
    await app.hints.wake(INBOX)
    return Response(status_code=200)


def _chat_key(update: dict[str, Any]) -> str:
    """What keeps an update in order with others: its chat, else its sender, else nothing."""
    for value in update.values():
        if isinstance(value, dict):
            chat = value.get("chat") or (value.get("message") or {}).get("chat") or value.get("from")
            if isinstance(chat, dict) and "id" in chat:
                return str(chat["id"])
    return f"update:{update['update_id']}"
