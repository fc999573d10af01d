"""Accounts by e-mail, and API tokens. No answer tells whether an address is known here."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from api.caller import Anyone, Caller, SignedIn, accounts_of
from api.language import language_of
from api.limits import count_signing_in
from api.pools import audience_of
from api.shown import MAX_ID, Asked, Credits, Shown, When, core_of, moment, moment_or_none, refusals
from core.access.errors import ScopeMissing, WrongPassword
from core.access.models import MAX_ADDRESS, MAX_PASSWORD, MAX_TOKEN_NAME, ApiToken, Scope
from core.access.rules import allowed_scopes, new_token
from core.accounts import Pair
from core.db import DAY
from core.generations.service import spent_by_token
from core.money import format_credits, parse_credits
from core.users.errors import Frozen
from core.users.models import MAX_NAME, Role, User

router = APIRouter(tags=["account"])

MAX_DAYS = 3650
Address = Annotated[str, Field(min_length=3, max_length=MAX_ADDRESS, examples=["ada@example.org"])]
Password = Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD, examples=["a long sentence is best"])]
Code = Annotated[str, Field(min_length=1, max_length=100, description="From the mailed link.")]
Locale = Annotated[str, Field(pattern="^(en|zh)$", examples=["en"])]


class RegisterAsked(Asked):
    """Who wants an account."""

    email: Address
    password: Password
    name: str = Field("", max_length=MAX_NAME)


class LoginAsked(Asked):
    """Who comes in."""

    email: Address
    password: Password


class AddressAsked(Asked):
    """Whose password is forgotten."""

    email: Address


class CodeAsked(Asked):
    """A mailed code."""

    code: Code


class ResetAsked(Asked):
    """A mailed code, and the password from now on."""

    code: Code
    password: Password


class ChangeAsked(Asked):
    """The password until now, and the one from now on."""

    old_password: Password
    new_password: Password


class RefreshAsked(Asked):
    """The refresh token that came with the last pair."""

    refresh_token: str = Field(min_length=1, max_length=2000)


class LogoutAsked(Asked):
    """Which sessions end."""

    everywhere: bool = False


class MeAsked(Asked):
    """What a user may change about themselves."""

    name: str | None = Field(None, min_length=1, max_length=MAX_NAME)
    locale: Locale | None = None


class TokenAsked(Asked):
    """What an API token is for."""

    name: str = Field(min_length=1, max_length=MAX_TOKEN_NAME, examples=["my script"])
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1, max_length=len(Scope), examples=[["generate"]])
    cap: str | None = Field(
        None, pattern=r"^\d{1,9}(\.\d{1,3})?$", examples=["45"], description="Credits that it may spend in all; null: no cap of its own."
    )
    pool: int | None = Field(
        None,
        ge=1,
        le=MAX_ID,
        description="A pool of GET /pools that pays for all that it orders, within its rules; null: it is bound to none.",
    )
    days: int | None = Field(None, ge=1, le=MAX_DAYS, description="How many days it is good for; null: until it is revoked.")


class PairShown(Shown):
    """What a session is held by."""

    access_token: str
    token_type: str = Field("bearer")
    expires_in: int = Field(86_400, description="Seconds.")
    refresh_token: str = Field(description="Good once, for 30 days.")


class Sent(Shown):
    """What happens next."""

    sent: bool = Field(True, description="A mail is on its way, if the address can get one.")


class IdentityShown(Shown):
    """One way in which a user is known."""

    platform: str = Field(examples=["telegram"])
    id: str


class MeShown(Shown):
    """The user who asks."""

    id: int
    name: str
    locale: Locale
    roles: list[str] = Field(examples=[["creator", "miner"]])
    frozen: bool
    scopes: list[Scope]
    identities: list[IdentityShown]


class TokenShown(Shown):
    """An API token, without the token."""

    id: int
    name: str
    hint: str = Field(description="Its first characters.", examples=["aef_Xy12ab"])
    scopes: list[Scope]
    pool: int | None = Field(description="The pool that pays for all that it orders; null: it is bound to none.")
    cap: Credits | None
    spent: Credits
    created_at: When
    expires_at: When | None
    last_used_at: When | None = Field(description="To the minute; null: never.")


class TokensShown(Shown):
    """The user's API tokens that can be used."""

    data: list[TokenShown]


