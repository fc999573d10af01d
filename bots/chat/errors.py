"""explain(error) -> Reply: the one place where a refusal becomes words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bots.chat.grammar import FLAGS
from bots.chat.types import Button, Reply
from core.db import SECOND
from core.errors import AetherflowError
from core.moderation import Level
from core.words import Amount, Text

_AMOUNTS = frozenset({"needed", "available", "debt", "left", "most", "above"})
_LIMITS = frozenset({"grant_too_large", "payout_needs_second"})
"""Codes whose limit is an amount."""

_PARTS = {"bad_prompt": "problem", "bad_preset": "problem", "pool_cap": "cap", "pool_closed": "why", "may_not_vote": "why"}
"""Codes that are worded by what is wrong, and the fact that says it."""

_NAMED = {
    "bad_limit": ("field", "field"), "not_allowed_now": ("state", "resource.state"), "not_waiting": ("state", "state"),
    "not_delivered": ("state", "state"), "not_payable": ("state", "payment.state"), "ballot_over": ("state", "ballot.state"),
    "bad_policy": ("field", "pool.ask"), "bad_pledge": ("field", "pledge.ask"),
}  # fmt: skip
"""Codes of which one fact has words of its own, and where these are."""


def _of_parameter(facts: Mapping[str, Any]) -> str:
    if not facts["allowed"]:
        return ".unsupported"
    if facts["value"]:
        return ""
    return ".missing" if facts["flag"] in FLAGS else ".unknown"


def explain(error: AetherflowError) -> Reply:
    """What is wrong and what to do next; for the asker alone."""
    facts = {name: Amount(value) if name in _AMOUNTS else value for name, value in error.facts.items()}
    if error.code in _LIMITS:
        facts["limit"] = Amount(error.facts["limit"])
    code = f"error.{error.code}"
    if (part := _PARTS.get(error.code)) is not None:
        code += f".{error.facts[part]}"
    if (named := _NAMED.get(error.code)) is not None:
        fact, prefix = named
        facts[fact] = Text(f"{prefix}.{error.facts[fact]}")
    if error.code == "bad_parameter":
        code += _of_parameter(error.facts)
    if error.code == "forbidden_prompt" and error.facts["level"] != Level.ALWAYS:
        code += f".{error.facts['level']}"
    if error.code == "too_many_strikes":
        facts["until"] = f"{datetime.fromtimestamp(error.facts['until'] / SECOND, UTC):%Y-%m-%d %H:%M} UTC"
    if error.code == "rail_off":
        facts["open"] = [Text(f"rail.{each}") for each in error.facts["open"]]
    if error.code in ("pool_empty", "pool_cap", "pool_closed"):
        own = Button(Text("button.pay_me"), f"pay_me {error.facts['order']}", style="primary")
        asking = "button.pool_ask" if error.code == "pool_empty" else "button.ask_in" if error.facts.get("why") == "list" else None
        asks = (Button(Text(asking), f"pool_ask {error.facts['order']}"),) if asking else ()
        return Reply(Text(code, facts), rows=((own, *asks),), private=True)
    short = error.code in ("insufficient_credits", "in_debt")
    rows = ((Button(Text("button.topup"), "topup", style="primary"), Button(Text("button.balance"), "balance")),) if short else ()
    return Reply(Text(code, facts), rows=rows, private=True)
