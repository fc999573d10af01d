"""Rate limits: by the caller's address before anything is looked at, and by user once they are known.

Counted in `core.hints`, across processes where there is a Redis. The answers carry `RateLimit-Policy` and `RateLimit` as in
draft-ietf-httpapi-ratelimit-headers-10, and a refusal `Retry-After`.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import answer
from api.problems import Problem
from core.access.rules import read_address
from core.app import App
from core.config import Settings
from core.errors import Misconfigured
from core.hints import Admission

Network = IPv4Network | IPv6Network
UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})
"""What watches the process asks often, and from one address."""
WINDOW = 60
IPV6_PREFIX = 64
"""One household or machine has a whole network of such addresses: it counts as one."""


class AddressLimit:
    """At most so many requests a minute from one address, whoever they say they are."""

    def __init__(self, asgi: ASGIApp, app: App) -> None:
        self._asgi = asgi
        self._app = app
        self._trusted = trusted_networks(app.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._asgi(scope, receive, send)
            return
        peer = (scope.get("client") or ("", 0))[0]
        scope["address"] = client_address(peer, Headers(scope=scope).getlist("x-forwarded-for"), self._trusted)
        per_minute = self._app.settings.requests_per_address
        admission = await self._app.hints.admit(f"address:{bucket(scope['address'])}", per_minute)
        note(scope, "address", per_minute, admission)
        if admission:
            await self._asgi(scope, receive, send)
        else:
            await answer(Request(scope), too_fast(admission))(scope, receive, send)


async def count(request: Request, app: App, policy: str, who: str, per_minute: int) -> None:
    """Counts one use by `who` under a policy, and tells the answer's headers. Raises Problem slow_down."""
    admission = await app.hints.admit(f"{policy}:{who}", per_minute)
    note(request.scope, policy, per_minute, admission)
    if not admission:
        raise too_fast(admission)


async def count_signing_in(request: Request, app: App, email: str) -> None:
    """Counts a try against the account's and the asking address's limits, known or not. Raises BadAddress, or Problem slow_down."""
    where = bucket(request.scope.get("address", ""))
    await count(request, app, "signing_in_from", where, app.settings.logins_per_address)
    await count(request, app, "signing_in", app.vault.pseudonym(read_address(email)), app.settings.logins_per_account)


def too_fast(admission: Admission) -> Problem:
    """The refusal of one request too many."""
    wait = max(1, admission.seconds)
    return Problem("slow_down", headers={"Retry-After": str(wait)}, seconds=wait)


def note(scope: Scope, policy: str, per_minute: int, admission: Admission) -> None:
    """Remembers a standing for the headers; of several, the last is the closest to the caller."""
    scope["limit_headers"] = {
        "RateLimit-Policy": f'"{policy}";q={per_minute};w={WINDOW}',
        "RateLimit": f'"{policy}";r={admission.left};t={admission.seconds}',
    }


def trusted_networks(settings: Settings) -> list[Network]:
    """`TRUSTED_PROXIES` as networks. Raises Misconfigured."""
    try:
        return [ip_network(part.strip()) for part in settings.trusted_proxies.split(",") if part.strip()]
    except ValueError as error:
        raise Misconfigured(setting="TRUSTED_PROXIES", problem=str(error)) from None


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who is asking: the peer, or the last address in X-Forwarded-For that no trusted proxy of ours wrote about another one of ours.

    Without trusted proxies the header counts for nothing: anyone can send one.
    """
    chain = [part.strip() for line in forwarded for part in line.split(",")]
    address = peer
    while chain and _is_in(address, trusted):
        address = chain.pop()
    return address if _is_address(address) or address == peer else peer


def bucket(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the IPv6 network of a household."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return address if known.version == 4 else str(ip_network((address, IPV6_PREFIX), strict=False))


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
