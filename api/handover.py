"""The secure form for a miner's key: one use, minutes long, nothing of third parties, the key sealed at once."""

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.errors import sentence_of
from api.language import WORDS, language_of
from api.shown import core_of
from core.app import App
from core.errors import Refusal
from core.resources.errors import LinkExpired
from core.vault.secret import Secret
from core.words import Text

router = APIRouter(include_in_schema=False)
MAX_FORM_BYTES = 4096
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
STYLE = """:root{color-scheme:light dark}
body{font:17px/1.5 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;background:#f4f6fb;color:#16203a;margin:0;
display:grid;min-height:100vh;place-items:center}
main{background:#fff;max-width:26rem;width:calc(100% - 2rem);box-sizing:border-box;padding:2rem;border-radius:1rem;
box-shadow:0 8px 40px #16203a1a;overflow-wrap:anywhere}
h1{font-size:1.35rem;margin:0 0 .6rem}
label{display:block;font-weight:600;margin-bottom:.3rem}
input{width:100%;box-sizing:border-box;font:inherit;padding:.7rem;border:1px solid #7f8bab;border-radius:.6rem;background:#fff;
color:inherit}
button{margin-top:1rem;width:100%;min-height:3rem;font:inherit;font-weight:600;border:0;border-radius:.6rem;background:#3a5bd9;color:#fff;
cursor:pointer}
input:focus-visible,button:focus-visible{outline:3px solid #3a5bd966;outline-offset:2px}
.problem{color:#a3192b;font-weight:600}.done{color:#14663a;font-weight:600}
@media(prefers-color-scheme:dark){body{background:#0f1424;color:#e8ecf8}main{background:#1a2138;box-shadow:none}input{background:#0f1424;border-color:#6f7aa0}
.problem{color:#ff9aa5}.done{color:#7fdca4}}"""


@router.get("/static/handover.css")
async def style() -> HTMLResponse:
    """The form's own style sheet."""
    return HTMLResponse(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


@router.get("/handover/{token}")
async def show(request: Request, token: str) -> HTMLResponse:
    """The form behind a valid link."""
    app = core_of(request)
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
    except LinkExpired:
        return _page(request, _problem(request, Text("handover.expired")), 410)
    return _page(request, _form(request, app, resource.provider))


@router.post("/handover/{token}")
async def take(request: Request, token: str) -> HTMLResponse:
    """Takes the key. It is neither logged nor shown, whatever happens. A form that was sent twice is told so: the first one counted."""
    app = core_of(request)
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return _page(request, _problem(request, Text("handover.too_large")), 413)
    key = Secret(parse_qs(body.decode(errors="replace")).get("key", [""])[0])
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
        await app.hand_over(resource, key, token)
    except LinkExpired:
        return _page(request, _problem(request, Text("handover.sent_twice")), 410)
    except Refusal as error:
        said = Text(f"handover.{error.code}") if WORDS.knows(f"handover.{error.code}") else sentence_of(error)
        return _page(request, _problem(request, said) + _form(request, app, resource.provider), 409)
    return _page(request, f"<p class=done role=status>{_say(request, Text('handover.done'))}</p>")


def _form(request: Request, app: App, provider: str) -> str:
    rule = app.catalog.providers[provider]
    intro = _say(request, Text("handover.intro", {"provider": rule.name, "shape": rule.key_shape}))
    key, send = _say(request, Text("handover.key")), _say(request, Text("handover.send"))
    field = "<input id=key name=key type=password autocomplete=off spellcheck=false required maxlength=1024 autofocus>"
    return f"<p>{intro}</p><form method=post><label for=key>{key}</label>{field}<button>{send}</button></form>"


def _problem(request: Request, said: Text) -> str:
    return f"<p class=problem role=alert>{_say(request, said)}</p>"


def _page(request: Request, body: str, status: int = 200) -> HTMLResponse:
    title, language = _say(request, Text("handover.title")), language_of(request)
    viewport = "<meta name=viewport content='width=device-width,initial-scale=1'>"
    head = f"<!doctype html><html lang={language}><meta charset=utf-8>{viewport}<title>{title}</title>"
    headers: dict[str, Any] = HEADERS | {"Content-Language": language}
    return HTMLResponse(f"{head}<link rel=stylesheet href=/static/handover.css><main><h1>{title}</h1>{body}</main></html>", status, headers)


def _say(request: Request, text: Text) -> str:
    return WORDS.say(text, language_of(request))
