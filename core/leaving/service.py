"""Leaving: what is kept of a person in one document, and how they are erased. The ledger is kept, the person is gone."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.models import api_tokens, mailed_codes, passwords, sessions
from core.acts.service import Acts
from core.disputes.models import State as DisputeState
from core.disputes.models import disputes
from core.generations.models import State, generations
from core.generations.service import Generations
from core.generations.vote import Ballots
from core.joining.errors import AdminApart
from core.leaving.errors import NotYet
from core.leaving.models import CHARTS, KINDS, chart_name, doomed_blobs
from core.ledger.errors import InDebt
from core.ledger.models import debt, earnings, pending, wallet
from core.ledger.service import Ledger
from core.ledger.statement import MAX_LINES, statement
from core.mailbox.models import outbox
from core.payments.models import payments
from core.payouts.models import OPEN_STATES, payouts
from core.pools.models import BallotState, ballots, community_spenders, pledges, refills
from core.pools.refill import Refills
from core.pools.sponsor import Sponsors
from core.presets.models import PresetState, presets
from core.resources.models import State as ResourceState
from core.resources.models import resources
from core.users.models import User, identities, users
from core.vault.service import wipe

GONE = "gone"
BURIED_AT_ONCE = 50
WHOLE = 10_000
"""Rows of one kind that a document holds at most; who has more asks the operator."""
_GENERATION = ("id", "created_at", "model", "operation", "prompt", "parameters", "state", "paid", "seed", "width", "height")
_PAYMENT = ("id", "created_at", "rail", "package", "credits", "amount", "currency", "state")
_BALLOT = ("id", "community_id", "price", "wish", "state", "created_at")
_PLEDGE = ("id", "community_id", "percent", "most", "matched", "created_at", "ended_at")
_REFILL = ("id", "community_id", "level", "every", "most", "given", "created_at", "ended_at")
_RESOURCE = ("id", "provider", "label", "state", "created_at")


class Leaving:
    """One transaction's view of leaving."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def document(self, user: User) -> dict[str, Any]:
        """All that is kept of a user, as JSON has it: times in microseconds since 1970, amounts in milli-credits. Never a key."""
        accounts = {"wallet": wallet(user.id), "pending": pending(user.id), "earnings": earnings(user.id), "debt": debt(user.id)}
        balances = await Ledger(self._connection, self._now).balances(accounts.values())
        return {
            "user": {"id": user.id, "name": user.name, "language": user.locale, "frozen": user.frozen},
            "identities": await self._rows(identities, ("platform", "external_id", "created_at"), identities.c.user_id == user.id),
            "balances": {name: balances[account] for name, account in accounts.items()},
            "movements": {name: await self._movements(account) for name, account in accounts.items()},
            "generations": await self._rows(generations, _GENERATION, generations.c.user_id == user.id),
            "payments": await self._rows(payments, _PAYMENT, payments.c.user_id == user.id),
            "ballots": await self._rows(ballots, _BALLOT, ballots.c.user_id == user.id),
            "pledges": await self._rows(pledges, _PLEDGE, pledges.c.user_id == user.id),
            "refills": await self._rows(refills, _REFILL, refills.c.user_id == user.id),
            "resources": await self._rows(resources, _RESOURCE, resources.c.owner_id == user.id),
            "payouts": await self._rows(payouts, ("id", "amount", "state", "reference", "created_at"), payouts.c.user_id == user.id),
            "presets": await self._rows(presets, ("name", "version", "title", "template"), presets.c.author_id == user.id),
            "disputes": await self._rows(disputes, ("id", "generation_id", "kind", "state", "reason"), disputes.c.user_id == user.id),
        }

    async def erase(self, user: User) -> None:
        """Takes the person out: identities, name, prompts, sessions, tokens, password, keys, presets and covers; what waits is cancelled.

        The bytes of their pictures are deleted by a worker. Entries stay, and so what is left on the accounts, for nobody.

        Raises AdminApart, InDebt, NotYet while something runs or is in dispute.
        """
        await self._connection.execute(select(users.c.id).where(users.c.id == user.id).with_for_update())
        if user.is_admin:
            raise AdminApart()
        if owed := (await Ledger(self._connection, self._now).balances([debt(user.id)]))[debt(user.id)]:
            raise InDebt(debt=owed)
        await Sponsors(self._connection, self._now).end_all(user.id)  # before any account, as gifts do
        await Refills(self._connection, self._now).end_all(user.id)
        await self._end_work(user.id)
        await Ballots(self._connection, self._now).forget(user.id)
        mine = generations.c.user_id == user.id
        own = case((generations.c.parent_id.is_(None), generations.c.source_blob))  # what it was drawn from may be another's
        named = (await self._connection.execute(select(generations.c.blob, own).where(mine))).all()
        known = select(identities.c.external_id, identities.c.platform, identities.c.chat).where(identities.c.user_id == user.id)
        places = (await self._connection.execute(known)).all()
        await self._connection.execute(
            update(generations).where(mine).values(prompt="", parameters="{}", digest=None, platform=None, chat=None)
        )
        for table, column in (
            (identities, identities.c.user_id),
            (passwords, passwords.c.user_id),
            (sessions, sessions.c.user_id),
            (community_spenders, community_spenders.c.user_id),
        ):
            await self._connection.execute(delete(table).where(column == user.id))
        await self._connection.execute(
            delete(mailed_codes).where(mailed_codes.c.address.in_([*(place[0] for place in places), f"user:{user.id}"]))
        )
        living = (api_tokens.c.user_id == user.id) & api_tokens.c.revoked_at.is_(None)
        await self._connection.execute(update(api_tokens).where(living).values(revoked_at=self._now))
        listed = (presets.c.author_id == user.id) & (presets.c.state == PresetState.LISTED)
        await self._connection.execute(update(presets).where(listed).values(state=PresetState.WITHDRAWN))
        theirs = presets.c.author_id == user.id
        covers = (await self._connection.scalars(select(presets.c.cover).where(theirs, presets.c.cover.is_not(None)))).all()
        await self._connection.execute(update(presets).where(theirs).values(cover=None))
        for _, platform, chat in places:
            await self._connection.execute(delete(outbox).where(outbox.c.platform == platform, outbox.c.chat == chat))
        await self._connection.execute(update(users).where(users.c.id == user.id).values(name=GONE, frozen=True, roles=0))
        await Acts(self._connection, self._now).record(None, "erase", f"user:{user.id}", "by the person's own wish")
        charts = [f"{CHARTS}/{chart_name(kind, user.id)}.png" for kind in KINDS]
        await self.doom([*covers, *charts, *(name for pair in named for name in pair if name)])

    async def doom(self, names: Iterable[str]) -> None:
        """A worker deletes the bytes of these pictures."""
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        if rows := [{"name": name} for name in sorted(set(names))]:
            await self._connection.execute(insert_(doomed_blobs).on_conflict_do_nothing(), rows)

    async def doom_uploads(self) -> None:
        """Pictures that were sent along with wishes which ended without being drawn are for nobody any more."""
        ended = (ballots.c.state != BallotState.OPEN) & (ballots.c.wish != "")
        query = select(ballots.c.id, ballots.c.wish).where(ended).order_by(ballots.c.id).limit(BURIED_AT_ONCE)
        rows = (await self._connection.execute(query.with_for_update(skip_locked=True))).all()
        if rows:
            await self.doom(name for _, name in rows)
            await self._connection.execute(update(ballots).where(ballots.c.id.in_([id_ for id_, _ in rows])).values(wish=""))

    async def doomed(self) -> list[str]:
        """Pictures whose bytes are to be deleted, some at a time."""
        return list(await self._connection.scalars(select(doomed_blobs.c.name).order_by(doomed_blobs.c.name).limit(BURIED_AT_ONCE)))

    async def buried(self, names: Sequence[str]) -> None:
        """Their bytes are gone."""
        await self._connection.execute(delete(doomed_blobs).where(doomed_blobs.c.name.in_(names)))

    async def _end_work(self, user_id: int) -> None:
        """Cancels what waits and revokes what is lent. Raises NotYet where something runs or is in dispute."""
        busy = generations.c.state.in_((State.RUNNING, State.DISPUTED)) & (generations.c.user_id == user_id)
        opened = (disputes.c.user_id == user_id) & (disputes.c.state == DisputeState.OPEN)
        lent = resources.c.owner_id == user_id
        calling = select(resources.c.id).where(lent, resources.c.in_flight > 0)
        leaves = (payouts.c.user_id == user_id) & payouts.c.state.in_(OPEN_STATES)
        running = (select(generations.c.id).where(busy), select(disputes.c.id).where(opened), select(payouts.c.id).where(leaves))
        for query in (*running, calling):
            if (await self._connection.execute(query.limit(1))).first() is not None:
                raise NotYet()
        await Generations(self._connection, self._now).cancel_all(user_id)
        for number in (await self._connection.scalars(select(resources.c.id).where(lent))).all():
            await wipe(self._connection, f"resource:{number}")
        ended = lent & resources.c.state.not_in((ResourceState.WITHDRAWN, ResourceState.REVOKED))
        await self._connection.execute(update(resources).where(ended).values(state=ResourceState.REVOKED))

    async def _rows(self, table: Any, names: tuple[str, ...], where: Any) -> list[dict[str, Any]]:
        rows = await self._connection.execute(select(*(table.c[name] for name in names)).where(where).limit(WHOLE))
        return [dict(row) for row in rows.mappings()]

    async def _movements(self, account: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        place = None
        while len(found) < WHOLE and (lines := await statement(self._connection, account, MAX_LINES - 1, place)):
            found += [{"at": line.at, "kind": line.kind, "amount": line.amount, "after": line.balance_after} for line in lines]
            place = (lines[-1].entry, lines[-1].position)
        return found
