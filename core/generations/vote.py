"""Votes on wishes above a pool's amount: asked for once, agreed to by members, submitted once; withdrawn, or lapsed.

Who votes and who asked are locked before the community and the ballot, in the order in which submits lock.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address
from core.db import HOUR
from core.errors import Refusal
from core.generations.errors import Maintenance
from core.generations.models import Order, Parameters, Submitted, Wish
from core.generations.submit import submit_many
from core.mailbox.service import Mailbox
from core.moderation import Audience
from core.pools.errors import BallotNotFound, BallotOver, MayNotVote, NotYourWish, TooManyBallots
from core.pools.models import Asker, Ballot, BallotState, Community, Policy, Spenders, ballot_votes, ballots
from core.pools.rules import shut_out, votes_needed, voting
from core.pools.service import Pools
from core.users.models import users

MAX_OPEN = 3
"""Wishes of one member that wait for agreement in one community."""
LAPSE_BATCH = 200
COLUMNS = frozenset({"key", "user_id", "wish", "price", "address", "community_id", "event", "token_id", "audience", "agreed"})
"""What of an order is in columns of its ballot, or does not outlive its event."""
CHANGED = "changed"
"""Why an agreed wish is refused that would not be taken, or not at its price, if it was asked for now."""

Price = Callable[[Wish, Audience], tuple[Wish, int]]


class Ballots:
    """One transaction's view of the votes."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def open(self, order: Order, votes: int, hours: int) -> Ballot:
        """Puts an order to the vote for so many hours; the same order finds its own again. Raises TooManyBallots."""
        assert order.community_id is not None and order.address is not None
        await self._connection.execute(select(users.c.id).where(users.c.id == order.user_id).with_for_update())
        mine = (ballots.c.user_id == order.user_id) & (ballots.c.community_id == order.community_id)
        waiting = select(func.count()).where(mine, ballots.c.state == BallotState.OPEN, ballots.c.expires_at > self._now)
        if (await self._connection.scalar(waiting.where(ballots.c.key != order.key)) or 0) >= MAX_OPEN:
            raise TooManyBallots(limit=MAX_OPEN)
        values = {
            "key": order.key, "community_id": order.community_id, "user_id": order.user_id, "price": order.price, "needed": votes,
            "wish": _dump(order), "state": BallotState.OPEN, "platform": order.address.platform, "chat": order.address.chat,
            "created_at": self._now, "expires_at": self._now + hours * HOUR,
        }  # fmt: skip
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        await self._connection.execute(insert_(ballots).values(values).on_conflict_do_nothing(index_elements=["key"]))
        return _read((await self._connection.execute(select(ballots).where(ballots.c.key == order.key))).mappings().one())

    async def get(self, ballot_id: int) -> Ballot:
        """Raises BallotNotFound."""
        row = (await self._connection.execute(select(ballots).where(ballots.c.id == ballot_id))).mappings().first()
        if row is None:
            raise BallotNotFound(ballot=ballot_id)
        return _read(row)

    async def progress(self, ballot: Ballot) -> tuple[int, int]:
        """How many agree, and how many have to."""
        policy = (await Pools(self._connection, self._now).get(ballot.community_id)).policy
        return await self._agreeing(ballot, policy), votes_needed(policy, ballot.price, ballot.needed)

    async def withdraw(self, ballot_id: int, user_id: int) -> Ballot:
        """Takes a wish back. Raises BallotNotFound, NotYourWish, BallotOver."""
        ballot = await self._lock(ballot_id)
        if ballot.user_id != user_id:
            raise NotYourWish()
        self._check_open(ballot)
        return await self._end([ballot], BallotState.WITHDRAWN)

    async def vote(self, ballot_id: int, user_id: int, place: Community, *, voter: Asker, price: Price, **limits: int) -> Ballot:
        """Somebody agrees who speaks in a group of the community `place`; the last one needed submits the wish, whatever comes of it.

        `voter`: what the platform says of them. `price` says what a wish costs now; `limits` are those of `submit_many`.
        Raises BallotNotFound, BallotOver, MayNotVote, Maintenance.
        """
        asked = await self.get(ballot_id)
        if asked.community_id != place.id:
            raise BallotNotFound(ballot=ballot_id)
        both = select(users.c.id).where(users.c.id.in_((asked.user_id, user_id))).order_by(users.c.id)
        await self._connection.execute(both.with_for_update())
        community = await Pools(self._connection, self._now).lock(place.id)
        ballot = await self._lock(ballot_id)
        self._check_open(ballot)
        if (why := await self._bars(ballot, user_id, community, voter)) is not None:
            raise MayNotVote(why=why)
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        row = (
            insert_(ballot_votes)
            .values(ballot_id=ballot.id, user_id=user_id, at=self._now, rule=voting(community.policy))
            .on_conflict_do_nothing()
        )
        if (await self._connection.execute(row.returning(ballot_votes.c.user_id))).first() is None:
            raise MayNotVote(why="twice")
        needed = votes_needed(community.policy, ballot.price, ballot.needed)
        if await self._agreeing(ballot, community.policy) < needed:
            await Mailbox(self._connection, self._now).touch([ballot.subject])
            return ballot
        return await self._submit(ballot, community, price, limits)

    async def _submit(self, ballot: Ballot, community: Community, price: Price, limits: dict[str, int]) -> Ballot:
        """The wish becomes a generation, if it may by all that holds now."""
        order = _load(ballot)
        order = replace(order, audience=replace(order.audience, strict=community.strict))
        try:
            wish, costs = price(order.wish, order.audience)
        except Refusal:
            return await self._end([ballot], BallotState.REFUSED, why=CHANGED)
        if costs != ballot.price:
            return await self._end([ballot], BallotState.REFUSED, why=CHANGED)
        (answer,) = await submit_many(self._connection, [replace(order, wish=wish)], now=self._now, **limits)
        if isinstance(answer, Submitted):
            return await self._end([ballot], BallotState.AGREED, generation_id=answer.generation.id)
        if isinstance(answer, Maintenance):  # that passes, and then they agree once more
            raise answer
        return await self._end([ballot], BallotState.REFUSED, why=answer.code)

    async def _bars(self, ballot: Ballot, user_id: int, community: Community, voter: Asker) -> str | None:
        """Why somebody does not agree to a wish, or None: who asks does not, and of the others those who may spend of the pool."""
        if ballot.user_id == user_id:
            return "own"
        if community.policy.spenders is Spenders.LIST:
            voter = replace(voter, listed=user_id in await Pools(self._connection, self._now).listed(community))
        return shut_out(community.policy, voter) or None

    async def _agreeing(self, ballot: Ballot, policy: Policy) -> int:
        """Different people who agreed and still count: not frozen since, not joined into who asks or each other, not off the list, and let
        vote by the rule that holds now."""
        kept = func.coalesce(users.c.merged_into, users.c.id)
        votes = select(kept).select_from(ballot_votes).join(users, users.c.id == ballot_votes.c.user_id)
        counted = votes.where(ballot_votes.c.ballot_id == ballot.id, ~users.c.frozen, kept != ballot.user_id)
        if policy.spenders not in (Spenders.ALL, Spenders.LIST):
            counted = counted.where(ballot_votes.c.rule == voting(policy))
        found = set(await self._connection.scalars(counted))
        if policy.spenders is Spenders.LIST:
            found &= set(await Pools(self._connection, self._now).listed(Community(ballot.community_id, "", policy)))
        return len(found)

    async def _lock(self, ballot_id: int) -> Ballot:
        row = (await self._connection.execute(select(ballots).where(ballots.c.id == ballot_id).with_for_update())).mappings().first()
        if row is None:
            raise BallotNotFound(ballot=ballot_id)
        return _read(row)

    def _check_open(self, ballot: Ballot) -> None:
        if ballot.state is not BallotState.OPEN:
            raise BallotOver(state=ballot.state)
        if ballot.expires_at <= self._now:
            raise BallotOver(state=BallotState.LAPSED)

    async def _end(self, ended: Sequence[Ballot], state: BallotState, why: str | None = None, generation_id: int | None = None) -> Ballot:
        """The rows are locked by the caller; returns the last as it is now."""
        values: dict[str, Any] = {"state": state, "why": why, "generation_id": generation_id, "wish": bindparam("left")}
        left = [{"row": each.id, "left": "" if state is BallotState.AGREED else _upload(each)} for each in ended]
        await self._connection.execute(update(ballots).where(ballots.c.id == bindparam("row")).values(values), left)
        await Mailbox(self._connection, self._now).touch([each.subject for each in ended])
        return await self.get(ended[-1].id)

    async def lapse(self) -> int:
        """Ends what nobody, or too few, agreed to in time; returns how many."""
        late = select(ballots).where(ballots.c.state == BallotState.OPEN, ballots.c.expires_at <= self._now).order_by(ballots.c.id)
        rows = await self._connection.execute(late.limit(LAPSE_BATCH).with_for_update(skip_locked=True))
        if found := [_read(row) for row in rows.mappings()]:
            await self._end(found, BallotState.LAPSED)
        return len(found)

    async def move_chat(self, old: Address, new: str) -> None:
        """A group has another id from now on: what is asked there is drawn there."""
        here = (ballots.c.platform == old.platform) & (ballots.c.chat == old.chat) & (ballots.c.state == BallotState.OPEN)
        await self._connection.execute(update(ballots).where(here).values(chat=new))

    async def forget(self, user_id: int) -> None:
        """Withdraws all that a user asked for, as they leave."""
        mine = select(ballots).where(ballots.c.user_id == user_id, ballots.c.state == BallotState.OPEN).order_by(ballots.c.id)
        found = [_read(row) for row in (await self._connection.execute(mine.with_for_update())).mappings()]
        if found:
            await self._end(found, BallotState.WITHDRAWN)


