"""Pure decisions about presets: what a template may be, how it is filled, and who earns by it."""

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from core.presets.errors import BadPreset, BadPresetField
from core.presets.models import MAX_FIELDS, MAX_NAME, MAX_TAGS, MAX_TEMPLATE, MAX_TITLE, MAX_VALUE, Draft, Preset

FIELD = re.compile(r"\{([a-z][a-z0-9_]{0,19})\}")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,38})[a-z0-9]")
TAG = re.compile(r"[^\W_][\w-]{1,19}")
COVER_SIDE = 1024
"""The longer side of a cover, in pixels, at most."""
OPTIONS = frozenset({"model", "ar", "style", "quality", "no", "seed"})
PREFIX = "field."
"""How the default of a field, or its value, is named among options."""


def fields_of(template: str) -> list[str]:
    """The fields of a template, in their order.

    >>> fields_of("a photo of {subject} in {place}, {subject} in front")
    ['subject', 'place']
    """
    return list(dict.fromkeys(FIELD.findall(template)))


def checked(draft: Draft) -> Draft:
    """The draft as it is kept. Raises BadPreset for the first part that cannot be."""
    parts = {name: PARTS[name](draft) for name in PARTS}
    return Draft(**parts)


def _name(draft: Draft) -> str:
    name = draft.name.strip().lower()
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise BadPreset(field="name", problem="name")
    return name


def _title(draft: Draft) -> str:
    title = " ".join(draft.title.split())
    if not 1 <= len(title) <= MAX_TITLE:
        raise BadPreset(field="title", problem="title")
    return title


def _template(draft: Draft) -> str:
    template = draft.template.strip()
    if not 1 <= len(template) <= MAX_TEMPLATE:
        raise BadPreset(field="template", problem="long")
    fields = fields_of(template)
    if not 1 <= len(fields) <= MAX_FIELDS:
        raise BadPreset(field="template", problem="fields")
    if set(FIELD.sub("", template)) & set("{}"):
        raise BadPreset(field="template", problem="braces")
    return template


def _tags(draft: Draft) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(each.lower().lstrip("#") for each in draft.tags))
    if len(tags) > MAX_TAGS or not all(TAG.fullmatch(each) for each in tags):
        raise BadPreset(field="tags", problem="tags")
    return tags


def _options(draft: Draft) -> dict[str, str]:
    fields = fields_of(draft.template)
    options = {key: value.strip() for key, value in draft.options.items() if value.strip()}
    for key, value in options.items():
        known = key in OPTIONS or (key.startswith(PREFIX) and key.removeprefix(PREFIX) in fields)
        if not known or len(value) > MAX_VALUE:
            raise BadPreset(field=key[:MAX_NAME], problem="option")
    return options


PARTS: Mapping[str, Callable[[Draft], Any]] = {
    "name": _name, "title": _title, "template": _template, "tags": _tags, "options": _options,
}  # fmt: skip
"""By the name of a part of a draft: that part as it is kept; each can be looked at before what is asked for after it is known."""


def filled(preset: Preset, options: Mapping[str, str]) -> dict[str, str]:
    """Options of /imagine with the preset's prompt and settings; what was asked for itself wins. A free prompt is the first field's value.

    Raises BadPresetField for a field without a value, or a value for no field.
    """
    fields = fields_of(preset.template)
    given = {key.removeprefix(PREFIX): value.strip() for key, value in options.items() if key.startswith(PREFIX)}
    for name in given:
        if name not in fields:
            raise BadPresetField(field=name[:MAX_NAME], known=fields)
    values = {name: preset.options[PREFIX + name] for name in fields if PREFIX + name in preset.options} | given
    if prompt := options.get("prompt", "").strip():
        values.setdefault(fields[0], "")
        values[fields[0]] = given.get(fields[0]) or prompt
    for name in fields:
        if not 1 <= len(values.get(name, "")) <= MAX_VALUE:
            raise BadPresetField(field=name, known=fields)
    settings = {key: value for key, value in preset.options.items() if key in OPTIONS}
    asked = {key: value for key, value in options.items() if key in OPTIONS and value}
    return settings | asked | {"prompt": FIELD.sub(lambda found: values[found[1]], preset.template)}


def is_made_with(template: str, prompt: str) -> bool:
    """Whether a prompt is the template with something in its fields.

    >>> is_made_with("a neon {thing} by {hand}", "a neon shoe by night by me"), is_made_with("a neon {thing}", "a cat")
    (True, False)
    """
    first, *inner, last = FIELD.split(template)[::2]
    if not (prompt.startswith(first) and prompt.endswith(last)):
        return False
    at, end = len(first), len(prompt) - len(last)
    for words in inner:
        found = prompt.find(words, at + 1)
        if found < 0:
            return False
        at = found + len(words)
    return at < end


def shrunk(data: bytes) -> bytes:
    """A picture as a cover: JPEG, at most COVER_SIDE on the longer side. For a thread: it decodes.

    Raises BadPreset for what cannot be read.
    """
    buffer = BytesIO()
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.thumbnail((COVER_SIDE, COVER_SIDE))
            opened.convert("RGB").save(buffer, "JPEG", quality=85)
    except (OSError, Image.DecompressionBombError):
        raise BadPreset(field="cover", problem="cover") from None
    return buffer.getvalue()


def earns(author_id: int | None, creator_id: int, *, frozen: bool, paid_today: int, most: int) -> bool:
    """Whether the author gets a royalty for one more picture of a creator's: not the platform's own, not for own use, not the frozen, and
    not for more than `most` pictures of one creator a day, so that nobody farms."""
    return author_id is not None and author_id != creator_id and not frozen and paid_today < most
