"""The secure form for a miner's key: one use, minutes long, nothing of third parties, the key sealed at once."""

import html
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from core.app import App
from core.errors import Refusal
from core.resources.errors import LinkExpired
from core.users.models import locale_of
from core.vault.secret import Secret

router = APIRouter()
MAX_FORM_BYTES = 4096
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
TEXTS = {
    "en": {
        "title": "Hand over your key",
        "intro": "Your {provider} key ({shape}) is sealed at once and never shown again. It is used only within the limits that you set.",
        "key": "API key",
        "send": "Seal it",
        "done": "Sealed. The bot tells you in the chat whether the key works. You can close this page.",
        "link_expired": "This link was used or is too old. Ask the bot for a new one with /lend.",
        "not_a_key": "That does not look like a key of this provider. Nothing was kept.",
        "key_of_another": "That looks like a key of another provider. Nothing was kept.",
        "duplicate_secret": "This key is lent already. Nothing was kept.",
        "not_allowed_now": "A key cannot be handed over for this resource now. See /resources in the chat.",
        "too_large": "That is too long to be a key. Nothing was kept.",
    },
    "zh": {
        "title": "交付您的密钥",
        "intro": "您的 {provider} 密钥（{shape}）会立即密封，永不再显示，仅在您设定的限额内使用。",
        "key": "API 密钥",
        "send": "密封",
        "done": "已密封。机器人会在聊天中告知密钥是否可用。您可以关闭此页面。",
        "link_expired": "该链接已使用或过期。请用 /lend 向机器人获取新链接。",
        "not_a_key": "这不像该服务商的密钥。未保存任何内容。",
        "key_of_another": "这看起来是其他服务商的密钥。未保存任何内容。",
        "duplicate_secret": "该密钥已被出借。未保存任何内容。",
        "not_allowed_now": "该资源目前不能交付密钥。请在聊天中查看 /resources。",
        "too_large": "内容过长，不是密钥。未保存任何内容。",
    },
}
STYLE = """body{font:17px/1.5 system-ui,sans-serif;background:#f4f6fb;color:#16203a;margin:0;display:grid;
min-height:100vh;place-items:center}
main{background:#fff;max-width:26rem;width:calc(100% - 3rem);padding:2rem;border-radius:1rem;box-shadow:0 8px 40px #16203a1a}
h1{font-size:1.35rem;margin:0 0 .6rem}
input{width:100%;box-sizing:border-box;font:inherit;padding:.7rem;border:1px solid #b9c3da;border-radius:.6rem}
button{margin-top:1rem;width:100%;font:inherit;padding:.75rem;border:0;border-radius:.6rem;background:#3a5bd9;color:#fff;cursor:pointer}
.problem{color:#a3192b}@media(prefers-color-scheme:dark){body{background:#0f1424;color:#e8ecf8}main{background:#1a2138}input{background:#0f1424;color:inherit}}"""


@router.get("/static/handover.css")
async def style() -> HTMLResponse:
    """The form's own style sheet."""
    return HTMLResponse(STYLE, media_type="text/css")


@router.get("/handover/{token}")
async def show(request: Request, token: str) -> HTMLResponse:
    """The form behind a valid link."""
    app, texts = _app(request), _texts(request)
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
    except LinkExpired:
        return _page(texts, f"<p class=problem>{texts['link_expired']}</p>", 410)
    return _page(texts, _form(app, texts, resource.provider))


@router.post("/handover/{token}")
async def take(request: Request, token: str) -> HTMLResponse:
    """Takes the key. It is neither logged nor shown, whatever happens."""
    app, texts = _app(request), _texts(request)
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return _page(texts, f"<p class=problem>{texts['too_large']}</p>", 413)
    key = Secret(parse_qs(body.decode(errors="replace")).get("key", [""])[0])
    try:
        async with app.read() as work:
            resource = await work.resources.behind(token)
        await app.hand_over(resource, key, token)
    except LinkExpired:
        return _page(texts, f"<p class=problem>{texts['link_expired']}</p>", 410)
    except Refusal as error:
        return _page(
            texts, f"<p class=problem role=alert>{texts.get(error.code, error.code)}</p>{_form(app, texts, resource.provider)}", 409
        )
    return _page(texts, f"<p>{texts['done']}</p>")


def _form(app: App, texts: dict[str, str], provider: str) -> str:
    rule = app.catalog.providers[provider]
    intro = html.escape(texts["intro"].format(provider=rule.name, shape=rule.key_shape))
    field = "<input id=key name=key type=password autocomplete=off spellcheck=false required maxlength=1024 autofocus>"
    return f"<p>{intro}</p><form method=post><label for=key>{texts['key']}</label>{field}<button>{texts['send']}</button></form>"


def _page(texts: dict[str, str], body: str, status: int = 200) -> HTMLResponse:
    viewport = "<meta name=viewport content='width=device-width,initial-scale=1'>"
    head = f"<!doctype html><meta charset=utf-8>{viewport}<title>{texts['title']}</title>"
    return HTMLResponse(
        f"{head}<link rel=stylesheet href=/static/handover.css><main><h1>{texts['title']}</h1>{body}</main>", status, HEADERS
    )


def _app(request: Request) -> App:
    app: App = request.app.state.core
    return app


def _texts(request: Request) -> dict[str, str]:
    return TEXTS[locale_of(request.query_params.get("lang") or request.headers.get("Accept-Language", "")[:2])]