def prompt_of(ballot: Ballot) -> tuple[str, str]:
    """The prompt and the model of a wish that is open."""
    wish = _load(ballot).wish
    return wish.prompt, wish.model or ""


def _upload(ballot: Ballot) -> str:
    """The name of the picture that only this wish holds, what somebody sent along: it is to be deleted. Another generation's is not."""
    wish = _load(ballot).wish
    return wish.source_blob if wish.source_blob is not None and wish.parent_id is None else ""


def _dump(order: Order) -> str:
    """A wish, for whom it is, and who asks as the rules know them: all of an order that has no column."""
    asker = {name: getattr(order, name) for name in Order.__dataclass_fields__ if name not in COLUMNS}
    kept = {"wish": asdict(order.wish), "audience": asdict(order.audience), "asker": asker}
    return json.dumps(kept, ensure_ascii=False)


def _load(ballot: Ballot) -> Order:
    """The order of an open ballot, as agreed to."""
    kept = json.loads(ballot.wish)
    wish = Wish(**kept["wish"] | {"parameters": Parameters(**kept["wish"]["parameters"])})
    audience = Audience(**kept["audience"])
    asker: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept["asker"].items()}
    return Order(
        ballot.key, ballot.user_id, wish, ballot.price, ballot.address, ballot.community_id, agreed=True, audience=audience, **asker
    )


def _read(row: Any) -> Ballot:
    values = {name: row[name] for name in Ballot.__dataclass_fields__ if name not in ("state", "address")}
    return Ballot(**values, state=BallotState(row["state"]), address=Address(row["platform"], row["chat"]))
