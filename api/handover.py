"""The secure form for a miner's key: one use, minutes long, nothing of third parties, the key sealed at once."""

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.errors import sentence_of
from api.html import MAX_FORM_BYTES, page, problem, say
from api.language import WORDS
from api.shown import core_of
from core.app import App
from core.errors import Refusal
from core.resources.errors import LinkExpired
from core.vault.secret import Secret
from core.words import Text

router = APIRouter(include_in_schema=False)
TITLE = Text("handover.title")


@router.get("/handover/{token}")
async def show(request: Request, token: str) -> HTMLResponse:
    """The form behind a valid link."""
    app = core_of(request)
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
    except LinkExpired:
        return page(request, TITLE, problem(request, Text("handover.expired")), 410)
    return page(request, TITLE, _form(request, app, resource.provider))


@router.post("/handover/{token}")
async def take(request: Request, token: str) -> HTMLResponse:
    """Takes the key. It is neither logged nor shown, whatever happens. A form that was sent twice is told so: the first one counted."""
    app = core_of(request)
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return page(request, TITLE, problem(request, Text("handover.too_large")), 413)
    key = Secret(parse_qs(body.decode(errors="replace")).get("key", [""])[0])
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
        await app.hand_over(resource, key, token)
    except LinkExpired:
        return page(request, TITLE, problem(request, Text("handover.sent_twice")), 410)
    except Refusal as error:
        said = Text(f"handover.{error.code}") if WORDS.knows(f"handover.{error.code}") else sentence_of(error)
        return page(request, TITLE, problem(request, said) + _form(request, app, resource.provider), 409)
    return page(request, TITLE, f"<p class=done role=status>{say(request, Text('handover.done'))}</p>")


def _form(request: Request, app: App, provider: str) -> str:
    rule = app.catalog.providers[provider]
    intro = say(request, Text("handover.intro", {"provider": rule.name, "shape": rule.key_shape}))
    key, send = say(request, Text("handover.key")), say(request, Text("handover.send"))
    field = "<input id=key name=key type=password autocomplete=off spellcheck=false required maxlength=1024 autofocus>"
    return f"<p>{intro}</p><form method=post><label for=key>{key}</label>{field}<button>{send}</button></form>"
