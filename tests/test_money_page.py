"""docs/money.md is what the code does: its tables of splits and verdicts are read, and reckoned again."""

import re
from pathlib import Path

import pytest

from core.config import Settings
from core.disputes.rules import compensation, refund, refund_part, release_again, turn_around
from core.generations.rules import split_price
from core.ledger.models import BAD_DEBT, FEES, INSURANCE, Leg, Posting, debt, earnings, pending, wallet
from core.payments.models import external
from core.payments.rules import Purse, crediting, pooling, unpooling
from core.pools.models import pool

PAGE = (Path(__file__).parents[1] / "docs" / "money.md").read_text(encoding="utf-8")
CREATOR, MINER, AUTHOR = 1, 2, 3
PAYER = wallet(CREATOR)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    below = PAGE.partition(f"## {heading}\n")[2]
    rows = re.search(r"(?:^\|.*\|\n)+", below, re.MULTILINE)
    assert rows, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[0].splitlines()[2:]]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def moved(*postings: Posting | None) -> dict[str, int]:
    """What each account gets of these entries."""
    sums: dict[str, int] = {}
    for posting in filter(None, postings):
        for leg in posting.legs:
            sums[leg.account] = sums.get(leg.account, 0) + leg.amount
    return sums


@pytest.mark.parametrize("row", table("Who gets what of a picture"), ids=lambda row: row[1])
def test_splits(row: list[str]) -> None:
    price, made = number(row[0]), row[1]
    author = None if "without" in made else MINER if "miner's own" in made else AUTHOR
    settings = Settings()
    legs = dict(split_price(price, MINER, settings.miner_percent, author, settings.royalty_percent))
    assert [legs.get(pending(MINER), 0), legs.get(pending(AUTHOR), 0), legs[FEES]] == [number(cell) for cell in row[2:]]


def test_credits_bought_for_a_pool() -> None:
    """Each step of the table follows from the one before it."""
    (*rows,) = ([number(cell) for cell in row[1:]] for row in table("Credits bought for a pool"))
    steps = [row[0] for row in table("Credits bought for a pool")]
    assert steps == ["before", "bought for the pool", "the pool has paid for 20 pictures", "charged back", "the chargeback is won"]
    accounts = (pool(1), wallet(CREATOR), debt(CREATOR), BAD_DEBT, external("stripe"))
    now = dict(zip(accounts, rows[0], strict=True))
    taken = 0
    for step, expected in zip(steps[1:], rows[1:], strict=True):
        purse = Purse(now[wallet(CREATOR)], 0, now[debt(CREATOR)], now[pool(1)])
        if step.startswith("bought"):
            legs = pooling(CREATOR, 1, "stripe", 100_000)
        elif step.startswith("the pool"):
            legs = (Leg(pool(1), -20 * 4_500),)
        elif step == "charged back":
            legs, taken = unpooling(CREATOR, 1, "stripe", 100_000, purse)
        else:
            legs = pooling(CREATOR, 1, "stripe", taken) + crediting(CREATOR, "stripe", 100_000 - taken, purse)
        for leg in legs:
            now[leg.account] = now.get(leg.account, 0) + leg.amount
        assert [now[account] for account in accounts] == expected, step


def postings(name: str) -> tuple[Posting | None, ...]:
    """The entries of a verdict, by its name in the table."""
    shares: list[Leg] = list(split_price(4_500, MINER, 85, AUTHOR, 5))
    amount = number(name.rpartition(" ")[2]) if "," in name else 0
    if name.startswith("refund a part"):
        return refund_part(7, PAYER, shares, amount)
    if name.startswith("refund"):
        return (refund(7, PAYER, shares),)
    return (compensation(7, CREATOR, amount),) if name.startswith("goodwill") else ()


ACCOUNTS = (PAYER, pending(MINER), pending(AUTHOR), FEES, INSURANCE, earnings(MINER))


@pytest.mark.parametrize("row", table("Verdicts"), ids=lambda row: row[0])
def test_verdicts(row: list[str]) -> None:
    found = moved(*postings(row[0].removeprefix("reject, then ")))  # a rejection moves nothing
    assert [found.get(account, 0) for account in ACCOUNTS] == [number(cell) for cell in row[1:]]
    assert sum(found.values()) == 0


@pytest.mark.parametrize("row", table("Verdicts that are taken back"), ids=lambda row: row[0])
def test_verdicts_that_are_taken_back(row: list[str]) -> None:
    given = postings(row[0])[0]
    assert given is not None
    back = turn_around(given.key, given.legs, {})
    again = moved(back, release_again(7, back) if "part" in row[0] else None)
    assert [again.get(account, 0) for account in ACCOUNTS] == [number(cell) for cell in row[1:]]
    gave = moved(given)
    assert {account: amount + gave[account] for account, amount in moved(back).items()} == dict.fromkeys(gave, 0)
