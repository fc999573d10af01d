"""`POST /me/link`: one person with several accounts becomes one user. A code is made in one place and said in the other."""

from fastapi import APIRouter, Request
from pydantic import Field

from api.caller import SignedIn
from api.limits import count
from api.shown import Asked, Shown, core_of, refusals
from core.joining.service import read_code

router = APIRouter(tags=["account"])
TRIES_PER_MINUTE = 5


class LinkAsked(Asked):
    """A code that was shown elsewhere; without one, a code to say elsewhere is made."""

    code: str | None = Field(None, min_length=1, max_length=40, examples=["AB2CD-3EFGH"])


class LinkShown(Shown):
    """A new code, or whom one is now. One of the two is null."""

    code: str | None = Field(description="Good once, for 10 minutes: say it to the bot, or send it here from the other account.")
    user: int | None = Field(description="The number of the user that both are now. If it is not the caller's own, its session has ended.")


@router.post("/me/link", response_model=LinkShown, responses=refusals(400, 401, 403, 409, 410, 413, 415, 422), summary="Join my accounts")
async def link(request: Request, asked: LinkAsked, caller: SignedIn) -> LinkShown:
    """Credits, what is lent and what was made become one user's, for good; the older of the two stays, and the other's tokens end."""
    app = core_of(request)
    if asked.code is None:
        code = await app.run(lambda work: work.joining.new_code(caller.user))
        return LinkShown(code=code, user=None)
    wanted = read_code(asked.code)
    await count(request, app, "joining", str(caller.user.id), TRIES_PER_MINUTE)
    kept = await app.run(lambda work: work.joining.join(caller.user, wanted))
    return LinkShown(code=None, user=kept.id)
