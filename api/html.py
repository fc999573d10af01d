"""What every page of ours has: one style sheet, no third-party asset, no script but our own, both languages, and forms of its own alone."""

import html
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.errors import sentence_of
from api.language import WORDS, language_of
from api.problems import Problem
from core.errors import Refusal
from core.words import Text

router = APIRouter(include_in_schema=False)
MAX_FORM_BYTES = 4096
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
STYLE = """:root{color-scheme:light dark}
body{font:17px/1.5 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;background:#f4f6fb;color:#16203a;margin:0;
display:grid;min-height:100vh;place-items:center}
main{background:#fff;max-width:26rem;width:calc(100% - 2rem);box-sizing:border-box;padding:2rem;border-radius:1rem;
box-shadow:0 8px 40px #16203a1a;overflow-wrap:anywhere}
main.wide{max-width:44rem;margin:1rem 0}
h1{font-size:1.35rem;margin:0 0 .6rem}h2{font-size:1.1rem;margin:1.6rem 0 .5rem}
label{display:block;font-weight:600;margin:.7rem 0 .3rem}
input{width:100%;box-sizing:border-box;font:inherit;padding:.7rem;border:1px solid #7f8bab;border-radius:.6rem;background:#fff;
color:inherit}
button{margin-top:1rem;width:100%;min-height:3rem;font:inherit;font-weight:600;border:0;border-radius:.6rem;background:#3a5bd9;color:#fff;
cursor:pointer}
button.quiet{background:none;color:inherit;border:1px solid #7f8bab}
input:focus-visible,button:focus-visible,a:focus-visible{outline:3px solid #3a5bd966;outline-offset:2px}
a{color:#3a5bd9}table{width:100%;border-collapse:collapse;font-size:.95rem}td,th{text-align:left;padding:.35rem .5rem .35rem 0;
border-bottom:1px solid #7f8bab44;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.big{font-size:2.2rem;font-weight:700;line-height:1.2}.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.8rem}
.row button{margin-top:0}figure{margin:0}figure img{width:100%;border-radius:.6rem;display:block}figcaption{font-size:.85rem}
.problem{color:#a3192b;font-weight:600}.done{color:#14663a;font-weight:600}.quiet{color:#5b6684}
@media(prefers-color-scheme:dark){body{background:#0f1424;color:#e8ecf8}main{background:#1a2138;box-shadow:none}input{background:#0f1424;border-color:#6f7aa0}
.problem{color:#ff9aa5}.done{color:#7fdca4}.quiet{color:#a9b3d0}a{color:#9db2ff}}
#receipt th{font-weight:600;white-space:nowrap;padding-right:1rem}#receipts{padding-left:1.2rem;margin:0}
@media(max-width:30rem){#receipt th{white-space:normal}}
@media print{:root{color-scheme:light}body{background:#fff;color:#000;display:block}.quiet{color:#333}.screen{display:none}
main,main.wide{box-shadow:none;background:#fff;width:auto;max-width:none;margin:0;padding:0}a{color:inherit;text-decoration:none}}"""


@router.get("/static/page.css")
async def style() -> HTMLResponse:
    """The style sheet of all pages."""
    return HTMLResponse(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


def say(request: Request, text: Text) -> str:
    """A sentence in the reader's language, its facts escaped."""
    return WORDS.say(text, language_of(request))


def attribute(text: str) -> str:
    """What may stand between double quotes in a tag."""
    return html.escape(text, quote=True)


def page(
    request: Request, title: Text, body: str, status: int = 200, *, headers: Mapping[str, str] = HEADERS, head: str = "", wide: bool = False
) -> HTMLResponse:
    """A whole page. `body` and `head` are HTML of ours, with everything in them escaped."""
    language, named = language_of(request), say(request, title)
    metas = f"<meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>{head}"
    start = f"<!doctype html><html lang={language}>{metas}<title>{named}</title><link rel=stylesheet href=/static/page.css>"
    content = f"{start}<main{' class=wide' if wide else ''}><h1>{named}</h1>{body}</main></html>"
    return HTMLResponse(content, status, {**headers, "Content-Language": language})


def problem(request: Request, error: Refusal | Text) -> str:
    """Why something was not done, as a paragraph."""
    said = error if isinstance(error, Text) else sentence_of(error)
    return f"<p class=problem role=alert>{say(request, said)}</p>"


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages sent. Raises Problem too_large, and foreign_form for one that another site made.

    Browsers say where a form comes from, and no page can change that (Sec-Fetch-Site, W3C Fetch Metadata; else Origin, RFC 6454): this is
    the whole defence against forged forms, as in Go's net/http.CrossOriginProtection.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (site is None and origin is not None and urlsplit(origin).netloc != request.url.netloc):
        raise Problem("foreign_form")
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        raise Problem("too_large", limit=MAX_FORM_BYTES)
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace"), keep_blank_values=True).items()}
