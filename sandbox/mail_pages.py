"""The inbox panel of the mail stand-in: English and Chinese side by side, no script."""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

from aiohttp import web

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
_LINK = re.compile(r"https?://[^\s<>\"]+")
_STYLE = """
:root{color-scheme:light dark;--page:#f3f5fa;--card:#fff;--ink:#1a1f36;--soft:#5b6480;--line:#dfe3ee;--main:#3b5bdb}
@media (prefers-color-scheme:dark){:root{--page:#10131f;--card:#1a1f31;--ink:#eef0f8;--soft:#a2aac4;--line:#303750;--main:#91a7ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:640px;margin:0 auto;padding:16px}
h1{font-size:20px;margin:4px 0 14px;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:6px 16px}
ul{list-style:none;margin:0;padding:0}
li+li{border-top:1px solid var(--line)}
li a{display:block;padding:12px 0;color:inherit;text-decoration:none}
li b{display:block;overflow-wrap:anywhere}
small,p.none{color:var(--soft)}
pre{font:inherit;white-space:pre-wrap;overflow-wrap:anywhere;margin:12px 0}
dl{display:grid;grid-template-columns:auto 1fr;gap:2px 12px;margin:10px 0;color:var(--soft);font-size:14px}
dd{margin:0;overflow-wrap:anywhere}
a{color:var(--main)}
form{display:flex;gap:8px;margin:0 0 14px}
input{flex:1;min-width:0}
input,button{font:inherit;min-height:44px;border:1px solid var(--line);border-radius:10px;padding:0 12px}
input,button{background:var(--card);color:var(--ink)}
:focus-visible{outline:3px solid var(--main);outline-offset:1px}
"""


def inbox(rows: Sequence[tuple[int, datetime, str, str]], address: str) -> web.Response:
    """Mails as (number, time, to whom, subject)."""
    lines = "".join(
        f'<li><a href="/mail/{number}"><b>{escape(subject) or "…"}</b><small>{escape(to)} · {at:%Y-%m-%d %H:%M:%S} UTC</small></a></li>'
        for number, at, to, subject in rows
    )
    body = f"<ul>{lines}</ul>" if lines else '<p class="none">还没有邮件 No mail yet</p>'
    return _page(
        "邮件 Mail",
        f"""<form action="/mail"><input type="search" name="to" value="{escape(address)}"
 placeholder="收件人 Address" aria-label="收件人 Address"><button>查找 Find</button></form><section>{body}</section>""",
    )


def one(subject: str, sender: str, to: str, at: datetime, text: str, files: Sequence[str]) -> web.Response:
    """One mail, as its plain text; links in it open."""
    rows = [("发件人 From", sender), ("收件人 To", to), ("时间 At", f"{at:%Y-%m-%d %H:%M:%S} UTC")]
    if files:
        rows.append(("附件 Files", ", ".join(files)))
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    back = f'<a href="/mail?to={quote(to)}">← 收件箱 Inbox</a>'
    return _page(subject or "…", f"<p>{back}</p><section><dl>{facts}</dl><pre>{_linked(text)}</pre></section>")


def from_base64(text: str) -> str:
    """Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except binascii.Error:
        raise ValueError("not base64") from None


def _linked(text: str) -> str:
    parts, end = [], 0
    for found in _LINK.finditer(text):
        parts += [escape(text[end : found.start()]), f'<a href="{escape(found[0])}" rel="noreferrer">{escape(found[0])}</a>']
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def _page(title: str, body: str) -> web.Response:
    text = f"""<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Aetherflow sandbox</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)
