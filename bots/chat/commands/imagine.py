"""/imagine and the buttons below a picture."""

from collections.abc import Callable
from dataclasses import replace

from bots.chat.grammar import asked_of, fields_in, wish_of
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Reply
from bots.chat.wishes import community_of, order_of, ordered, recalled
from core.address import whole
from core.catalog import MAX_PROMPT, MAX_SEED
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation, Order, Parameters, Wish
from core.presets.rules import filled
from core.words import Text

VARY_STRENGTH = 60
MAX_FORM_PROMPT = 1000
"""Characters of a prompt that is changed in a form."""


@command(
    "imagine",
    Option("prompt", required=True, max_length=MAX_PROMPT),
    Option("model", complete=True),
    Option("ar", choices=("1:1", "16:9", "9:16", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")),
    Option("style", complete=True),
    Option("quality", complete=True),
    Option("no", max_length=MAX_PROMPT),
    Option("seed", kind="integer", minimum=0, maximum=MAX_SEED),
    Option("image", kind="picture"),
    Option("preset", complete=True),
    Option("fields", max_length=MAX_PROMPT),
    Option("pay", choices=("pool", "me")),
    alone=True,
)
async def on_imagine(context: Context) -> Order:
    """Prices the wish and orders it. Raises BadPrompt, UnknownModel, BadParameter, PresetNotFound, BadPresetField."""
    event, asked = context.event, asked_of(context.event.options, context.event.argument)
    preset = await context.work.presets.find(asked["preset"]) if asked.get("preset") else None
    options = asked if preset is None else filled(preset, asked | (fields_in(asked["fields"]) if asked.get("fields") else {}))
    wish = replace(wish_of(options, edits=event.attachment is not None), preset_id=preset.id if preset else None)
    if event.attachment is not None:
        order_of(context, wish, await community_of(context))  # a picture is kept once the rest is right
        wish = replace(wish, source_blob=await context.app.blobs.put("sources", event.attachment, _media_type(event.attachment)))
    return await ordered(context, wish, alone=asked.get("pay", "").lower() == "me")


@action("pay_me", alone=True)
async def on_pay_me(context: Context) -> Order | Reply:
    """A wish that a pool did not pay for, paid by the creator; its words are kept for some minutes."""
    return await _once_more(context, lambda wish: wish, alone=True)


@action("cheaper", alone=True)
async def on_cheaper(context: Context) -> Order | Reply:
    """A wish that a pool did not pay for, drawn by a cheaper model that it may pay for."""
    model = next(iter(context.words[1:]), None)
    return await _once_more(context, lambda wish: replace(wish, model=model, parameters=replace(wish.parameters, quality=None)))


async def _once_more(context: Context, change: Callable[[Wish], Wish], *, alone: bool = False) -> Order | Reply:
    """A wish that a pool did not pay for, changed. It is drawn where it was said, though its refusal may be read in private."""
    event = context.event
    found = await recalled(context.app.hints, event, next(iter(context.words), ""), take=True)
    if found is None:
        return Reply(Text("pay_me.gone"), private=True)
    said, now = found.place, [each for each in (event.place, event.about) if each and whole(each.chat) == whole(found.place.chat)]
    place = replace(now[0], chat=said.chat, channels=said.channels) if now else said
    order = await ordered(replace(context, event=replace(event, place=place)), change(found.wish), alone=alone)
    return order if event.place.chat == place.chat else replace(order, event=None)


@action("again", alone=True)
async def on_again(context: Context) -> Order:
    """The same wish once more, with another seed."""
    found = await _shown(context)
    parameters = replace(found.parameters, seed=None)
    wish = Wish(found.prompt, found.model, found.operation, parameters, found.source_blob, found.id, found.preset_id)
    return await ordered(context, wish)


@action("edit_prompt")
async def on_edit_prompt(context: Context) -> Reply:
    """The prompt of a wish of the presser's own, to be changed; somebody else's prompt is theirs."""
    found = await context.work.generations.get(context.number(), context.user.id)
    field = Field("prompt", Text("field.prompt"), default=found.prompt[:MAX_FORM_PROMPT], max_length=MAX_FORM_PROMPT)
    return Reply(form=Form(f"edited {found.id}", Text("button.edit_prompt"), (field,)))


@action("edited", alone=True)
async def on_edited(context: Context) -> Order:
    """The same wish with another prompt, and another seed. Raises BadPrompt."""
    found = await context.work.generations.get(context.number(), context.user.id)
    parameters = replace(found.parameters, seed=None)
    prompt = context.event.answers.get("prompt", "")
    return await ordered(context, Wish(prompt, found.model, found.operation, parameters, found.source_blob, found.id, found.preset_id))


@action("vary", alone=True)
async def on_vary(context: Context) -> Order:
    """A new picture from this one."""
    found = await _shown(context, delivered=True)
    model = context.app.catalog.models.get(found.model)
    same = found.model if model and "edit" in model.operations else None
    parameters = Parameters(strength=VARY_STRENGTH)
    wish = Wish(_prompt(found), same, "edit", parameters, found.blob, found.id, found.preset_id, spoiler=found.spoiler)
    return await ordered(context, wish)


@action("upscale", alone=True)
async def on_upscale(context: Context) -> Order:
    """The same picture, larger."""
    found = await _shown(context, delivered=True)
    return await ordered(context, Wish(found.prompt, None, "upscale", Parameters(), found.blob, found.id, spoiler=found.spoiler))


@command("cancel", always=True)
@action("cancel", always=True)
async def on_cancel(context: Context) -> Reply:
    """Cancels what still waits: one by its button or number, or the list to choose from."""
    if context.number() or (context.words and context.event.action):
        generation = await context.work.generations.cancel(context.number(), context.user.id)
        return Reply(Text("cancelled", {"id": generation.id}), toast=context.event.action is not None, private=True)
    waiting = await context.work.generations.waiting(context.user.id)
    if not waiting:
        return Reply(Text("cancel.none"), private=True)
    if len(waiting) == 1:
        generation = await context.work.generations.cancel(waiting[0].id, context.user.id)
        return Reply(Text("cancelled", {"id": generation.id}), private=True)
    rows = tuple(
        (Button(Text("button.cancel_one", {"id": each.id, "prompt": each.prompt[:40]}), f"cancel {each.id}"),) for each in waiting[:5]
    )
    return Reply(Text("cancel.which", {"n": len(waiting)}), rows=rows, private=True)


async def _shown(context: Context, *, delivered: bool = False) -> Generation:
    """The generation that a button is about: the presser's own, or one said in this very chat or group. A number is no right to it."""
    generations = context.work.generations
    found = await generations.get(context.number())
    said = (found.address.platform, whole(found.address.chat)) if found.address else None
    if found.user_id != context.user.id and said != (context.event.platform, whole(context.event.place.chat)):
        raise GenerationNotFound(generation=found.id)
    return await generations.delivered(found.id) if delivered else found


def _prompt(generation: Generation) -> str:
    return generation.prompt or "a variation of this picture"


def _media_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
