"""Many committed transactions at once: no Credit is spent twice and none is lost."""

import asyncio
import random

from core.db import Database
from core.errors import Refusal
from core.ledger.errors import CaptureExceedsHold, HoldClosed, HoldNotFound, InsufficientCredits, KeyReused
from core.ledger.models import FEES, Capture, Entry, Hold, Leg, Posting, Release, Step, earnings, pending, wallet
from core.ledger.seal import floorless_balances
from tests.ledger.books import LATER, apply, balance, broken, grant, seal_all

WALLET, HELD = wallet(1), "user:1:held"


async def test_sixty_four_holds_at_once_on_a_wallet_for_ten(database: Database) -> None:
    await grant(database, 1, 10_000)
    answers = await asyncio.gather(*(apply(database, Hold(f"h{i}", WALLET, 1_000, LATER)) for i in range(64)))
    kept = [answer for (answer,) in answers if isinstance(answer, Entry)]
    refused = [answer for (answer,) in answers if isinstance(answer, InsufficientCredits)]
    assert (len(kept), len(refused)) == (10, 54)
    assert (await balance(database, WALLET), await balance(database, HELD)) == (0, 10_000)
    await seal_all(database)
    assert not await broken(database)


async def test_one_hold_is_captured_or_released_once_whoever_tries(database: Database) -> None:
    await grant(database, 1, 10_000)
    await apply(database, Hold("h", WALLET, 4_000, LATER))
    shares = (Leg(pending(2), 3_400), Leg(FEES, 600))
    rivals: list[Step] = [*(Capture(f"c{i}", "h", shares) for i in range(12)), *(Release(f"r{i}", "h") for i in range(12))]
    answers = [answer for (answer,) in await asyncio.gather(*(apply(database, each) for each in rivals))]
    assert sum(isinstance(answer, Entry) for answer in answers) == 1
    assert sum(isinstance(answer, HoldClosed) for answer in answers) == 23
    assert await balance(database, HELD) == 0
    assert await balance(database, WALLET) + await balance(database, pending(2)) in (10_000, 6_000 + 3_400)
    await seal_all(database)
    assert not await broken(database)


async def test_parallel_replays_of_one_key_are_one_entry(database: Database) -> None:
    await grant(database, 1, 10_000)
    hold = Hold("h", WALLET, 4_000, LATER)
    answers = [answer for (answer,) in await asyncio.gather(*(apply(database, hold) for _ in range(16)))]
    assert sorted(answer.replayed for answer in answers if isinstance(answer, Entry)) == [False] + [True] * 15
    assert await balance(database, WALLET) == 6_000
    capture = Capture("c", "h", (Leg(FEES, 4_000),))
    assert await apply(database, capture) == [Entry("c")]
    assert await apply(database, capture) == [Entry("c", replayed=True)]
    assert await apply(database, hold) == [Entry("h", replayed=True)]
    await seal_all(database)
    assert not await broken(database)
    async with database.read() as connection:
        assert (await floorless_balances(connection))[FEES] == 4_000


async def test_a_known_key_with_another_content_is_refused(database: Database) -> None:
    await grant(database, 1, 10_000)
    await apply(database, Hold("h", WALLET, 4_000, LATER))
    for other in (Hold("h", WALLET, 4_001, LATER), Hold("h", wallet(2), 4_000, LATER), Release("h", "h")):
        (answer,) = await apply(database, other)
        assert isinstance(answer, KeyReused) and answer.facts == {"key": "h"}
    assert await balance(database, WALLET) == 6_000


async def test_refusals_name_their_reason_and_touch_nobody_else(database: Database) -> None:
    await grant(database, 1, 10_000)
    answers = await apply(
        database,
        Hold("a", WALLET, 6_000, LATER),
        Hold("b", WALLET, 6_000, LATER),
        Capture("c", "a", (Leg(FEES, 6_001),)),
        Release("d", "nothing"),
        Hold("e", WALLET, 4_000, LATER),
    )
    kinds = [type(answer) for answer in answers]
    assert kinds == [Entry, InsufficientCredits, CaptureExceedsHold, HoldNotFound, Entry]
    short = answers[1]
    assert isinstance(short, Refusal) and short.facts == {"account": WALLET, "needed": 6_000, "available": 4_000}
    assert (await balance(database, WALLET), await balance(database, HELD)) == (0, 10_000)


async def test_what_a_capture_leaves_over_returns(database: Database) -> None:
    await grant(database, 1, 10_000)
    steps = (Hold("h", WALLET, 4_000, LATER), Capture("c", "h", (Leg(pending(2), 2_550), Leg(FEES, 450))))
    assert await apply(database, *steps) == [Entry("h"), Entry("c")]
    assert (await balance(database, WALLET), await balance(database, HELD)) == (7_000, 0)
    await seal_all(database)
    assert not await broken(database)


def _random_batch(seed: int, holds: int) -> list[Step]:
    """Holds, captures, releases and payments between six people, that name one another's holds too."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for number in range(rng.randint(1, 12)):
        user, other, hold, key = rng.randint(1, 6), rng.randint(1, 6), f"h{rng.randrange(holds)}", f"s{seed}.{number}"
        match rng.randrange(5):
            case 0 | 1:
                steps.append(Hold(rng.choice([key, key, hold]), wallet(user), rng.randint(1, 3_000), LATER))
            case 2:
                steps.append(Capture(key, hold, (Leg(pending(other), rng.randint(1, 1_500)), Leg(FEES, rng.randint(0, 300)))))
            case 3:
                steps.append(Release(key, hold, rng.choice(["release", "expire"])))
            case _:
                amount = rng.randint(1, 500)
                steps.append(Posting(key, "release", (Leg(pending(user), -amount), Leg(earnings(other), amount))))
    return steps


async def test_mixed_random_batches_at_once_leave_clean_books(database: Database) -> None:
    for user in range(1, 7):
        await grant(database, user, 20_000)
    for number in range(36):
        await apply(database, Hold(f"h{number}", wallet(1 + number % 6), 1_500, LATER))
    batches = [_random_batch(seed, holds=36) for seed in range(60)]
    batches.append([Release("r", "nothing")])
    answers = await asyncio.gather(*(apply(database, *batch) for batch in batches), seal_all(database))
    done = [answer for batch in answers if batch for answer in batch]
    assert {Entry, KeyReused, HoldClosed, HoldNotFound} <= {type(answer) for answer in done}
    await seal_all(database)
    assert not await broken(database)
    accounts = [f"user:{user}:{kind}" for user in range(1, 7) for kind in ("wallet", "held", "pending", "earnings")]
    async with database.read() as connection:
        fees = (await floorless_balances(connection)).get(FEES, 0)
    assert sum([await balance(database, each) for each in accounts]) + fees == 6 * 20_000
