"""What Discord's API v10 refuses, as pure checks: messages with their buttons, and modals.

The limits are those of Discord's published API description and documentation (August 2026); each check names what it guards by the
constant. A refusal is a `DiscordError`: HTTP status, Discord's own error code, and for an invalid form the place of every mistake.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

CONTENT_LIMIT = 2000
EMBED_LIMIT = 10
ROW_LIMIT = 5
BUTTONS_PER_ROW = 5
CUSTOM_ID_LIMIT = 100
LABEL_LIMIT = 80
URL_LIMIT = 512
NONCE_LIMIT = 25
FILE_LIMIT = 10
FILE_BYTES = 10 * 1024 * 1024
REQUEST_BYTES = 25 * 1024 * 1024
SELECT_LIMIT = 25
MODAL_TITLE_LIMIT = 45
MODAL_COMPONENTS = 5
MODAL_LABEL_LIMIT = 45
INPUT_LIMIT = 4000
HINT_LIMIT = 100

EPHEMERAL = 1 << 6
LOADING = 1 << 7
SUPPRESS_NOTIFICATIONS = 1 << 12
COMPONENTS_V2 = 1 << 15

ACTION_ROW, BUTTON, SELECT, TEXT_INPUT, LABEL = 1, 2, 3, 4, 18
LINK = 5

INVALID_FORM = 50035
UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008
UNKNOWN_WEBHOOK = 10015
UNKNOWN_INTERACTION = 10062
ALREADY_ACKNOWLEDGED = 40060
TOO_LARGE = 40005
MISSING_ACCESS = 50001
NOT_YOUR_MESSAGE = 50005
EMPTY_MESSAGE = 50006
CANNOT_DM = 50007
INVALID_TOKEN = 50027
INVALID_RECIPIENT = 50033


class DiscordError(Exception):
    """An answer of Discord's that is not 2xx. `errors` is the nested map of an invalid form, `{"content": {"_errors": [...]}}`."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.body: Json = {"message": message, "code": code}
        if errors:
            self.body["errors"] = errors


