"""A wish that waits for members to agree, in words: what it is, how many agree, and what became of it."""

from datetime import UTC, datetime

from bots.chat.types import Button, Reply
from core.db import MINUTE, SECOND
from core.generations.models import Order
from core.generations.vote import prompt_of
from core.mailbox.models import Notice
from core.pools.errors import VotesNeeded
from core.pools.models import Ballot, BallotState
from core.unit_of_work import UnitOfWork
from core.words import Amount, Text

EDIT_BALLOT = MINUTE
"""Between two edits of the message about an open ballot, which is also edited when somebody agrees."""
SHOWN_PROMPT = 300
WHYS = ("pool_empty", "pool_cap", "pool_closed", "changed")
"""Why an agreed wish is refused in the end, as anybody may read it; for other reasons who asked learns them by asking again."""


async def put_to_vote(work: UnitOfWork, order: Order, needed: VotesNeeded, hours: int) -> Reply:
    """Asks the members where the wish was said; the answer to who asks is that very message, or where it is. Raises TooManyBallots."""
    ballot = await work.ballots.open(order, needed.facts["votes"], hours)
    if order.event is not None:
        return await ballot_status(work, ballot, (await work.users.get(ballot.user_id)).name)
    notice = Notice(f"ballot:{ballot.id}", ballot.address, "ballot", {"ballot": ballot.id}, ballot.subject)
    await work.mailbox.say([notice])
    return Reply(Text("ballot.elsewhere", {"n": ballot.needed}), private=True, toast=True)


async def ballot_status(work: UnitOfWork, ballot: Ballot, name: str) -> Reply:
    """The message about a ballot, with buttons while it is open."""
    agreed, needed = await work.ballots.progress(ballot)
    facts = {"name": name, "price": Amount(ballot.price), "agreed": agreed, "needed": needed, "id": ballot.generation_id or 0}
    if ballot.state is BallotState.REFUSED:
        facts["why"] = Text(f"ballot.why.{ballot.why if ballot.why in WHYS else 'other'}")
    if ballot.state is not BallotState.OPEN:
        return Reply(Text(f"ballot.{ballot.state}", facts), subject=ballot.subject)
    prompt, model = prompt_of(ballot)
    shown = prompt if len(prompt) <= SHOWN_PROMPT else prompt[:SHOWN_PROMPT] + "…"
    until = f"{datetime.fromtimestamp(ballot.expires_at / SECOND, UTC):%Y-%m-%d %H:%M} UTC"
    rows = (
        (
            Button(Text("button.agree", {"agreed": agreed, "needed": needed}), f"agree {ballot.id}", style="primary"),
            Button(Text("button.withdraw_wish"), f"withdraw_wish {ballot.id}"),
        ),
    )
    return Reply(Text("ballot.open", facts | {"prompt": shown or "—", "model": model, "until": until}), rows=rows, subject=ballot.subject)