class TokenMade(TokenShown):
    """A new API token: this once it is shown."""

    token: str = Field(examples=["aef_…"])


@router.post("/auth/register", status_code=202, response_model=Sent, responses=refusals(400, 409, 413, 415, 422), summary="Open an account")
async def register(request: Request, asked: RegisterAsked) -> Sent:
    """Mails a link that opens it. The answer is the same for an address that has an account; its owner is told by mail."""
    await count_signing_in(request, core_of(request), asked.email)
    await accounts_of(request).register(asked.email, asked.password, asked.name, language_of(request))
    return Sent()


@router.post("/auth/verify", response_model=PairShown, responses=refusals(400, 410, 413, 415, 422), summary="Open it by the mailed code")
async def verify(request: Request, asked: CodeAsked) -> PairShown:
    """The account is there from now on, and its first session with it."""
    _, pair = await accounts_of(request).verify(asked.code)
    return _pair(pair)


@router.post("/auth/login", response_model=PairShown, responses=refusals(400, 401, 413, 415, 422), summary="Begin a session")
async def login(request: Request, asked: LoginAsked) -> PairShown:
    """By address and password; which of the two is wrong is not said."""
    await count_signing_in(request, core_of(request), asked.email)
    _, pair = await accounts_of(request).login(asked.email, asked.password)
    return _pair(pair)


@router.post("/auth/refresh", response_model=PairShown, responses=refusals(400, 401, 413, 415, 422), summary="Go on with a session")
async def refresh(request: Request, asked: RefreshAsked) -> PairShown:
    """A new pair. A refresh token that was used before ends its session: one of the two who have it is not you."""
    return _pair(await accounts_of(request).refresh(asked.refresh_token))


@router.post("/auth/logout", status_code=204, responses=refusals(400, 401, 403, 413, 415, 422), summary="End this session, or all")
async def logout(request: Request, asked: LogoutAsked, caller: SignedIn) -> Response:
    """Its tokens are good for nothing from now on."""
    await accounts_of(request).logout(caller.entrance, everywhere=asked.everywhere)
    return Response(status_code=204)


@router.post("/auth/password", status_code=204, responses=refusals(400, 401, 403, 413, 415, 422), summary="Change the password")
async def change_password(request: Request, asked: ChangeAsked, caller: SignedIn) -> Response:
    """Every other session ends, and a mail says that it was changed."""
    async with core_of(request).read() as work:
        known = await work.users.identities(caller.user.id)
    address = next((id_ for platform, id_ in known if platform == "email"), "")
    if not address:
        raise WrongPassword()
    await count_signing_in(request, core_of(request), address)
    await accounts_of(request).change_password(caller.entrance, address, asked.old_password, asked.new_password)
    return Response(status_code=204)


@router.post("/auth/forgot", status_code=202, response_model=Sent, responses=refusals(400, 409, 413, 415, 422), summary="Password lost")
async def forgot(request: Request, asked: AddressAsked) -> Sent:
    """Mails a link to set a new one, to whoever has an account; the answer is the same for everybody."""
    await count_signing_in(request, core_of(request), asked.email)
    await accounts_of(request).forgot(asked.email)
    return Sent()


@router.post("/auth/reset", status_code=204, responses=refusals(400, 410, 413, 415, 422), summary="Set a new password by the mailed code")
async def reset(request: Request, asked: ResetAsked) -> Response:
    """Every session ends."""
    await accounts_of(request).reset(asked.code, asked.password)
    return Response(status_code=204)


