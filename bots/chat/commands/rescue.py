"""/rescue: a pool whose groups are all gone: for the platform's admins, who know better than a bot whose it was. With a reason."""

from bots.chat.commands.admin import reason_field
from bots.chat.registry import Context, action, command, number_of
from bots.chat.types import Form, Option, Reply
from core.access.rules import new_code
from core.access.service import CODES_PER_HOUR
from core.joining.errors import TooManyCodes
from core.words import Text


@command("rescue", Option("number", "integer", required=True, minimum=1), private=True, admin=True)
async def on_rescue(context: Context) -> Reply:
    """Asks why. Raises PoolNotFound."""
    number = number_of((context.event.options.get("number") or context.event.argument).strip().removeprefix("#"))
    found = await context.work.pools.get(number)
    return Reply(form=Form(f"rescued {found.id}", Text("rescue.form", {"name": found.name}), (reason_field(),)), private=True)


@action("rescued", admin=True)
async def on_rescued(context: Context) -> Reply:
    """A code by which its community brings it to another group. Raises PoolNotFound, PoolNotGone, ReasonNeeded, TooManyCodes."""
    code = new_code()
    if not await context.work.controls.rescue(context.user, context.number(), context.event.answers.get("reason", ""), code):
        raise TooManyCodes(limit=CODES_PER_HOUR)
    return Reply(Text("rescue.code", {"code": code, "name": (await context.work.pools.get(context.number())).name}), private=True)
