"""Who is asking: the bearer's token becomes a caller with the scope that a route needs, counted against their requests per minute."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.limits import count
from api.shown import core_of
from core.access.errors import ScopeMissing, SessionNeeded, Unauthenticated
from core.access.models import Entrance, Scope
from core.accounts import Accounts
from core.users.models import User

BEARER = HTTPBearer(
    scheme_name="token", auto_error=False, description="An API token (`aef_…`) with the named scope, or a session's access token."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A user who asks, by an API token (`token_id`) or in a session (`session_id`). `pool`: the one that the token is bound to."""

    user: User
    scopes: frozenset[Scope]
    token_id: int | None
    session_id: int | None
    pool: int | None = None

    @property
    def entrance(self) -> Entrance:
        """What they came in by."""
        return Entrance(self.user, self.scopes, self.session_id, self.token_id)


def accounts_of(request: Request) -> Accounts:
    """The accounts behind the api."""
    accounts: Accounts = request.app.state.accounts
    return accounts


async def _enter(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]) -> Caller:
    if credentials is None:
        raise Unauthenticated()
    found = await accounts_of(request).enter(credentials.credentials)
    request.state.locale = found.user.locale
    app = core_of(request)
    await count(request, app, "user", str(found.user.id), app.settings.requests_per_user)
    return Caller(found.user, found.scopes, found.token_id, found.session_id, found.community_id)


def allowed(scope: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who must have that scope; one more use of their requests per minute is counted.

    Raises Unauthenticated, ScopeMissing, or Problem slow_down.
    """
    needed = Scope(scope)

    async def admit(caller: Annotated[Caller, Security(_enter, scopes=[needed])]) -> Caller:
        if needed not in caller.scopes:
            raise ScopeMissing(scope=str(needed))
        return caller

    return admit


async def _signed_in(caller: Annotated[Caller, Depends(_enter)]) -> Caller:
    if caller.session_id is None:
        raise SessionNeeded()
    return caller


SignedIn = Annotated[Caller, Depends(_signed_in)]
"""A caller in a session of their own: what an API token may never do."""
Anyone = Annotated[Caller, Depends(_enter)]
"""Any caller, whatever their scopes."""
