"""What the Bot API accepts: the official limits and the wording of its refusals (Bot API 10.1).

Where the unit of a limit is not published, the stricter reading is taken.
"""

import io
import json
import re
import warnings
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

MAX_TEXT = 4096  # after entity parsing; counted here in UTF-16 units, the stricter reading
MAX_CAPTION = 1024
MAX_BUTTONS = 100
MAX_CALLBACK_DATA = 64  # bytes
MAX_TOAST = 200
MAX_PHOTO_BYTES = 10 * 1024 * 1024
MAX_PHOTO_SIDES = 10_000  # width + height
MAX_PHOTO_RATIO = 20
MAX_UPLOAD_BYTES = 50 * 1024 * 1024
MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
MAX_COMMANDS = 100
DELETABLE_SECONDS = 48 * 3600
UPDATE_SECONDS = 24 * 3600

COMMAND = re.compile(r"(?<![^\s])/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{3,32}))?(?![A-Za-z0-9_/@])")
_COMMAND_NAME = re.compile(r"[a-z0-9_]{1,32}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline", "code": "code", "pre": "pre",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "a": "text_link", "blockquote": "blockquote",
    "tg-spoiler": "spoiler", "span": "spoiler", "tg-emoji": "custom_emoji",
}  # fmt: skip
_SHOWN = {
    "bold": "b", "italic": "i", "underline": "u", "strikethrough": "s", "code": "code", "pre": "pre", "text_link": "a",
    "spoiler": "tg-spoiler", "blockquote": "blockquote",
}  # fmt: skip
_TAG = re.compile(r"<(/?)([^\s>]*)([^>]*)(>?)")
_REFERENCE = re.compile(r"&(?:(lt|gt|amp|quot)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));?")
_ATTRIBUTE = re.compile(r"""\s*([^\s=]+)\s*(?:=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REMOVED = re.compile("[\u2028-\u202e\x00-\x09\x0b-\x1f]")

Entity = dict[str, Any]


class ApiError(Exception):
    """A refusal, shaped as the Bot API answers it: `description` carries its prefix ("Bad Request: …")."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        shown: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        return shown | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(problem: str) -> ApiError:
    """Error 400."""
    return ApiError(400, f"Bad Request: {problem}")


def forbidden(problem: str) -> ApiError:
    """Error 403."""
    return ApiError(403, f"Forbidden: {problem}")


def units(text: str) -> int:
    """Length in UTF-16 code units, in which entities are measured."""
    return len(text.encode("utf-16-le")) // 2


def parse_html(source: str) -> tuple[str, list[Entity]]:
    """`parse_mode=HTML`: the plain text and its entities. Refuses what the server cannot parse."""
    text, at = "", 0
    entities: list[Entity] = []
    opened: list[tuple[str, Entity]] = []
    while at < len(source):
        if source[at] == "&" and (reference := _REFERENCE.match(source, at)):
            text += _character(reference)
            at = reference.end()
        elif source[at] == "<":
            tag = _TAG.match(source, at)
            assert tag is not None
            offset = len(source[:at].encode())
            if tag[1]:
                entities.extend(_close(tag, offset, opened, text))
            else:
                opened.append(_open(tag, offset, text))
            at = tag.end()
        else:
            text += source[at]
            at += 1
    if opened:
        raise _unparsable(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return text, sorted(entities, key=lambda entity: (entity["offset"], -entity["length"]))


def _character(reference: re.Match[str]) -> str:
    if reference[1]:
        return _NAMED[reference[1]]
    code = int(reference[2]) if reference[2] else int(reference[3], 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else reference[0]


def _unparsable(problem: str) -> ApiError:
    return bad_request(f"can't parse entities: {problem}")


def _open(tag: re.Match[str], offset: int, text: str) -> tuple[str, Entity]:
    name = tag[2].lower()
    if not tag[4]:
        raise _unparsable(f"Unclosed start tag at byte offset {offset}")
    if name not in _TAGS:
        raise _unparsable(f'Unsupported start tag "{name}" at byte offset {offset}')
    found = {key.lower(): value.strip("\"'") for key, value in _ATTRIBUTE.findall(tag[3])}
    if name == "span" and found.get("class") != "tg-spoiler":
        raise _unparsable(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    entity: Entity = {"type": _TAGS[name], "offset": units(text)}
    if name == "a":
        entity["url"] = found.get("href", "")
    return name, entity


def _close(tag: re.Match[str], offset: int, opened: list[tuple[str, Entity]], text: str) -> list[Entity]:
    if not opened:
        raise _unparsable(f"Unexpected end tag at byte offset {offset}")
    if not tag[4]:
        raise _unparsable(f"Unclosed end tag at byte offset {offset}")
    name, entity = opened.pop()
    if tag[2] and tag[2].lower() != name:
        raise _unparsable(f'Unmatched end tag at byte offset {offset}, expected "</{name}>", found "</{tag[2].lower()}>"')
    entity["length"] = units(text) - entity["offset"]
    return [entity] if entity["length"] and entity.get("url") != "" else []


def formatted(source: str, parse_mode: str, limit: int, what: str) -> tuple[str, list[Entity]]:
    """A text or caption as it will be kept: parsed, cleaned of control and direction-override characters, trimmed, measured."""
    if parse_mode.lower() not in ("", "html"):
        raise bad_request("unsupported parse_mode")
    text, entities = parse_html(_REMOVED.sub("", source)) if parse_mode else (_REMOVED.sub("", source), [])
    leading = units(text) - units(text.lstrip())
    text = text.strip()
    if units(text) > limit:
        raise bad_request(f"{what} is too long")
    return text, [moved for entity in entities if (moved := _trimmed(entity, leading, units(text)))]


def _trimmed(entity: Entity, leading: int, end: int) -> Entity | None:
    first = max(0, entity["offset"] - leading)
    last = min(end, entity["offset"] + entity["length"] - leading)
    return entity | {"offset": first, "length": last - first} if last > first else None


def shown_html(text: str, entities: list[Entity]) -> str:
    """The text as safe HTML for the chat page."""
    encoded = text.encode("utf-16-le")
    marks: dict[int, list[str]] = {}
    for entity in entities:
        if name := _SHOWN.get(entity["type"]):
            link = f' href="{_escaped(entity["url"])}"' if name == "a" else ""
            marks.setdefault(entity["offset"], []).append(f"<{name}{link}>")
            marks.setdefault(entity["offset"] + entity["length"], []).insert(0, f"</{name}>")
    shown, before = "", 0
    for at in sorted(marks):
        shown += _escaped(encoded[2 * before : 2 * at].decode("utf-16-le")) + "".join(marks[at])
        before = at
    return shown + _escaped(encoded[2 * before :].decode("utf-16-le"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def found_entities(text: str) -> list[Entity]:
    """The entities that the server finds by itself in what a person says: here only commands."""
    return [{"type": "bot_command", "offset": units(text[: m.start()]), "length": len(m[0])} for m in COMMAND.finditer(text)]


def keyboard(raw: str | None, invoice: bool = False) -> list[list[dict[str, Any]]]:
    """An inline keyboard, checked; empty when there is none. A Pay button is the first of an `invoice`, and nowhere else."""
    markup = decoded(raw, "reply markup") if raw else {}
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    rows = markup.get("inline_keyboard", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    if sum(map(len, rows)) > MAX_BUTTONS:
        raise bad_request("reply markup is too long")
    checked = [[_button(button) for button in row] for row in rows if row]
    places = [place for place, button in enumerate(button for row in checked for button in row) if button.get("pay")]
    if places != ([0] if invoice and checked else []):
        raise bad_request("BUTTON_POS_INVALID" if invoice else "BUTTON_TYPE_INVALID")
    return checked


def _button(button: Any) -> dict[str, Any]:
    if not isinstance(button, dict) or not isinstance(text := button.get("text"), str):
        raise bad_request("can't parse inline keyboard button: Can't find field \"text\"")
    if not text.strip():
        raise bad_request("can't parse inline keyboard button: Button text must be non-empty")
    kinds = [kind for kind in ("callback_data", "url", "copy_text", "pay", "web_app") if kind in button]
    if len(kinds) != 1:
        raise bad_request("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    if "callback_data" in button and not 1 <= len(str(button["callback_data"]).encode()) <= MAX_CALLBACK_DATA:
        raise bad_request("BUTTON_DATA_INVALID")
    if "url" in button:
        _check_url(str(button["url"]))
    if button.get("style", "primary") not in ("danger", "success", "primary"):
        raise bad_request("can't parse inline keyboard button: Invalid button style specified")
    return {key: button[key] for key in ("text", "style", *kinds) if key in button}


def _check_url(url: str) -> None:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https", "tg") or (parts.scheme != "tg" and "." not in host and ":" not in host):
        raise bad_request(f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL")


def decoded(raw: str, what: str) -> Any:
    """A parameter that is JSON within the form."""
    try:
        return json.loads(raw)
    except ValueError:
        raise bad_request(f"can't parse {what} JSON object") from None


@dataclass(slots=True)
class File:
    """A stored file. `path` is what getFile answers. Photos have a width and a height, in pixels."""

    id: str
    name: str
    media_type: str
    data: bytes
    path: str
    width: int = 0
    height: int = 0
    smaller: "File | None" = None


def check_photo(data: bytes) -> tuple[int, int, str]:
    """Width, height and media type of a picture that may be sent as a photo."""
    if not data:
        raise bad_request("file must be non-empty")
    if len(data) > MAX_PHOTO_BYTES:
        raise bad_request(f"file of size {len(data)} bytes is too big for a photo; the maximum size is {MAX_PHOTO_BYTES} bytes")
    size = picture_size(data)
    if size is None:
        raise bad_request("IMAGE_PROCESS_FAILED")
    width, height, _ = size
    if width + height > MAX_PHOTO_SIDES or max(width, height) > MAX_PHOTO_RATIO * min(width, height):
        raise bad_request("PHOTO_INVALID_DIMENSIONS")
    return size


def picture_size(data: bytes) -> tuple[int, int, str] | None:
    """Width, height and media type; None for what is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                return picture.width, picture.height, Image.MIME.get(picture.format or "", "image/png")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def check_commands(raw: str) -> list[dict[str, str]]:
    """The list of setMyCommands."""
    commands = decoded(raw, "commands")
    if not isinstance(commands, list) or len(commands) > MAX_COMMANDS:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not _COMMAND_NAME.fullmatch(str(command.get("command", "")).removeprefix("/")):
            raise bad_request("BOT_COMMAND_INVALID")
        if not 1 <= len(str(command.get("description", ""))) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return [{"command": item["command"].removeprefix("/"), "description": item["description"]} for item in commands]


def check_language(code: str) -> str:
    """A language code: empty or two letters."""
    if code and not re.fullmatch(r"[a-z]{2}", code):
        raise bad_request("LANG_CODE_INVALID")
    return code


def check_webhook(url: str, secret: str) -> None:
    """A webhook's address and secret. The real server wants https on four ports; this one only ever delivers to its own machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise bad_request("bad webhook: the sandbox delivers to loopback addresses only")
    if secret and not _SECRET.fullmatch(secret):
        raise bad_request("secret token contains unallowed characters")
