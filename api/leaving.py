"""One's own data: `GET /me/export`, and behind a link that the bot gave, good for some minutes."""

import json

from fastapi import APIRouter, Request, Response

from api.caller import SignedIn
from api.shown import core_of, refusals
from core.app import EXPORT, App
from core.errors import NotFound
from core.users.models import User

router = APIRouter(tags=["account"])


@router.get("/me/export", response_model=dict[str, object], responses=refusals(401, 403), summary="All that is kept of me")
async def export(request: Request, caller: SignedIn) -> Response:
    """A JSON document: times in microseconds since 1970, amounts in milli-credits."""
    return await _document(core_of(request), caller.user)


@router.get("/exports/{token}", include_in_schema=False)
async def export_by_link(request: Request, token: str) -> Response:
    """The same for whoever has the link."""
    app = core_of(request)
    number = await app.hints.recall(f"{EXPORT}:{token[:100]}")
    if not number.isdecimal():
        raise NotFound()
    async with app.read() as work:
        user = await work.users.get(int(number))
    return await _document(app, user)


async def _document(app: App, user: User) -> Response:
    async with app.read() as work:
        found = await work.leaving.document(user)
    headers = {"Content-Disposition": 'attachment; filename="aetherflow.json"'}
    return Response(json.dumps(found, ensure_ascii=False, indent=1), media_type="application/json", headers=headers)
