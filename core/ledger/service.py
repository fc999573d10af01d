"""The ledger's use cases. Every movement of Credits goes through `Ledger.apply`.

One call looks with one statement, which locks what it touches in sorted order, decides in memory, and writes everything with one more
(SQLite, which has neither row locks nor writing CTEs, has one writer and takes one statement per table). Call it once per transaction: two
calls could lock in two orders.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Rows, one_of, run_rows
from core.ledger.models import HELD_SQL, Capture, Hold, HoldRow, Posting, Release, Step, accounts, is_guarded
from core.ledger.rules import Answer, Plan, accounts_of, decide

MAX_BATCH = 1000

_KEYS = Rows("keys", key="text")
_HOLD_KEYS = Rows("hold_keys", key="text")
_ADDRESSES = Rows("addresses", address="text", guarded="boolean")
_ENTRIES = Rows("new_entries", key="text", kind="text", content="text")
_LEGS = Rows("new_legs", key="text", position="int", account="text", amount="bigint", balance_after="bigint")
_HOLDS = Rows("new_holds", key="text", payer="text", amount="bigint", expires_at="bigint")
_CLOSED = Rows("closed", hold="text", key="text")
_DELTAS = Rows("deltas", address="text", delta="bigint")

# One look at everything that a batch may touch, locked in sorted order. A key that another transaction commits while this one waits for a
# lock is not seen here; the unique key stops the write then, the transaction is run again (`is_transient`), and the second look sees it.
_LOOK = (
    """
