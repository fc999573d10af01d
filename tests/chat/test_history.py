"""/history in both languages: every generation on exactly one page, and a statement whose lines add up to the balance."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bots.chat.commands.wallet import PAGE
from bots.chat.types import Answer
from core.generations.pages import page
from core.ledger.models import wallet
from core.receipts import receipt_by_link
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, seated, sentence
from tests.payments.till import till
from tests.stage import work_off

COUNT = 2 * PAGE + 3


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        await opened.stage.lend(KEY)
        yield opened


def older(answer: Answer, name: str) -> str | None:
    """The action of the button to the page before."""
    assert answer.message is not None
    found = [key.action for row in answer.message.rows for key in row if re.fullmatch(rf"{name} \d+( \d+)?", key.action)]
    assert len(found) < 2
    return found[0] if found else None


async def pages(desk: Desk, name: str, first: Answer) -> list[str]:
    """What every page says, from the first."""
    said, answer = [sentence(first)], first
    while (action := older(answer, name)) is not None:
        answer = await desk.press(action)
        assert answer.edit
        said.append(sentence(answer))
    return said


async def test_every_picture_is_on_one_page(desk: Desk) -> None:
    assert older(await desk.says(command="history"), "history") is None
    made = await desk.stage.submit(*(f"g{number}" for number in range(COUNT)), user=desk.user)
    said = await pages(desk, "history", await desk.says(command="history"))
    shown = [int(each) for text in said for each in re.findall(r"^#(\d+) ", text, re.MULTILINE)]
    assert shown == sorted((each.id for each in made), reverse=True)
    assert len(said) == 3


async def test_the_statement_adds_up(desk: Desk) -> None:
    await desk.stage.submit(*(f"g{number}" for number in range(COUNT)), user=desk.user)
    await work_off(Worker(desk.stage.app, 1))
    said = await pages(desk, "statement", await desk.press("statement"))
    lines = [each for text in said for each in re.findall(r"([+-])([\d.,]+) → ([\d.,]+)", text)]
    amounts = [(1 if sign == "+" else -1) * float(amount.replace(",", "")) for sign, amount, _ in lines]
    balances = [float(after.replace(",", "")) for _, _, after in lines]
    assert len(lines) == COUNT + 1
    assert sum(amounts) * 1000 == pytest.approx(await desk.stage.balance(wallet(desk.user.id)))
    assert all(after == pytest.approx(before + amount) for after, before, amount in zip(balances, balances[1:], amounts, strict=False))


@pytest.mark.parametrize("action", ["history ²", "history 0", "history -1", "history 99999999999999999999", "statement x", "statement 5"])
async def test_what_is_no_page(desk: Desk, action: str) -> None:
    answer = await desk.press(action)
    assert answer.private
    assert sentence(answer)


async def test_a_prompt_is_edited(desk: Desk) -> None:
    (made,) = await desk.stage.submit("one", user=desk.user)
    await work_off(Worker(desk.stage.app, 1))
    assert sentence(await desk.press(f"edit_prompt {made.id}"))
    assert sentence(await desk.says(text="fox"))
    async with desk.stage.app.read() as work:
        newest = (await page(work.connection, desk.user.id, 5))[0]
    assert (newest.prompt, newest.parent_id, newest.model) == ("fox", made.id, made.model)


async def test_a_long_prompt_is_kept_whole_by_the_button(desk: Desk) -> None:
    long = "fox " * 200
    (made,) = await desk.stage.submit("one", user=desk.user)
    async with desk.stage.app.begin() as work:
        await work.connection.execute(text("UPDATE generations SET prompt = :long"), {"long": long.strip()})
    asked = await desk.press(f"edit_prompt {made.id}")
    assert asked.message is not None
    keep = asked.message.rows[0][0].action
    assert len(keep.encode()) <= 64
    assert (await desk.press(keep)).message is not None
    async with desk.stage.app.read() as work:
        assert (await page(work.connection, desk.user.id, 5))[0].prompt == long.strip()


async def test_receipts_are_linked_for_whoever_paid(desk: Desk) -> None:
    assert "/topup" in sentence(await desk.press("receipts"))
    shop = till(desk.stage)
    bought = await shop.bought(user=desk.user)
    await shop.start("k2", desk.user)
    (link,) = re.findall(r"http://\S+/receipts/[\w-]+", sentence(await desk.press("receipts")))
    assert (await receipt_by_link(desk.stage.app, link.rpartition("/")[2])).payment == bought
    desk.stage.app.settings.public_url = "https://aether.example"
    answer = await desk.press("receipts")
    assert answer.message is not None
    (button,) = [key for row in answer.message.rows for key in row if key.url]
    assert str(button.url).startswith("https://aether.example/receipts/")
    assert "https:" not in sentence(answer)
    assert f"#{bought.id} " not in sentence(await desk.press("receipts", who="bo"))
    assert any(key.action == "receipts" for row in (await desk.says(command="history")).message.rows for key in row)  # type: ignore[union-attr]
