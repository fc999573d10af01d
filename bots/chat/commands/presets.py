"""/preset: templates of prompts: list, search, show, use; publish and withdraw one's own; report another's."""

import re

from bots.chat.grammar import parse, wish_of
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Media, Option, Reply
from bots.chat.wishes import ordered
from core.generations.models import Order, Wish
from core.mailbox.models import Notice
from core.presets.models import MAX_FIELDS, MAX_NAME, MAX_TEMPLATE, MAX_TITLE, MAX_VALUE, Draft, Preset
from core.presets.rules import PARTS, PREFIX, fields_of, filled
from core.words import Amount, Text

PAGE = 6
ASKED_AT_ONCE = 5
"""Questions of a form at most, on Discord."""


@command("preset", Option("search", max_length=60), alone=True)
async def on_preset(context: Context) -> Reply:
    """Those that have the words in name, title or tags; the one whose name it is; `publish` opens the form."""
    typed = (context.event.options.get("search") or context.event.argument).split()
    if typed[:1] == ["publish"]:
        return _form()
    if typed[:1] == ["mine"]:
        return await _listed(context, [], author_id=context.user.id)
    words = typed[1:] if typed[:1] == ["list"] else typed
    if len(words) == 1 and any(each.name == words[0].lower() for each in await context.work.presets.search(words, 25)):
        return _card(context, await context.work.presets.find(words[0]))
    return await _listed(context, words)


@action("presets")
async def on_presets(context: Context) -> Reply:
    """The next page, after a name; the words searched for follow."""
    after, words = (context.words[0] if context.words else "-"), list(context.words[1:])
    return await _listed(context, words, after="" if after == "-" else after, edit=True)


@action("preset", alone=True)
async def on_one(context: Context) -> Reply:
    """One preset with its fields, an example and its buttons."""
    return _card(context, await context.work.presets.find(next(iter(context.words), "")))


@action("use_preset")
async def on_use(context: Context) -> Reply:
    """Asks for the first fields; the others keep their defaults."""
    preset = await context.work.presets.find(next(iter(context.words), ""))
    names = sorted(fields_of(preset.template), key=lambda name: PREFIX + name in preset.options)[:ASKED_AT_ONCE]
    fields = tuple(
        Field(name, Text("preset.field", {"name": name}), default=preset.options.get(PREFIX + name, ""), max_length=MAX_VALUE)
        for name in names
    )
    return Reply(form=Form(f"fill {preset.name}", Text("preset.form", {"title": preset.title}), fields))


@action("fill", alone=True)
async def on_fill(context: Context) -> Order:
    """Orders a picture with the preset. Raises PresetNotFound, BadPresetField, and what /imagine raises."""
    event = context.event
    preset = await context.work.presets.find(next(iter(context.words), ""))
    known = fields_of(preset.template)
    options = filled(preset, {PREFIX + name: value for name, value in event.answers.items() if name in known and value.strip()})
    wish = wish_of(options)
    wish = Wish(wish.prompt, wish.model, parameters=wish.parameters, preset_id=preset.id)
    return await ordered(context, wish)


@action("publish")
async def on_publish(context: Context) -> Reply:
    """The form for a preset of one's own."""
    return _form()


async def check_answer(context: Context, name: str) -> None:
    """One answer of the form, as soon as it is given: nobody writes a template for a name that is taken. Raises as `on_published`."""
    part = PARTS[name](_draft(context))
    if name == "name":
        await context.work.presets.may_publish(part, context.user.id, context.app.settings.presets_per_author)


@action("publish_preset", check=check_answer)
async def on_published(context: Context) -> Reply:
    """Publishes it. Raises BadPreset, BadParameter, PresetNameTaken, TooManyPresets."""
    made = await context.work.presets.publish(_draft(context), context.user.id, context.app.settings.presets_per_author)
    facts = _facts(context, made)
    show = Button(Text("button.preset"), f"preset {made.name}", style="primary")
    rows = ((show, Button(Text("button.withdraw_preset"), f"unlist {made.name}")),)
    return Reply(Text("preset.published", facts), rows=rows, private=True)


@action("cover", alone=True)
async def on_cover(context: Context) -> Reply:
    """A picture that the presser made with a preset of theirs becomes its cover. Raises PresetNotFound, BadPreset for a veiled one."""
    preset = await context.app.cover(context.number(), context.user.id)
    rows = ((Button(Text("button.preset"), f"preset {preset.name}"),),)
    return Reply(Text("preset.covered", {"name": preset.name}), rows=rows, private=True)


@action("unlist")
async def on_unlist(context: Context) -> Reply:
    """Lists one's own no more."""
    name = next(iter(context.words), "")
    if context.words[1:] != ("yes",):
        await context.work.presets.find(name)
        yes = Button(Text("button.yes"), f"unlist {name} yes", style="danger")
        return Reply(Text("preset.sure", {"name": name}), rows=((yes, Button(Text("button.no"), f"preset {name}")),), private=True)
    gone = await context.work.presets.withdraw(name, context.user.id)
    return Reply(Text("preset.withdrawn", {"name": gone.name}), private=True)