WITH hold AS (
  SELECT key, payer, amount, closed_by FROM holds WHERE key IN (SELECT key FROM {hold_keys}) ORDER BY key {for_update}
), account AS (
  SELECT address, balance FROM accounts
  WHERE address IN (SELECT address FROM {addresses} UNION SELECT payer FROM hold UNION SELECT """
    + HELD_SQL
    + """ FROM hold)
  ORDER BY address {for_update}
)
SELECT 1, key, payer, amount, closed_by IS NOT NULL FROM hold
UNION ALL SELECT 2, address, NULL, balance, NULL FROM account
UNION ALL SELECT 3, key, content, NULL, NULL FROM entries WHERE key IN (SELECT key FROM {keys})"""
)
_OPEN_ACCOUNTS = """
INSERT INTO accounts (address, guarded) SELECT address, guarded FROM {addresses} WHERE true ORDER BY address
ON CONFLICT (address) DO NOTHING"""

_WRITE_POSTGRESQL = """
WITH entry AS (
  INSERT INTO entries (key, kind, content, at)
  SELECT key, kind, content, CAST(:at AS bigint) FROM {new_entries} RETURNING id, key
), unseal AS (
  INSERT INTO unsealed (entry_id) SELECT id FROM entry
), leg AS (
  INSERT INTO legs (entry_id, position, account, amount, balance_after)
  SELECT entry.id, l.position, l.account, l.amount, l.balance_after FROM (SELECT * FROM {new_legs}) AS l JOIN entry ON entry.key = l.key
), hold AS (
  INSERT INTO holds (entry_id, key, payer, amount, expires_at, closed_by)
  SELECT entry.id, h.key, h.payer, h.amount, h.expires_at, closer.id FROM (SELECT * FROM {new_holds}) AS h JOIN entry ON entry.key = h.key
  LEFT JOIN {closed} ON closed.hold = h.key LEFT JOIN entry AS closer ON closer.key = closed.key
), closing AS (
  UPDATE holds SET closed_by = entry.id FROM {closed} JOIN entry ON entry.key = closed.key
  WHERE holds.key = closed.hold AND holds.closed_by IS NULL
)
UPDATE accounts SET balance = balance + deltas.delta FROM {deltas} WHERE accounts.address = deltas.address"""

_WRITE_SQLITE = (
    (_ENTRIES, "INSERT INTO entries (key, kind, content, at) SELECT key, kind, content, :at FROM {new_entries}"),
    (_ENTRIES, "INSERT INTO unsealed (entry_id) SELECT entries.id FROM {new_entries} JOIN entries ON entries.key = new_entries.key"),
    (
        _LEGS,
        """INSERT INTO legs (entry_id, position, account, amount, balance_after)
        SELECT entries.id, position, account, amount, balance_after FROM {new_legs} JOIN entries ON entries.key = new_legs.key""",
    ),
    (
        _HOLDS,
        """INSERT INTO holds (entry_id, key, payer, amount, expires_at)
        SELECT entries.id, new_holds.key, payer, amount, expires_at FROM {new_holds} JOIN entries ON entries.key = new_holds.key""",
    ),
    (
        _CLOSED,
        """UPDATE holds SET closed_by = entries.id FROM {closed} JOIN entries ON entries.key = closed.key
        WHERE holds.key = closed.hold AND holds.closed_by IS NULL""",
    ),
    (_DELTAS, "UPDATE accounts SET balance = balance + deltas.delta FROM {deltas} WHERE accounts.address = deltas.address"),
)
_BALANCES = select(accounts.c.address, accounts.c.balance).where(one_of(accounts.c.address, "addresses"))
_LOCK = _BALANCES.order_by(accounts.c.address).with_for_update()


class Ledger:
    """The ledger within one transaction. `now` in microseconds since 1970."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._now = now

    async def post_many(self, postings: Sequence[Posting]) -> list[Answer]:
        """Records balanced movements; per item an Entry, or InsufficientCredits or KeyReused."""
        return await self.apply(postings)

    async def hold_many(self, wanted: Sequence[Hold]) -> list[Answer]:
        """Reserves Credits; per item an Entry, or InsufficientCredits or KeyReused."""
        return await self.apply(wanted)

    async def capture_many(self, captures: Sequence[Capture]) -> list[Answer]:
        """Takes holds; per item an Entry, or HoldNotFound, HoldClosed, CaptureExceedsHold or KeyReused."""
        return await self.apply(captures)

    async def release_many(self, releases: Sequence[Release]) -> list[Answer]:
        """Gives holds back; per item an Entry, or HoldNotFound, HoldClosed or KeyReused."""
        return await self.apply(releases)

    async def apply(self, steps: Sequence[Step]) -> list[Answer]:
        """Does many steps of any kind, in order, and answers each. Refusals are answers, not exceptions: one never touches another.

        At most MAX_BATCH steps. Holds are locked before accounts, each sorted, so that two batches never wait for one another in a ring.
        """
        if not steps:
            return []
        assert len(steps) <= MAX_BATCH
        balances, seen, holds = await self._look(steps)
        if missing := {*filter(is_guarded, accounts_of(steps, holds))} - balances.keys():
            await self.open_accounts(missing)
            balances, seen, holds = await self._look(steps)
        plan = decide(steps, balances, seen, holds)
        if plan.entries:
            await self._write(plan)
        return plan.answers

    async def post(self, posting: Posting) -> Answer:
        """`post_many` of one; raises the refusal instead of returning it."""
        (answer,) = await self.apply([posting])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def open_accounts(self, addresses: Iterable[str]) -> None:
        """Makes the rows of accounts that do not exist yet."""
        rows = [(address, is_guarded(address)) for address in sorted(addresses)]
        await run_rows(self._connection, _OPEN_ACCOUNTS, {_ADDRESSES: rows})

    async def lock(self, addresses: Sequence[str]) -> dict[str, int]:
        """Balances of guarded accounts, in milli-credits, which nobody else can change until the transaction ends."""
        await self.open_accounts(addresses)
        return {address: balance for address, balance in await self._connection.execute(_LOCK, {"addresses": addresses})}

    async def balances(self, addresses: Iterable[str]) -> dict[str, int]:
        """Balances of guarded accounts, in milli-credits; 0 where there is no such account."""
        wanted = list(addresses)
        found = {address: balance for address, balance in await self._connection.execute(_BALANCES, {"addresses": wanted})}
        return {address: found.get(address, 0) for address in wanted}

    async def _look(self, steps: Sequence[Step]) -> tuple[dict[str, int], dict[str, str], dict[str, HoldRow]]:
        """Balances of guarded accounts and the named holds, both locked, and the contents of the entries that exist."""
        named = {step.hold for step in steps if isinstance(step, Capture | Release)}
        wanted: dict[Rows, Sequence[Sequence[Any]]] = {
            _KEYS: [(key,) for key in {step.key for step in steps}],
            _HOLD_KEYS: [(key,) for key in named],
            _ADDRESSES: [(each, True) for each in sorted(filter(is_guarded, accounts_of(steps, {})))],
        }
        balances: dict[str, int] = {}
        seen: dict[str, str] = {}
        holds: dict[str, HoldRow] = {}
        for kind, name, detail, amount, closed in await run_rows(self._connection, _LOOK, wanted):
            if kind == 1:
                holds[name] = HoldRow(name, detail, amount, bool(closed))
            elif kind == 2:
                balances[name] = amount
            else:
                seen[name] = detail
        return balances, seen, holds

    async def _write(self, plan: Plan) -> None:
        rows: dict[Rows, Sequence[Sequence[Any]]] = {
            _ENTRIES: plan.entries,
            _LEGS: plan.legs,
            _HOLDS: plan.holds,
            _CLOSED: plan.closed,
            _DELTAS: sorted(plan.deltas.items()),
        }
        if self._dialect == "postgresql":
            await run_rows(self._connection, _WRITE_POSTGRESQL, rows, at=self._now)
            return
        for item, template in _WRITE_SQLITE:
            if listed := rows[item]:
                await run_rows(self._connection, template, {item: listed}, **({"at": self._now} if ":at" in template else {}))


def raise_first_refusal(answers: Iterable[Answer]) -> None:
    """For callers whose steps stand or fall together: raises the first refusal among the answers."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
