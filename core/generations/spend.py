"""What communities' pools may still spend today, and what they would pay for instead. Rows are locked: parallel submits count in turn."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import BadParameter, Catalog
from core.db import DAY, SECOND
from core.errors import Refusal
from core.generations.models import Order, State, generations
from core.generations.rules import check
from core.ledger.service import Ledger
from core.pools.errors import PoolNotFound
from core.pools.models import Asker, Community, Spenders, communities, pool
from core.pools.rules import closed_to, refusal
from core.pools.service import listed_of, read


@dataclass(slots=True)
class Purse:
    """A pool within a batch of orders. `today`: milli-credits by member, held ones included; `listed`: the members that its admins let,
    where that counts; `seen`: of those who order over HTTP, who was seen there lately. `community` None: there is no such pool."""

    community: Community | None
    balance: int = 0
    today: dict[int, int] = field(default_factory=dict)
    listed: frozenset[int] = frozenset()
    seen: set[int] = field(default_factory=set)

    def refuses(self, order: Order, now: int) -> Refusal | None:
        """Why one more order is not paid for, or None."""
        if self.community is None:
            return PoolNotFound()
        member = {"listed": order.user_id in self.listed, "seen": order.user_id in self.seen}
        if order.remote and (closed := closed_to(self.community.policy, order=order.key, **member)) is not None:
            return closed
        return refusal(
            self.community.policy, order=order.key, model=order.wish.model or "", price=order.price, balance=self.balance,
            member_today=self.today.get(order.user_id, 0), all_today=sum(self.today.values()), asker=self._asker(order), now=now / SECOND,
            agreed=order.agreed,
        )  # fmt: skip

    def _asker(self, order: Order) -> Asker:
        listed = order.user_id in self.listed
        return Asker(order.by_member, order.by_admin, listed, order.roles, order.channels, order.preset)

    def take(self, order: Order, now: int) -> Refusal | None:
        """Takes the price of one more order, or says why not. The ledger's own floor stands behind it."""
        problem = self.refuses(order, now)
        if problem is None:
            self.balance -= order.price
            self.today[order.user_id] = self.today.get(order.user_id, 0) + order.price
        return problem


async def purses_of(connection: AsyncConnection, numbers: Collection[int], now: int, *, lock: bool = True) -> dict[int, Purse]:
    """The purses of these communities; nothing is asked of the database when there is none. `lock` False: to be shown alone."""
    if not numbers:
        return {}
    wanted = select(communities).where(communities.c.id.in_(numbers)).order_by(communities.c.id)
    found = {row["id"]: read(row) for row in (await connection.execute(wanted.with_for_update() if lock else wanted)).mappings()}
    balances = await Ledger(connection, now).balances([pool(number) for number in numbers])
    purses = {number: Purse(found.get(number), balances[pool(number)]) for number in numbers}
    asked = [number for number, each in found.items() if each.policy.spenders is Spenders.LIST]
    for number, members in (await listed_of(connection, asked)).items():
        purses[number].listed = frozenset(members)
    spent = case(
        (generations.c.state.in_((State.QUEUED, State.RUNNING)), generations.c.held),
        (generations.c.state.in_((State.DELIVERED, State.DISPUTED)), generations.c.paid),
        else_=0,
    )
    here = generations.c.community_id.in_(numbers) & (generations.c.created_at >= now - now % DAY)
    query = select(generations.c.community_id, generations.c.user_id, func.sum(spent)).where(here)
    for number, user_id, amount in await connection.execute(query.group_by(generations.c.community_id, generations.c.user_id)):
        purses[number].today[user_id] = int(amount)
    return purses


def cheapest(order: Order, purse: Purse, catalog: Catalog, today: date, now: int) -> tuple[str, int] | None:
    """The cheapest model on sale that takes all of the wish but its quality, and that the pool pays for now, with its price in
    milli-credits; None when there is none. `now` in microseconds."""
    parameters = replace(order.wish.parameters, quality=None)
    found = []
    for model in catalog.sale(today):
        try:
            wish, _, price = check(replace(order.wish, model=model, parameters=parameters), catalog, today)
        except BadParameter:
            continue
        if model != order.wish.model and purse.refuses(replace(order, wish=wish, price=price), now) is None:
            found.append((price, model))
    return (min(found)[1], min(found)[0]) if found else None