@router.get("/me", response_model=MeShown, responses=refusals(401, 403), summary="Who I am")
async def read_me(request: Request, caller: Anyone) -> MeShown:
    """The user behind the token, and what the token may do."""
    async with core_of(request).read() as work:
        known = await work.users.identities(caller.user.id)
    return _me(caller, caller.user, known)


@router.patch("/me", response_model=MeShown, responses=refusals(400, 401, 403, 413, 415, 422), summary="Change my name or language")
async def change_me(request: Request, asked: MeAsked, caller: SignedIn) -> MeShown:
    """What is null stays as it is."""
    app = core_of(request)
    async with app.begin() as work:
        if asked.locale is not None:
            await work.users.set_locale(caller.user.id, asked.locale)
        if asked.name is not None and (name := " ".join(asked.name.split())):
            await work.users.rename(caller.user.id, name)
        user, known = await work.users.get(caller.user.id), await work.users.identities(caller.user.id)
    return _me(caller, user, known)


@router.get("/me/tokens", response_model=TokensShown, responses=refusals(401, 403), summary="My API tokens")
async def list_tokens(request: Request, caller: SignedIn) -> TokensShown:
    """Those that can be used, newest first, with what each has spent."""
    async with core_of(request).read() as work:
        found = await work.access.tokens(caller.user.id, {})
        spent = await spent_by_token(work.connection, [each.id for each in found])
        found = await work.access.tokens(caller.user.id, spent)
    return TokensShown(data=[TokenShown(**_token(each)) for each in found])


@router.post(
    "/me/tokens",
    status_code=201,
    response_model=TokenMade,
    responses=refusals(400, 401, 403, 409, 413, 415, 422),
    summary="New API token",
)
async def make_token(request: Request, asked: TokenAsked, caller: SignedIn) -> TokenMade:
    """It is shown this once; only its digest is stored. What a token bound to a pool orders is paid by that pool or by nobody."""
    app, token = core_of(request), new_token()
    if caller.user.frozen:
        raise Frozen()
    scopes = allowed_scopes(caller.user, asked.scopes)
    if scopes != frozenset(asked.scopes):
        raise ScopeMissing(scope=str(Scope.ADMIN))
    cap = None if asked.cap is None else parse_credits(asked.cap)
    await audience_of(app, caller.user.id, asked.pool)  # one that does not pay for them now is none to be bound to
    async with app.begin() as work:
        expires_at = None if asked.days is None else work.now + asked.days * DAY
        most = app.settings.tokens_per_user
        made = await work.access.add_token(caller.user.id, token, asked.name, scopes, cap, expires_at, most, asked.pool)
    return TokenMade(token=token, **_token(made))


@router.delete("/me/tokens/{number}", status_code=204, responses=refusals(401, 403, 404, 422), summary="Revoke an API token")
async def revoke_token(request: Request, number: Annotated[int, Path(ge=1, le=MAX_ID)], caller: SignedIn) -> Response:
    """It is good for nothing from now on; what it ordered goes on."""
    async with core_of(request).begin() as work:
        await work.access.revoke_token(caller.user.id, number)
    return Response(status_code=204)


def _pair(pair: Pair) -> PairShown:
    return PairShown(access_token=pair.access, token_type="bearer", expires_in=86_400, refresh_token=pair.refresh)  # noqa: S106


def _me(caller: Caller, user: User, known: list[tuple[str, str]]) -> MeShown:
    return MeShown(
        id=user.id, name=user.name, locale=user.locale, roles=[(role.name or "").lower() for role in Role if role in user.roles],
        frozen=user.frozen, scopes=sorted(caller.scopes), identities=[IdentityShown(platform=name, id=id_) for name, id_ in known],
    )  # fmt: skip


def _token(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id, "name": token.name, "hint": token.hint, "scopes": sorted(token.scopes), "pool": token.community_id,
        "cap": None if token.cap is None else format_credits(token.cap), "spent": format_credits(token.spent),
        "created_at": moment(token.created_at), "expires_at": moment_or_none(token.expires_at),
        "last_used_at": moment_or_none(token.last_used_at),
    }  # fmt: skip
