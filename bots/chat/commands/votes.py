"""Votes on wishes above a pool's amount: the rule, for whoever administers the group, and the buttons below such a wish."""

from dataclasses import replace

from bots.chat.ballots import ballot_status
from bots.chat.commands.pools import only_admins, pool_here
from bots.chat.pools import card
from bots.chat.registry import Context, action
from bots.chat.types import Field, Form, Reply
from core.money import format_credits
from core.pools.models import Asker, Ballot
from core.pools.rules import read_votes
from core.words import Text


@action("pool_votes")
async def on_votes(context: Context) -> Reply:
    """The rule as a form: above how many Credits how many members have to agree."""
    only_admins(context)
    now = (await pool_here(context)).policy
    above = "-" if now.vote_above is None else format_credits(now.vote_above)
    fields = (
        Field("vote_above", Text("pool.ask.vote_above"), default=above, max_length=12),
        Field("votes", Text("pool.ask.votes"), default=str(now.votes or 2), max_length=3),
    )
    return Reply(form=Form("pool_votes_set", Text("button.pool_votes"), fields), private=True)


@action("pool_votes_set")
async def on_votes_set(context: Context) -> Reply:
    """The rule from now on; what is asked already keeps its number, or needs more. Raises BadPolicy."""
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    policy = read_votes(context.event.answers, community.policy)
    return await card(context.work, await context.work.pools.set_policy(community, policy))


@action("agree", alone=True)
async def on_agree(context: Context) -> Reply:
    """One member more agrees; the last one who is needed has the wish drawn. Raises BallotNotFound, BallotOver, MayNotVote."""
    community = await pool_here(context)
    place = context.event.place
    voter = Asker(member=place.member, admin=place.admin, roles=place.roles)
    ballot = await context.app.vote(context.number(), context.user.id, community, voter=voter)
    async with context.app.read() as work:  # as it is after the vote
        asker = await work.users.get(ballot.user_id)
        return _edited(await ballot_status(work, ballot, asker.name))


@action("withdraw_wish", always=True)
async def on_withdraw(context: Context) -> Reply:
    """Who asked takes the wish back. Raises BallotNotFound, BallotOver, NotYourWish."""
    ballot: Ballot = await context.work.ballots.withdraw(context.number(), context.user.id)
    return _edited(await ballot_status(context.work, ballot, context.user.name))


def _edited(reply: Reply) -> Reply:
    """In place of the message that was pressed; the row of that message follows the ballot already."""
    return replace(reply, edit=True, subject=None)