@action("report_preset")
async def on_report(context: Context) -> Reply:
    """Tells the admins, once for each person."""
    name = next(iter(context.words), "")
    count = await context.work.presets.report(name, context.user.id)
    admins = await context.work.users.admins()
    addresses = await context.work.users.addresses(admins)
    body = {"preset": name, "count": count}
    key = f"preset_report:{name}:{context.user.id}"
    await context.work.mailbox.say(
        [Notice(f"{key}:{admin}", address, "preset_report", body | {"reader": admin}) for admin, address in addresses.items()]
    )
    return Reply(Text("preset.reported", {"name": name}), private=True)


@action("freeze_preset", admin=True)
async def on_freeze(context: Context) -> Reply:
    """Asks the admin for the reason."""
    found = await context.work.presets.find(next(iter(context.words), ""))
    reason = Field("reason", Text("field.reason"), max_length=MAX_VALUE)
    return Reply(form=Form(f"frozen_preset {found.name}", Text("button.freeze_preset"), (reason,)), private=True)


@action("frozen_preset", admin=True)
async def on_frozen(context: Context) -> Reply:
    """Takes it off the list for good; nothing is earned by it any more."""
    name, reason = next(iter(context.words), ""), context.event.answers.get("reason", "")
    found = await context.work.oversight.take_down(context.user, name, reason)
    return Reply(Text("preset.frozen", {"name": found.name}), private=True)


async def _listed(context: Context, words: list[str], *, after: str = "", author_id: int | None = None, edit: bool = False) -> Reply:
    found = await context.work.presets.search(words, PAGE + 1, after, author_id)
    publish = (Button(Text("button.publish_preset"), "publish"),)
    if not found:
        return Reply(Text("preset.none", {"words": " ".join(words) or "—"}), rows=(publish,), private=author_id is not None)
    rows = [(Button(Text("button.one_preset", {"name": each.name, "title": each.title}), f"preset {each.name}"),) for each in found[:PAGE]]
    more = f"presets {found[PAGE - 1].name} {' '.join(words)}".strip() if len(found) > PAGE and author_id is None else ""
    last = (Button(Text("button.more_presets"), more), *publish) if more and len(more.encode()) <= 64 else publish
    return Reply(Text("preset.list", {"n": len(found[:PAGE])}), rows=(*rows, last), private=author_id is not None, edit=edit)


def _card(context: Context, preset: Preset) -> Reply:
    use = Button(Text("button.use_preset"), f"use_preset {preset.name}", style="primary")
    own = Button(Text("button.withdraw_preset"), f"unlist {preset.name}")
    other = Button(Text("button.report_preset"), f"report_preset {preset.name}")
    second = () if preset.author_id is None else (own,) if preset.author_id == context.user.id else (other,)
    media = (Media(preset.cover, "image/jpeg"),) if preset.cover else ()
    return Reply(Text("preset.card", _facts(context, preset)), rows=((use, *second),), media=media)


def _facts(context: Context, preset: Preset) -> dict[str, object]:
    fields = fields_of(preset.template)
    example = " ".join(f'{name}="{preset.options.get(PREFIX + name, "…")}"' for name in fields)
    model = context.app.catalog.models.get(preset.options.get("model", context.app.catalog.default_model))
    price = model.price_of(preset.options.get("quality")) if model else 0
    return {
        "name": preset.name, "title": preset.title, "template": preset.template, "fields": fields, "tags": list(preset.tags) or "—",
        "example": f"/imagine --preset {preset.name} {example}", "price": Amount(price), "version": preset.version,
        "percent": context.app.settings.royalty_percent, "options": _options(preset),
    }  # fmt: skip


def _draft(context: Context) -> Draft:
    """What the answers say, as far as they are given."""
    answers = context.event.answers
    options = parse(f"x {answers.get('options', '')}") if answers.get("options", "").strip(" -") else {}
    options.pop("prompt", None)
    return Draft(answers.get("name", ""), answers.get("title", ""), answers.get("template", ""), options, _tags(answers.get("tags", "")))


def _tags(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,\uff0c]+", text.strip())) if text.strip() != "-" else ()


def _options(preset: Preset) -> str:
    return " ".join(f"--{name} {value}" for name, value in preset.options.items() if not name.startswith(PREFIX)) or "—"


def _form() -> Reply:
    fields = (
        Field("name", Text("preset.ask.name"), max_length=MAX_NAME, hint=Text("preset.hint.name")),
        Field("title", Text("preset.ask.title"), max_length=MAX_TITLE),
        Field("template", Text("preset.ask.template", {"most": MAX_FIELDS}), max_length=MAX_TEMPLATE, hint=Text("preset.hint.template")),
        Field("options", Text("preset.ask.options"), default="-", max_length=MAX_VALUE, hint=Text("preset.hint.options")),
        Field("tags", Text("preset.ask.tags"), default="-", max_length=100),
    )
    return Reply(form=Form("publish_preset", Text("button.publish_preset"), fields), private=True)
