"""/imagine and the buttons below a picture."""

from dataclasses import replace

from bots.chat.commands.pools import community_of, payer_of, recalled
from bots.chat.grammar import asked_of, fields_in, wish_of
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Place, Reply
from core.address import Address
from core.catalog import MAX_PROMPT, MAX_SEED
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation, Order, Parameters, Wish
from core.moderation import Audience
from core.pools.models import Community
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
    asked = asked_of(context.event.options, context.event.argument)
    return await _wished(context, {name: value for name, value in asked.items() if name != "source"})


@action("pay_me", alone=True)
async def on_pay_me(context: Context) -> Order | Reply:
    """A wish that a pool did not pay for, paid by the creator; its words are kept for some minutes."""
    return await _once_more(context, pay="me")


@action("cheaper", alone=True)
async def on_cheaper(context: Context) -> Order | Reply:
    """A wish that a pool did not pay for, drawn by a cheaper model that it may pay for."""
    return await _once_more(context, model=next(iter(context.words[1:]), ""), quality="")


async def _once_more(context: Context, **changes: str) -> Order | Reply:
    """A wish that a pool did not pay for, changed. It is drawn where it was said, though its refusal may be read in private."""
    found = await recalled(context, take=True)
    if found is None:
        return Reply(Text("pay_me.gone"), private=True)
    event = context.event
    place = Place(found.chat, private=False, community=found.community, admin=found.admin)
    order = await _wished(replace(context, event=replace(event, place=place)), found.options | changes)
    return order if event.place.chat == found.chat else replace(order, event=None)


async def _wished(context: Context, asked: dict[str, str]) -> Order:
    """`source` among what is asked: the picture that an edit begins from, stored already. A new one is stored once the rest is right."""
    event, source = context.event, asked.get("source")
    preset = await context.work.presets.find(asked["preset"]) if asked.get("preset") else None
    options = asked if preset is None else filled(preset, asked | (fields_in(asked["fields"]) if asked.get("fields") else {}))
    if "quality" in asked:
        options = options | {"quality": asked["quality"]}  # also when that is none, whatever the preset says
    wish = wish_of(options, edits=source is not None or event.attachment is not None)
    community = await community_of(context)
    order = order_of(context, replace(wish, source_blob=source, preset_id=preset.id if preset else None), community)
    if event.attachment is not None:
        source = await context.app.blobs.put("sources", event.attachment, _media_type(event.attachment))
        order = replace(order, wish=replace(order.wish, source_blob=source))
    kept = {name: value for name, value in asked.items() if name != "source"} | ({"source": source} if source else {})
    return replace(order, community_id=await payer_of(context, community, kept), by_admin=event.place.admin)


@action("again", alone=True)
async def on_again(context: Context) -> Order:
    """The same wish once more, with another seed."""
    found = await _shown(context)
    parameters = replace(found.parameters, seed=None)
    return await _order(context, Wish(found.prompt, found.model, found.operation, parameters, found.source_blob, found.id, found.preset_id))


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
    return await _order(context, Wish(prompt, found.model, found.operation, parameters, found.source_blob, found.id, found.preset_id))


@action("vary", alone=True)
async def on_vary(context: Context) -> Order:
    """A new picture from this one."""
    found = await _shown(context, delivered=True)
    model = context.app.catalog.models.get(found.model)
    same = found.model if model and "edit" in model.operations else None
    parameters = Parameters(strength=VARY_STRENGTH)
    wish = Wish(_prompt(found), same, "edit", parameters, found.blob, found.id, found.preset_id, spoiler=found.spoiler)
    return await _order(context, wish)


@action("upscale", alone=True)
async def on_upscale(context: Context) -> Order:
    """The same picture, larger."""
    found = await _shown(context, delivered=True)
    return await _order(context, Wish(found.prompt, None, "upscale", Parameters(), found.blob, found.id, spoiler=found.spoiler))


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
    """The generation that a button is about: the presser's own, or one said in this very chat. A number alone is no right to it."""
    generations = context.work.generations
    found = await generations.get(context.number())
    here = Address(context.event.platform, context.event.place.chat)
    if found.user_id != context.user.id and found.address != here:
        raise GenerationNotFound(generation=found.id)
    return await generations.delivered(found.id) if delivered else found


async def _order(context: Context, wish: Wish) -> Order:
    return order_of(context, wish, await community_of(context))


def order_of(context: Context, wish: Wish, community: Community | None) -> Order:
    """A wish for the people here, paid by the creator. Raises what App.price raises."""
    event = context.event
    strict = community is not None and community.strict
    audience = Audience(strict, adult=event.place.private or event.place.age_restricted)
    checked, price = context.app.price(wish, audience)
    return Order(
        key=f"{event.platform}:{event.id}",
        user_id=context.user.id,
        wish=checked,
        price=price,
        address=Address(event.platform, event.place.chat),
        event=(event.platform, event.id, event.place.chat),
        audience=audience,
    )


def _prompt(generation: Generation) -> str:
    return generation.prompt or "a variation of this picture"


def _media_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
