"""Pools within the caller's transaction."""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import String, cast, delete, exists, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.models import Purpose
from core.access.service import Access
from core.ledger.errors import InDebt
from core.ledger.models import Leg, Posting, debt, entries, legs, wallet
from core.ledger.service import Ledger
from core.pools.errors import PoolExists, PoolNotFound, TooManySpenders
from core.pools.models import MAX_NAME, Community, Named, Policy, Spenders, communities, community_chats, community_spenders, pool
from core.pools.rules import match, read_quiet
from core.pools.sponsor import Sponsors
from core.users.errors import Frozen, UserNotFound
from core.users.models import User, users

TOP = 5
GIVING = ("contribute", "allowance", "topup", "refund", "refund_failed", "chargeback", "chargeback_won")
"""Kinds of entries by which people give to pools: by hand, by a refill, or by a payment, which may be taken back."""
PAGE = 500
"""Groups and servers that are looked at, at once."""
MAX_LISTED = 500
"""Members that a list of spenders has at most: it is read whole with each wish."""


class Pools:
    """One transaction's view of the pools."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def here(self, platform: str, place: str) -> Community | None:
        """The community that a group or server belongs to."""
        query = select(communities).join(community_chats, community_chats.c.community_id == communities.c.id)
        found = query.where(community_chats.c.platform == platform, community_chats.c.place == place)
        row = (await self._connection.execute(found)).mappings().first()
        return read(row) if row else None

    async def found(self, platform: str, place: str, name: str) -> Community:
        """A new community with this first group or server. Raises PoolExists."""
        row = {"name": " ".join(name.split())[:MAX_NAME] or place, "enabled": True, "created_at": self._now}
        made = read((await self._connection.execute(insert(communities).values(row).returning(*communities.c))).mappings().one())
        await self.add_chat(made.id, platform, place)
        return made

    async def add_chat(self, community_id: int, platform: str, place: str) -> None:
        """One more group or server of a community. Raises PoolExists when it belongs to one already, PoolNotFound."""
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        row = {"platform": platform, "place": place, "community_id": community_id, "added_at": self._now}
        made = insert_(community_chats).values(row).on_conflict_do_nothing().returning(community_chats.c.place)
        if (await self._connection.execute(made)).first() is None:
            raise PoolExists()

    async def move_chat(self, platform: str, old: str, new: str) -> None:
        """A group has another id from now on; its pool goes with it, and so does a rule that it pays there. Again, or where a pool was
        begun under the new id, nothing changes."""
        community = await self.here(platform, old)
        if community is None:
            return
        community = await self.lock(community.id)
        taken = community_chats.alias()
        begun = exists().where(taken.c.platform == platform, taken.c.place == new)
        here = (community_chats.c.platform == platform) & (community_chats.c.place == old)
        await self._connection.execute(update(community_chats).where(here, ~begun).values(place=new, gone_at=None))
        before, after = f"{platform}:{old}", f"{platform}:{new}"
        channels = tuple((after if key == before else key, name) for key, name in community.policy.channels)
        if channels != community.policy.channels:
            await self.set_policy(community, replace(community.policy, channels=channels))

    async def mark_chat(self, platform: str, place: str, *, gone: bool) -> None:
        """The bot was removed from a group or server, or is there (again). Its pool and what is in it stay as they are."""
        here = (community_chats.c.platform == platform) & (community_chats.c.place == place)
        changes = community_chats.c.gone_at.is_(None) if gone else community_chats.c.gone_at.is_not(None)
        await self._connection.execute(update(community_chats).where(here, changes).values(gone_at=self._now if gone else None))

    async def mark_chats(self, platform: str, known: Collection[str]) -> None:
        """The bot is in these groups or servers of a platform and in no other: what happened while nobody listened is made up for."""
        after, there, present = "", community_chats.c.platform == platform, set(known)
        while True:
            query = select(community_chats.c.place, community_chats.c.gone_at).where(there, community_chats.c.place > after)
            rows = (await self._connection.execute(query.order_by(community_chats.c.place).limit(PAGE))).all()
            gone = [place for place, since in rows if since is None and place not in present]
            back = [place for place, since in rows if since is not None and place in present]
            for places, since in ((gone, self._now), (back, None)):
                if places:
                    here = update(community_chats).where(there, community_chats.c.place.in_(places))
                    await self._connection.execute(here.values(gone_at=since))
            if len(rows) < PAGE:
                return
            after = rows[-1].place

    async def gone(self, numbers: Collection[int]) -> set[int]:
        """Those of these communities that have no group or server left with the bot in it."""
        if not numbers:
            return set()
        here = community_chats.c.community_id.in_(numbers) & community_chats.c.gone_at.is_(None)
        return set(numbers) - set(await self._connection.scalars(select(community_chats.c.community_id).where(here).distinct()))

    async def keep_code(self, community: Community, code: str) -> bool:
        """Keeps a code, good once for 10 minutes, by which another group joins; False when there were too many in an hour."""
        return await Access(self._connection, self._now).keep_code(Purpose.POOL, pool(community.id), code)

    async def use_code(self, code: str, platform: str, place: str) -> Community:
        """This group or server joins the community whose code it is. Raises CodeExpired, PoolExists."""
        address, _ = await Access(self._connection, self._now).use_code(Purpose.POOL, code)
        number = int(address.removeprefix("pool:"))
        await self.add_chat(number, platform, place)
        return await self.get(number)

    async def get(self, community_id: int) -> Community:
        """Raises PoolNotFound."""
        row = (await self._connection.execute(select(communities).where(communities.c.id == community_id))).mappings().first()
        if row is None:
            raise PoolNotFound()
        return read(row)

    async def lock(self, community_id: int) -> Community:
        """As it is now, and by nobody else changed until the transaction ends. Raises PoolNotFound."""
        locked = select(communities).where(communities.c.id == community_id).with_for_update()
        row = (await self._connection.execute(locked)).mappings().first()
        if row is None:
            raise PoolNotFound()
        return read(row)

    async def set_policy(self, community: Community, policy: Policy) -> Community:
        """Its rules from now on."""
        quiet = f"{policy.quiet[0]}-{policy.quiet[1]}" if policy.quiet else ""
        values = {
            "enabled": policy.enabled, "request_cap": policy.request_cap, "member_cap": policy.member_cap, "day_cap": policy.day_cap,
            "models": " ".join(sorted(policy.models)), "quiet": quiet,
            "spenders": policy.spenders, "prompts_since": policy.prompts_since, "vote_above": policy.vote_above, "votes": policy.votes,
            "roles": _dumped(policy.roles), "channels": _dumped(policy.channels), "presets": " ".join(sorted(policy.presets)),
        }  # fmt: skip
        await self._connection.execute(update(communities).where(communities.c.id == community.id).values(values))
        return await self.get(community.id)

    async def set_strict(self, community: Community, strict: bool) -> Community:
        """Whether further topics are forbidden there, from now on."""
        await self._connection.execute(update(communities).where(communities.c.id == community.id).values(strict=strict))
        return await self.get(community.id)

    async def listed(self, community: Community) -> dict[int, str]:
        """The members that its admins let spend, with their names, the newest first; a user who was joined counts as whom they joined."""
        return (await listed_of(self._connection, [community.id])).get(community.id, {})

    async def let(self, community: Community, user_id: int, *, may: bool) -> None:
        """Lets a user spend of the pool, or no longer; as it is already is no error. Raises TooManySpenders, UserNotFound."""
        await self.lock(community.id)
        theirs = (users.c.id == user_id) | (users.c.merged_into == user_id)
        if not may:
            here = community_spenders.c.community_id == community.id
            gone = here & community_spenders.c.user_id.in_(select(users.c.id).where(theirs))
            await self._connection.execute(delete(community_spenders).where(gone))
            return
        kept = await self._connection.scalar(select(func.coalesce(users.c.merged_into, users.c.id)).where(users.c.id == user_id))
        if kept is None:
            raise UserNotFound(user=user_id)
        listed = await self.listed(community)
        if kept in listed:
            return
        if len(listed) >= MAX_LISTED:
            raise TooManySpenders(limit=MAX_LISTED)
        row = {"community_id": community.id, "user_id": kept, "added_at": self._now}
        await self._connection.execute(insert(community_spenders).values(row))

    async def contribute(self, community: Community, user: User, amount: int, key: str) -> int:
        """Gives Credits of the wallet to the pool, for good, and what its sponsors add in the same entry; `key` makes it once.

        Returns what was added, in milli-credits. Raises Frozen, InDebt, InsufficientCredits.
        """
        if user.frozen:
            raise Frozen()
        await self.lock(community.id)  # in the order in which submits lock: the community, then its account
        name = f"contribute:{key}"
        if (await self._connection.execute(select(entries.c.id).where(entries.c.key == name))).first() is not None:
            return 0  # what sponsors add now may be another amount
        sponsors, ledger = Sponsors(self._connection, self._now), Ledger(self._connection, self._now)
        pledged = await sponsors.of(community.id, lock=True)
        people = {user.id} | {each.user_id for each in pledged}
        found = await ledger.lock([pool(community.id), *(of(person) for person in people for of in (wallet, debt))])
        if owed := found[debt(user.id)]:
            raise InDebt(debt=owed)
        wallets = {person: found[wallet(person)] for person in people if not found[debt(person)]}
        added = match(pledged, user.id, amount, wallets)
        total = sum(each for _, each in added)
        theirs = tuple(Leg(wallet(pledge.user_id), -each) for pledge, each in added)
        given = (Leg(wallet(user.id), -amount), Leg(pool(community.id), amount + total), *theirs)
        await ledger.post(Posting(name, "contribute", given))
        await sponsors.matched(added)
        return total

    async def top(self, community: Community, limit: int = TOP) -> list[tuple[str, int]]:
        """(name, milli-credits) of who gave most, each their own part of what was given together."""
        given, taken, theirs = _parts()
        amount = func.sum(-taken.c.amount)
        query = (
            select(users.c.name, amount)
            .select_from(given)
            .join(entries, (entries.c.id == given.c.entry_id) & entries.c.kind.in_(GIVING))
            .join(taken, theirs)
            .join(users, taken.c.account == literal("user:") + cast(users.c.id, String) + ":wallet")
            .where(given.c.account == pool(community.id))
            .group_by(users.c.id, users.c.name)
            .having(amount > 0)
            .order_by(amount.desc(), users.c.id)
            .limit(limit)
        )
        return [(name, int(total)) for name, total in await self._connection.execute(query)]

    async def given_by(self, user_id: int) -> list[tuple[Community, int]]:
        """The communities that a user gave to, under any number joined into theirs, and how much; also those whose groups are gone."""
        given, taken, own = _parts()
        theirs = select(literal("user:") + cast(users.c.id, String) + ":wallet").where(
            (users.c.id == user_id) | (users.c.merged_into == user_id)
        )
        query = (
            select(given.c.account, func.sum(-taken.c.amount))
            .join(entries, (entries.c.id == given.c.entry_id) & entries.c.kind.in_(GIVING))
            .join(taken, own & taken.c.account.in_(theirs))
            .where(given.c.account.like("pool:%"))
            .group_by(given.c.account)
            .order_by(given.c.account)
        )
        rows = (await self._connection.execute(query)).all()
        return [(await self.get(int(account.removeprefix("pool:"))), int(amount)) for account, amount in rows]


def _parts() -> tuple[Any, Any, Any]:
    """The pool's leg of an entry, a giver's, and what joins them: what is taken back is the other way round, and counts below zero."""
    given, taken = legs.alias(), legs.alias()
    return given, taken, (taken.c.entry_id == given.c.entry_id) & ((taken.c.amount < 0) == (given.c.amount > 0))


def read(row: Any) -> Community:
    """A row as a Community."""
    quiet = read_quiet(row["quiet"])
    policy = Policy(
        row["enabled"], row["request_cap"], row["member_cap"], row["day_cap"], frozenset(row["models"].split()), quiet,
        Spenders(row["spenders"]), row["prompts_since"], _named(row["roles"]), _named(row["channels"]), frozenset(row["presets"].split()),
        row["vote_above"], row["votes"],
    )  # fmt: skip
    return Community(row["id"], row["name"], policy, row["strict"])


def _dumped(chosen: Iterable[Named]) -> str:
    return json.dumps([list(each) for each in chosen], ensure_ascii=False)


def _named(text: str) -> tuple[Named, ...]:
    return tuple((key, name) for key, name in json.loads(text))


async def listed_of(connection: AsyncConnection, numbers: Collection[int]) -> dict[int, dict[int, str]]:
    """`Pools.listed` of many communities, by their numbers; nothing is asked of the database when there is none."""
    if not numbers:
        return {}
    kept = users.alias()
    query = (
        select(community_spenders.c.community_id, kept.c.id, kept.c.name)
        .join(users, users.c.id == community_spenders.c.user_id)
        .join(kept, kept.c.id == func.coalesce(users.c.merged_into, users.c.id))
        .where(community_spenders.c.community_id.in_(numbers))
        .order_by(community_spenders.c.added_at.desc(), kept.c.id)
    )
    found: dict[int, dict[int, str]] = {}
    for number, user_id, name in await connection.execute(query):
        found.setdefault(number, {})[user_id] = name
    return found
