"""What goes wrong at Discord: rate limits per route and over all, and faults that a test switches on.

The figures of the limits are examples: Discord publishes only the 50 requests a second over all, and tells clients to go by the headers.
"""

import hashlib
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GLOBAL_LIMIT = 50  # per second, interaction endpoints not counted
_UNLIMITED = 1_000_000
_RULES = {  # (method, end of the route): (requests, seconds)
    ("POST", "/channels/{channel}/messages"): (5, 5.0),
    ("PATCH", "/channels/{channel}/messages/{message}"): (5, 5.0),
    ("DELETE", "/channels/{channel}/messages/{message}"): (5, 1.0),
    ("POST", "/webhooks/{application}/{token}"): (5, 2.0),
    ("PATCH", "/webhooks/{application}/{token}/messages/{message}"): (5, 2.0),
    ("POST", "/users/@me/channels"): (10, 10.0),
}
_OTHERWISE = (50, 1.0)


@dataclass(slots=True)
class Faults:
    """Switches. Counters go down with each request that they spoil.

    `status` answers the next `statuses` requests; `drop` cuts the connection before a request is looked at, `lose_answers` after it was
    carried out. `only` restricts these to routes that contain it. `refuse_token`: 401 and close code 4004 from now on.
    """

    status: int = 503
    statuses: int = 0
    drop: int = 0
    lose_answers: int = 0
    only: str = ""
    refuse_token: bool = False
    cannot_dm: set[str] = field(default_factory=set)  # people who take no private messages: 50007
    missing_access: set[str] = field(default_factory=set)  # channels that the bot cannot see: 50001
    too_many: int = 0  # the next requests get 429, whatever the limits say
    too_many_seconds: float = 0.2

    def strikes(self, counter: str, path: str) -> bool:
        """Uses up one of `counter` if it is to hit this request."""
        left: int = getattr(self, counter)
        if left <= 0 or self.only not in path:
            return False
        setattr(self, counter, left - 1)
        return True

    def set(self, **values: Any) -> None:
        """Sets switches by name. Raises AttributeError for a name that is none."""
        for name, value in values.items():
            setattr(self, name, set(value) if isinstance(value, list) else value)


class RateLimits:
    """Fixed windows that open with the first request. With `enabled` off the headers stay and nothing is refused."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.refused = 0
        self._windows: dict[str, tuple[float, int]] = {}
        self._recent: deque[float] = deque()
        self._counted: dict[str, int] = defaultdict(int)

    def admit(self, request: web.Request, template: str) -> tuple[dict[str, str], dict[str, Any] | None]:
        """Headers for the answer, and the body of a 429 when the request is one too many."""
        now = time.monotonic()
        route = template.partition("/v10")[2]
        interactive = route.startswith(("/interactions", "/webhooks"))
        if self.enabled and not interactive and self._over_all(now):
            wait = 1.0 - (now - self._recent[0])
            return _headers_429(wait, "global"), too_many(wait, everywhere=True)
        rule = _RULES.get((request.method, route), _OTHERWISE)
        limit, seconds = rule if self.enabled else (_UNLIMITED, 1.0)
        bucket = hashlib.sha256(f"{request.method} {route}".encode()).hexdigest()[:16]
        major = request.match_info.get("token") or request.match_info.get("channel") or ""
        key = f"{bucket}:{major}"
        started, used = self._windows.get(key, (now, 0))
        if now >= started + seconds:
            started, used = now, 0
        left, wait = limit - used, started + seconds - now
        if left <= 0:
            self.refused += 1
            return _headers_429(wait, "user") | _headers(limit, 0, wait, bucket), too_many(wait)
        self._windows[key] = (started, used + 1)
        self._counted[route] += 1
        return _headers(limit, left - 1, wait, bucket), None

    def _over_all(self, now: float) -> bool:
        while self._recent and now - self._recent[0] >= 1.0:
            self._recent.popleft()
        if len(self._recent) >= GLOBAL_LIMIT:
            self.refused += 1
            return True
        self._recent.append(now)
        return False


def too_many(wait: float, *, everywhere: bool = False) -> dict[str, Any]:
    """The body of a 429."""
    return {"message": "You are being rate limited.", "retry_after": round(wait, 3), "global": everywhere}


def _headers(limit: int, left: int, wait: float, bucket: str) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset": f"{time.time() + wait:.3f}",
        "X-RateLimit-Reset-After": f"{wait:.3f}",
        "X-RateLimit-Bucket": bucket,
    }


def _headers_429(wait: float, scope: str) -> dict[str, str]:
    # discord.py takes a 429 without Via for a ban by the proxy in front of Discord, and gives up
    return {"Retry-After": str(max(1, round(wait))), "X-RateLimit-Scope": scope, "Via": "1.1 google"}


def forced_429(wait: float) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body of a 429 that a test ordered."""
    return _headers_429(wait, "shared"), too_many(wait)