class Problems:
    """Collects every mistake of a form by its path, as Discord reports them."""

    def __init__(self) -> None:
        self._tree: Json = {}

    def add(self, path: Sequence[str | int], code: str, message: str) -> None:
        """Notes one mistake at `path`, such as ("components", 0, "components", 1, "label")."""
        node = self._tree
        for part in path:
            node = node.setdefault(str(part), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def length(self, path: Sequence[str | int], value: object, low: int, high: int) -> bool:
        """Notes a text that is no text, or not between `low` and `high` characters long. True when it is fine."""
        if not isinstance(value, str):
            self.add(path, "STRING_TYPE_CONVERT", "Could not interpret the value as string.")
        elif not low <= len(value) <= high:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")
        else:
            return True
        return False

    def unique(self, path: Sequence[str | int], values: Iterable[str], what: str) -> None:
        """Notes a value that occurs twice."""
        seen = list(values)
        if len(seen) != len(set(seen)):
            self.add(path, "COMPONENT_CUSTOM_ID_DUPLICATED", f"{what} cannot be duplicated")

    def raise_if_any(self) -> None:
        """Raises the 400 with everything noted so far."""
        if self._tree:
            raise DiscordError(400, INVALID_FORM, "Invalid Form Body", self._tree)


def check_message(data: Json, files: int, *, kept: int = 0, editing: bool = False) -> None:
    """Checks the body of a message to be made or edited. `files` are uploaded with it, `kept` stay from before.

    Raises DiscordError 50035 for a malformed form, 50006 for a message with nothing in it.
    """
    problems = Problems()
    content = data.get("content") or ""
    if not isinstance(content, str) or len(content) > CONTENT_LIMIT:
        problems.add(["content"], "BASE_TYPE_MAX_LENGTH", f"Must be {CONTENT_LIMIT} or fewer in length.")
    if len(data.get("embeds") or []) > EMBED_LIMIT:
        problems.add(["embeds"], "BASE_TYPE_MAX_LENGTH", f"Must be {EMBED_LIMIT} or fewer in length.")
    if files + kept > FILE_LIMIT:
        problems.add(["attachments"], "BASE_TYPE_MAX_LENGTH", f"Must be {FILE_LIMIT} or fewer in length.")
    if int(data.get("flags") or 0) & COMPONENTS_V2:
        problems.add(["flags"], "UNSUPPORTED", "This stand-in knows no second-version components.")
    nonce = data.get("nonce")
    if nonce is not None and len(str(nonce)) > NONCE_LIMIT:
        problems.add(["nonce"], "NONCE_TYPE_TOO_LONG", f"Must be {NONCE_LIMIT} or fewer in length.")
    _check_rows(problems, data.get("components") or [])
    problems.raise_if_any()
    if not editing and not (content or data.get("embeds") or files or data.get("components")):
        raise DiscordError(400, EMPTY_MESSAGE, "Cannot send an empty message")


def _check_rows(problems: Problems, rows: list[Json]) -> None:
    if len(rows) > ROW_LIMIT:
        problems.add(["components"], "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {ROW_LIMIT} in length.")
    seen: list[str] = []
    for number, row in enumerate(rows):
        path: tuple[str | int, ...] = ("components", number)
        items = row.get("components") or []
        if row.get("type") != ACTION_ROW:
            problems.add([*path, "type"], "BASE_TYPE_CHOICES", "Value must be one of (1,).")
            continue
        if not 1 <= len(items) <= BUTTONS_PER_ROW:
            problems.add([*path, "components"], "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {BUTTONS_PER_ROW} in length.")
        for place, item in enumerate(items):
            where = (*path, "components", place)
            if item.get("type") == BUTTON:
                _check_button(problems, where, item)
            elif item.get("type") == SELECT:
                _check_select(problems, where, item)
            else:
                problems.add([*where, "type"], "BASE_TYPE_CHOICES", "Value must be one of (2, 3).")
            if item.get("custom_id"):
                seen.append(item["custom_id"])
    problems.unique(["components"], seen, "Component custom id")


def _check_button(problems: Problems, path: Sequence[str | int], button: Json) -> None:
    style = button.get("style")
    if style not in (1, 2, 3, 4, LINK):
        problems.add([*path, "style"], "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3, 4, 5).")
    label = button.get("label")
    if label is not None:
        problems.length([*path, "label"], label, 0, LABEL_LIMIT)
    if not label and not button.get("emoji"):
        problems.add([*path], "COMPONENT_BUTTON_LABEL_OR_EMOJI", "A button must have a label or an emoji")
    if style == LINK:
        url = button.get("url")
        if not isinstance(url, str) or len(url) > URL_LIMIT or urlsplit(url).scheme not in ("http", "https", "discord"):
            problems.add([*path, "url"], "URL_TYPE_INVALID_URL", "Not a well formed URL.")
        if button.get("custom_id"):
            problems.add([*path], "COMPONENT_CUSTOM_ID_AND_URL", "A custom id and url cannot both be specified")
        return
    problems.length([*path, "custom_id"], button.get("custom_id"), 1, CUSTOM_ID_LIMIT)
    if button.get("url"):
        problems.add([*path], "COMPONENT_CUSTOM_ID_AND_URL", "A custom id and url cannot both be specified")


def _check_select(problems: Problems, path: Sequence[str | int], select: Json) -> None:
    problems.length([*path, "custom_id"], select.get("custom_id"), 1, CUSTOM_ID_LIMIT)
    options = select.get("options") or []
    if not 1 <= len(options) <= SELECT_LIMIT:
        problems.add([*path, "options"], "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {SELECT_LIMIT} in length.")
    for number, option in enumerate(options):
        problems.length([*path, "options", number, "label"], option.get("label"), 1, 100)
        problems.length([*path, "options", number, "value"], option.get("value"), 1, 100)
    problems.unique([*path, "options"], (str(option.get("value")) for option in options), "Select option value")


def check_modal(data: Json) -> None:
    """Checks a modal: title, one to five questions, each a label around a text input or a select (or the older action row).

    Raises DiscordError 50035.
    """
    problems = Problems()
    problems.length(["data", "custom_id"], data.get("custom_id"), 1, CUSTOM_ID_LIMIT)
    problems.length(["data", "title"], data.get("title"), 1, MODAL_TITLE_LIMIT)
    components = data.get("components") or []
    if not 1 <= len(components) <= MODAL_COMPONENTS:
        problems.add(["data", "components"], "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {MODAL_COMPONENTS} in length.")
    for number, component in enumerate(components):
        path: tuple[str | int, ...] = ("data", "components", number)
        if component.get("type") == LABEL:
            problems.length([*path, "label"], component.get("label"), 1, MODAL_LABEL_LIMIT)
            if component.get("description") is not None:
                problems.length([*path, "description"], component["description"], 1, HINT_LIMIT)
        elif component.get("type") != ACTION_ROW:
            problems.add([*path, "type"], "BASE_TYPE_CHOICES", "Value must be one of (1, 18).")
        _check_question(problems, path, asked(component))
    names = [str(asked(component).get("custom_id")) for component in components]
    problems.unique(["data", "components"], names, "Component custom id")
    problems.raise_if_any()


def asked(component: Json) -> Json:
    """The input inside a label or an action row of a modal; empty when there is none."""
    inner = component.get("component") or (component.get("components") or [{}])[0]
    return inner if isinstance(inner, dict) else {}


def _check_question(problems: Problems, path: Sequence[str | int], inner: Json) -> None:
    if inner.get("type") == SELECT:
        _check_select(problems, [*path, "component"], inner)
        return
    if inner.get("type") != TEXT_INPUT:
        problems.add([*path, "component", "type"], "BASE_TYPE_CHOICES", "Value must be one of (3, 4).")
        return
    problems.length([*path, "component", "custom_id"], inner.get("custom_id"), 1, CUSTOM_ID_LIMIT)
    if inner.get("style") not in (1, 2):
        problems.add([*path, "component", "style"], "BASE_TYPE_CHOICES", "Value must be one of (1, 2).")
    longest = INPUT_LIMIT if inner.get("max_length") is None else inner["max_length"]
    if not 1 <= longest <= INPUT_LIMIT:
        problems.add([*path, "component", "max_length"], "NUMBER_TYPE_MAX", f"Must be between 1 and {INPUT_LIMIT}.")
    if inner.get("value") is not None:
        problems.length([*path, "component", "value"], inner["value"], 0, longest)
    if inner.get("placeholder") is not None:
        problems.length([*path, "component", "placeholder"], inner["placeholder"], 0, HINT_LIMIT)
