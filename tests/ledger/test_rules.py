"""The decision over a batch against a simple model: one step at a time, on plain dictionaries."""

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from core.ledger.errors import CaptureExceedsHold, HoldClosed, HoldNotFound, InsufficientCredits, KeyReused
from core.ledger.models import FEES, GRANTS, Capture, Entry, Hold, HoldRow, Leg, Posting, Release, Step, held_account, is_guarded, wallet
from core.ledger.rules import Plan, accounts_of, content_of, decide

START = 1_000
USERS = (1, 2, 3)

_users = st.sampled_from(USERS)
_holds = st.sampled_from(["h1", "h2", "h3"])
_keys = st.sampled_from([f"k{i}" for i in range(8)])
_amounts = st.integers(1, 700)


def _posting(key: str, giver: int, taker: int, amount: int) -> Posting:
    return Posting(key, "move", (Leg(wallet(giver), -amount), Leg(wallet(taker), amount)))


_steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(_keys, st.permutations(USERS), _amounts).map(lambda t: _posting(t[0], t[1][0], t[1][1], t[2])),
    st.builds(lambda key, user, amount: Posting(key, "grant", (Leg(GRANTS, -amount), Leg(wallet(user), amount))), _keys, _users, _amounts),
    st.builds(lambda key, user, amount: Hold(key, wallet(user), amount, 1), _holds, _users, _amounts),
    st.builds(
        lambda key, hold, user, amount, fee: Capture(key, hold, (Leg(f"user:{user}:pending", amount), Leg(FEES, fee))),
        _keys, _holds, _users, _amounts, st.integers(0, 100),
    ),
    st.builds(Release, _keys, _holds, st.sampled_from(["release", "expire"])),
)  # fmt: skip


@dataclass
class _Model:
    """The ledger as one would explain it."""

    money: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    done: dict[str, Step] = field(default_factory=dict)
    open: dict[str, tuple[str, int]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    def do(self, step: Step) -> type:
        if step.key in self.done:
            return Entry if self.done[step.key] == step else KeyReused
        answer = self._try(step)
        if answer is Entry:
            self.done[step.key] = step
        return answer

    def _try(self, step: Step) -> type:
        if isinstance(step, Posting):
            net: defaultdict[str, int] = defaultdict(int)
            for account, amount in step.legs:
                net[account] += amount
            if any(is_guarded(each) and self.money[each] + change < 0 for each, change in net.items()):
                return InsufficientCredits
            for account, change in net.items():
                self.money[account] += change
            return Entry
        if isinstance(step, Hold):
            if self.money[step.payer] < step.amount:
                return InsufficientCredits
            self.money[step.payer] -= step.amount
            self.money[held_account(step.payer)] += step.amount
            self.open[step.key] = (step.payer, step.amount)
            return Entry
        if step.hold in self.closed:
            return HoldClosed
        if step.hold not in self.open:
            return HoldNotFound
        payer, amount = self.open[step.hold]
        shares = step.shares if isinstance(step, Capture) else ()
        given_away = sum(share.amount for share in shares)
        if given_away > amount:
            return CaptureExceedsHold
        del self.open[step.hold]
        self.closed.add(step.hold)
        self.money[held_account(payer)] -= amount
        self.money[payer] += amount - given_away
        for share in shares:
            self.money[share.account] += share.amount
        return Entry


@dataclass
class _Rows:
    """What a database would hold after the plans so far."""

    balances: dict[str, int]
    seen: dict[str, str] = field(default_factory=dict)
    holds: dict[str, HoldRow] = field(default_factory=dict)

    def write(self, plan: Plan) -> None:
        for account, change in plan.deltas.items():
            self.balances[account] = self.balances.get(account, 0) + change
        self.seen |= {key: content for key, _, content in plan.entries}
        self.holds |= {key: HoldRow(key, payer, amount, closed=False) for key, payer, amount, _ in plan.holds}
        for hold, _ in plan.closed:
            row = self.holds[hold]
            self.holds[hold] = HoldRow(hold, row.payer, row.amount, closed=True)


@given(st.lists(st.lists(_steps, min_size=1, max_size=8), max_size=5))
def test_batches_answer_and_move_like_single_steps_on_a_simple_model(batches: list[list[Step]]) -> None:
    model, rows = _Model(), _Rows({wallet(user): START for user in USERS})
    model.money.update(rows.balances)
    floorless: defaultdict[str, int] = defaultdict(int)
    for batch in batches:
        touched = {each for each in accounts_of(batch, rows.holds) if is_guarded(each)}
        balances = dict.fromkeys(touched, 0) | rows.balances
        plan = decide(batch, balances, rows.seen, rows.holds)
        rows.write(plan)
        assert [type(answer) for answer in plan.answers] == [model.do(step) for step in batch]
        for key in {leg[0] for leg in plan.legs}:
            assert sum(amount for entry, _, _, amount, _ in plan.legs if entry == key) == 0
        for _, _, account, amount, after in plan.legs:
            assert (after is None) is not is_guarded(account)
            assert after is None or after >= 0
            if not is_guarded(account):
                floorless[account] += amount
    expected = {account: amount for account, amount in model.money.items() if amount}
    assert {account: amount for account, amount in (rows.balances | floorless).items() if amount} == expected
    assert sum(expected.values()) == START * len(USERS)


@given(_steps, _steps)
def test_only_the_same_request_has_the_same_content(one: Step, other: Step) -> None:
    same_but_for_the_key = type(one) is type(other) and all(
        getattr(one, name) == getattr(other, name) for name in type(one).__dataclass_fields__ if name != "key"
    )
    assert (content_of(one) == content_of(other)) is same_but_for_the_key


def test_the_time_of_expiry_is_no_part_of_the_content() -> None:
    assert content_of(Hold("h", wallet(1), 5, 1)) == content_of(Hold("h", wallet(1), 5, 2))
