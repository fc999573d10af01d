"""/link: one person in several places becomes one user. A code is shown in one place and said in the other."""

from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Option, Reply
from core.joining.errors import JoinCodeExpired
from core.joining.service import read_code
from core.words import Text

HALF = 5
MAX_TYPED = 40
"""Characters that are looked at of what should be a code."""


@command("link", Option("code"), private=True)
async def on_link(context: Context) -> Reply:
    """A code to say elsewhere; or, with the code that was shown elsewhere, whom it would join."""
    typed = context.event.options.get("code") or context.event.argument
    if typed.strip():
        return await _ask(context, read_code(typed[:MAX_TYPED]))
    known = await context.work.users.identities(context.user.id)
    code = await context.work.joining.new_code(context.user)
    facts = {"code": f"{code[:HALF]}-{code[HALF:]}", "known": [platform for platform, _ in known]}
    return Reply(Text("link.code", facts), private=True)


@action("join")
async def on_join(context: Context) -> Reply:
    """Joins them. Raises JoinCodeExpired, SameUser, Frozen, AdminApart."""
    kept = await context.work.joining.join(context.user, next(iter(context.words), ""))
    known = await context.work.users.identities(kept.id)
    rows = ((Button(Text("button.balance"), "balance"), Button(Text("button.history"), "history")),)
    return Reply(Text("link.joined", {"name": kept.name, "known": [platform for platform, _ in known]}), rows=rows, private=True, edit=True)


async def _ask(context: Context, code: str) -> Reply:
    """A code that was said where others read it is void: one of them could be quicker."""
    if not context.event.place.private:
        await context.work.joining.drop(code)
        return Reply(Text("link.not_here"), private=True)
    other = await context.work.joining.look(context.user, code)
    known = await context.work.users.identities(other.id)
    if not known:
        raise JoinCodeExpired()
    facts = {"name": other.name, "known": [platform for platform, _ in known]}
    return Reply(Text("link.confirm", facts), rows=((Button(Text("button.join"), f"join {code}", style="danger"),),), private=True)
