"""Mails about an account in words. Their links are keys to it, so they wait veiled and are opened here, right before they are sent."""

import json
from typing import Any

from bots.chat.types import Reply
from core.app import App
from core.mailbox.models import Delivery
from core.words import LOCALES, Text

LINK_MINUTES = {"mail.verify": 24 * 60, "mail.known": 30, "mail.reset": 30, "mail.changed": 0}
"""Every mail there is, and for how long its link is good where the row does not say `minutes`; 0: it has none."""


def letter(app: App, delivery: Delivery) -> tuple[Reply | None, str]:
    """A mail and its language; None for what is no mail, or would go elsewhere than to an e-mail address. Raises CannotOpen.

    The row has `code`, `locale`, and `veiled`: hex of the facts as JSON (`link`, and `minutes` if not the usual ones), veiled under the
    row's key.
    """
    code, locale = str(delivery.body.get("code")), str(delivery.body.get("locale"))
    known = locale if locale in LOCALES else LOCALES[0]
    if code not in LINK_MINUTES or delivery.address.platform != "email":
        return None, known
    facts: dict[str, Any] = json.loads(app.vault.unveil(bytes.fromhex(delivery.body["veiled"]), delivery.key))
    minutes = int(facts.get("minutes", LINK_MINUTES[code]))
    unit, n = ("mail.hours", minutes // 60) if minutes % 60 == 0 else ("mail.minutes", minutes)
    return Reply(Text(code, {"link": facts.get("link", ""), "time": Text(unit, {"n": n})})), known
