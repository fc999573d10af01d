"""The reference in a browser, made of the OpenAPI document on the server: no script, nothing of third parties."""

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from api.description import describe
from api.language import WORDS, language_of
from core.words import Text

router = APIRouter(include_in_schema=False)
POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CACHE = "public, max-age=300"
STYLE = """:root{color-scheme:light dark;--line:#d5dbe8;--dim:#55617d;--code:#eef1f8;--accent:#2f4fc4}
body{font:16px/1.55 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;margin:0 auto;
max-width:62rem;padding:1.5rem;color:#16203a;background:#fff}
a{color:var(--accent)}h1{margin:.2rem 0}h2{margin-top:2.5rem;border-bottom:2px solid var(--line)}
article{border:1px solid var(--line);border-radius:.7rem;padding:1rem 1.2rem;margin:1rem 0;overflow-wrap:anywhere}
h3{margin:0;font-size:1.05rem}h4{margin:.9rem 0 .2rem;font-size:.9rem;color:var(--dim)}
.method{display:inline-block;min-width:4.2rem;font-weight:700;color:var(--accent)}
code,pre{font:14px/1.45 ui-monospace,monospace;background:var(--code);border-radius:.3rem}
code{padding:.05rem .25rem}pre{padding:.7rem;overflow-x:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);overflow-wrap:normal}
td:last-child{min-width:9rem}
th{color:var(--dim);font-weight:600}.dim{color:var(--dim)}
@media(prefers-color-scheme:dark){:root{--line:#2d3755;--dim:#9aa6c6;--code:#1b2440;--accent:#8fa8ff}body{background:#0f1424;color:#e8ecf8}}"""

Node = Mapping[str, Any]


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(describe(request.app), headers={"Cache-Control": CACHE, "Cross-Origin-Resource-Policy": "cross-origin"})


@router.get("/static/docs.css")
async def style() -> HTMLResponse:
    """The page's own style sheet."""
    return HTMLResponse(STYLE, media_type="text/css", headers={"Cache-Control": CACHE})


@router.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """Every route with its parameters, its body, its answers and an example."""
    language = language_of(request)
    body = _Page(describe(request.app), language).html()
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": CACHE, "Content-Language": language, "Vary": "Accept-Language"}
    return HTMLResponse(body, headers=headers)


class _Page:
    """One rendering, in one language."""

    def __init__(self, document: Node, language: str) -> None:
        self._document = document
        self._language = language

    def html(self) -> str:
        """The whole page."""
        title = self._say("title")
        link = '<a href="/openapi.json">/openapi.json</a>'
        sections = defaultdict(list)
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                sections[(operation.get("tags") or ["operation"])[0]].append(self._operation(method, path, operation))
        known = {tag["name"]: tag.get("description", "") for tag in self._document.get("tags", [])}
        names = [name for name in known if name in sections] + [name for name in sections if name not in known]
        contents = "".join(f'<li><a href="#{_anchor(name)}">{_text(name)}</a></li>' for name in names)
        parts = [
            f"<!doctype html><html lang={self._language}><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width,initial-scale=1'>",
            f"<title>{title}</title><link rel=stylesheet href=/static/docs.css><h1>{title}</h1>",
            f"<p>{self._say('intro').replace('{link}', link)}</p>",
            *(f"<p>{_prose(part)}</p>" for part in self._document["info"].get("description", "").split("\n\n")),
            f"<nav><h2>{self._say('contents')}</h2><ul>{contents}</ul></nav><main>",
        ]
        for name in names:
            parts.append(f'<section id="{_anchor(name)}"><h2>{_text(name)}</h2><p class=dim>{_prose(known.get(name, ""))}</p>')
            parts += [*sections[name], "</section>"]
        return "".join([*parts, "</main></html>"])

    def _operation(self, method: str, path: str, operation: Node) -> str:
        needed = operation.get("security", [])
        schemes = sorted({name for each in needed for name in each})
        scopes = ", ".join(schemes + sorted({scope for each in needed for listed in each.values() for scope in listed}))
        token = self._say("token").replace("{scopes}", _text(scopes)) if schemes else self._say("no_token")
        parts = [
            f"<article><h3><span class=method>{method.upper()}</span> <code>{_text(path)}</code></h3>",
            f"<p><b>{_text(operation.get('summary', ''))}.</b> {_prose(operation.get('description', ''))}</p><p class=dim>{token}</p>",
            self._table("parameters", [(each["name"], each["in"], each) for each in operation.get("parameters", [])]),
        ]
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schema = self._resolved(media["schema"])
            fields = [(name, "body", self._field(schema, name, field)) for name, field in schema.get("properties", {}).items()]
            parts += [self._table("body", fields), *self._example(schema)]
        rows = [f"<tr><td>{status}<td>{_prose(each.get('description', ''))}" for status, each in operation["responses"].items()]
        parts.append(f"<h4>{self._say('answers')}</h4><div class=wide><table>{''.join(rows)}</table></div></article>")
        return "".join(parts)

    def _table(self, name: str, fields: Iterable[tuple[str, str, Node]]) -> str:
        rows = []
        for field, where, item in fields:
            schema = self._resolved(item.get("schema", item))
            needed = f" <b>{self._say('needed')}</b>" if item.get("required") is True else ""
            about = item.get("description") or schema.get("description", "")
            rows.append(f"<tr><td><code>{_text(field)}</code>{needed}<td>{where}<td>{_text(self._kind(schema))}<td>{_prose(about)}")
        if not rows:
            return ""
        head = "".join(f"<th>{self._say(word)}" for word in ("name", "where", "kind", "meaning"))
        return f"<h4>{self._say(name)}</h4><div class=wide><table><tr>{head}{''.join(rows)}</table></div>"

    def _example(self, schema: Node) -> Iterator[str]:
        for example in schema.get("examples", [])[:1]:
            yield f"<h4>{self._say('example')}</h4><pre>{_text(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"

    def _field(self, schema: Node, name: str, field: Node) -> Node:
        return {"schema": field, "required": name in schema.get("required", []), "description": field.get("description")}

    def _kind(self, schema: Node) -> str:
        """A schema in a few words: its choices, its type, its bounds."""
        if "anyOf" in schema:
            kinds = [self._kind(self._resolved(each)) for each in schema["anyOf"]]
            return " | ".join(kind for kind in kinds if kind != "null")
        if "enum" in schema or "const" in schema:
            return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
        if schema.get("type") == "array":
            return f"[{self._kind(self._resolved(schema.get('items', {})))}]"
        bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "≤")) if key in schema]
        return " ".join([str(schema.get("type", "")), *bounds])

    def _resolved(self, schema: Node) -> Node:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: Node = self._document["components"]["schemas"][name] if name else schema
        return found

    def _say(self, word: str) -> str:
        return WORDS.say(Text(f"docs.{word}", {"link": "{link}", "scopes": "{scopes}"}), self._language)


def _text(text: str) -> str:
    return html.escape(text)


def _prose(text: str) -> str:
    """What stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
