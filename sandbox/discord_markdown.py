"""Discord's markdown as its app shows it, as HTML: so that a test or a page sees what a reader sees, injected markup included.

The rules follow the grammar that Discord's app is known to use (simple-markdown with its own additions): a backslash takes the meaning
from any punctuation, and at each place the first rule that fits wins.
"""

import re
from collections.abc import Callable
from html import escape

_URL = re.compile(r"https?://[^\s<]+[^<.,:;\"')\]\s]")
_NAMES = Callable[[str], str]


def to_html(text: str, name_of: Callable[[str], str]) -> str:
    """The message's content as HTML. `name_of` gives the name behind a mentioned id."""
    return "\n".join(_line(line, name_of) for line in _blocks(text))


def _blocks(text: str) -> list[str]:
    """Lines, with a block of code kept in one piece."""
    pieces: list[str] = []
    for number, part in enumerate(re.split(r"(```[\s\S]+?```)", text)):
        if number % 2:
            pieces[-1:] = [(pieces[-1] if pieces else "") + part]
        else:
            lines = part.split("\n")
            pieces[-1:] = [(pieces[-1] if pieces else "") + lines[0]]
            pieces += lines[1:]
    return pieces


def _line(line: str, name_of: _NAMES) -> str:
    for pattern, tag in ((r"(#{1,3}) +(.+)", "h"), (r"(>) +(.+)", "blockquote"), (r"(\s*[-*]) +(.+)", "li")):
        found = re.fullmatch(pattern, line, re.DOTALL)
        if found:
            name = f"h{len(found.group(1))}" if tag == "h" else tag
            return f"<{name}>{_inline(found.group(2), name_of)}</{name}>"
    return _inline(line, name_of)


def _wrap(tag: str) -> Callable[[re.Match[str], _NAMES], str]:
    return lambda found, name_of: f"<{tag}>{_inline(found.group(1), name_of)}</{tag.partition(' ')[0]}>"


def _mention(found: re.Match[str], name_of: _NAMES) -> str:
    return f'<span class="mention">{escape(found.group(1) + name_of(found.group(2)))}</span>'


_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], _NAMES], str]], ...] = (
    (re.compile(r"\\([^0-9A-Za-z\s])"), lambda found, _: escape(found.group(1))),
    (re.compile(r"```(?:[a-z]+\n)?([\s\S]+?)```"), lambda found, _: f"<pre>{escape(found.group(1).strip())}</pre>"),
    (re.compile(r"(`+)([\s\S]*?[^`])\1(?!`)"), lambda found, _: f"<code>{escape(found.group(2).strip())}</code>"),
    (re.compile(r"\*\*((?:\\[\s\S]|[^\\])+?)\*\*(?!\*)"), _wrap("b")),
    (re.compile(r"__((?:\\[\s\S]|[^\\])+?)__(?!_)"), _wrap("u")),
    (re.compile(r"~~((?:\\[\s\S]|[^\\])+?)~~"), _wrap("s")),
    (re.compile(r"\|\|((?:\\[\s\S]|[^\\])+?)\|\|"), _wrap('span class="spoiler"')),
    (re.compile(r"\*(?=\S)((?:\*\*|\\[\s\S]|\s+(?:\\[\s\S]|[^\s*\\]|\*\*)|[^\s*\\])+?)\*(?!\*)"), _wrap("i")),
    (re.compile(r"\b_((?:__|\\[\s\S]|[^\\_])+?)_\b"), _wrap("i")),
    (
        re.compile(r"\[((?:\\[\s\S]|[^\]\\])+)\]\((https?://[^\s)]+)\)"),
        lambda found, name_of: f'<a href="{escape(found.group(2))}">{_inline(found.group(1), name_of)}</a>',
    ),
    (re.compile(r"<(https?://[^ >]+)>"), lambda found, _: f'<a href="{escape(found.group(1))}">{escape(found.group(1))}</a>'),
    (_URL, lambda found, _: f'<a href="{escape(found.group())}">{escape(found.group())}</a>'),
    (re.compile(r"<(@)[!&]?(\d+)>"), _mention),
    (re.compile(r"<(#)(\d+)>"), _mention),
    (re.compile(r"(@)(everyone|here)\b"), lambda found, _: f'<span class="mention">{escape(found.group())}</span>'),
)


def _inline(text: str, name_of: _NAMES) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        for pattern, build in _RULES:
            found = pattern.match(text, at)
            if found:
                out.append(build(found, name_of))
                at = found.end()
                break
        else:
            out.append(escape(text[at], quote=False))
            at += 1
    return "".join(out)
