"""How fast a platform is written to: its limits kept whatever is asked, evenly, and nothing kept about chats that are silent."""

import random
from itertools import pairwise

import pytest

from bots.chat.pace import LONGEST_DEBT, MAX_CHATS, NOTHING, PACES, SHORTEST_PAUSE, Throttle

GROUP = "-1001000000001"


@pytest.mark.parametrize(
    ("platform", "prefix", "overall", "burst", "window"),
    [("telegram", "-100", 30, 20, 60.0), ("telegram", "", 30, 4, 1.0), ("discord", "", 50, 5, 5.0), ("email", "", 10, 20, 60.0)],
)
def test_no_flood_limit_is_passed_whatever_is_asked(platform: str, prefix: str, overall: int, burst: int, window: float) -> None:
    """Telegram: core.telegram.org/bots/faq#my-bot-is-hitting-limits. Discord: 50 requests/s; 5 in 5 s is what its channels take."""
    rng, now, throttle = random.Random(7), 1_000.0, Throttle(PACES[platform])
    sent: list[tuple[float, str]] = []
    for _ in range(12_000):
        now += rng.choice((0.0, 0.0, 0.001, 0.01, 0.2))
        chat = f"{prefix}{rng.choice((1, 1, 1, *range(2, 40)))}"
        pause = throttle.wait(chat, now, edit=rng.random() < 0.4)
        if pause == 0:
            sent.append((now, chat))
        else:
            assert SHORTEST_PAUSE <= pause <= max(window, 3.0)
    assert len(sent) > 500
    by_chat = [[at for at, each in sent if each == chat] for chat in {chat for _, chat in sent}]
    for times, most, seconds in (([at for at, _ in sent], overall, 1.0), *((each, burst, window) for each in by_chat)):
        assert all(later - at >= seconds - NOTHING for at, later in zip(times, times[most:], strict=False)), (most, seconds)


def test_the_topics_of_a_group_are_one_chat() -> None:
    bucket, throttle, now = PACES["telegram"].group, Throttle(PACES["telegram"]), 10.0
    assert [throttle.wait(f"{GROUP}/{topic}", now, edit=False) for topic in range(bucket.burst)] == [0.0] * bucket.burst
    assert throttle.wait(f"{GROUP}/99", now, edit=False) == throttle.wait(GROUP, now, edit=False) == bucket.every
    throttle.hold(f"{GROUP}/1", now + 60, now)
    assert throttle.wait(f"{GROUP}/2", now, edit=True) == 60.0


@pytest.mark.parametrize("chat", ["1001", GROUP])
@pytest.mark.parametrize("platform", sorted(PACES))
def test_a_chat_takes_its_burst_and_then_one_after_the_other_while_others_go_on(platform: str, chat: str) -> None:
    bucket, throttle = PACES[platform].of(chat), Throttle(PACES[platform])
    now = 10.0
    assert [throttle.wait(chat, now, edit=False) for _ in range(bucket.burst)] == [0.0] * bucket.burst
    for _ in range(20):
        pause = throttle.wait(chat, now, edit=False)
        assert pause == pytest.approx(bucket.every)
        assert throttle.wait(chat, now + pause - 0.001, edit=False) > 0
        now += pause
        assert throttle.wait(chat, now, edit=False) == 0.0
    assert throttle.wait("b", now, edit=False) == 0.0


def test_a_busy_group_is_never_silent_for_long() -> None:
    throttle = Throttle(PACES["telegram"])
    sent = [now / 10 for now in range(6_000) if throttle.wait(GROUP, now / 10, edit=False) == 0]
    assert max(after - before for before, after in pairwise(sent)) < 5.0
    assert len(sent) >= 150  # ten minutes at nearly what Telegram takes
    assert max(sum(0 <= each - start < 1.0 for each in sent) for start in sent) <= 3


@pytest.mark.parametrize("platform", sorted(PACES))
def test_all_chats_together_wait_for_the_next_second(platform: str) -> None:
    pace, throttle = PACES[platform], Throttle(PACES[platform])
    assert {throttle.wait(f"c{n}", 10.0, edit=False) for n in range(pace.overall)} == {0.0}
    pause = throttle.wait("one more", 10.25, edit=False)
    assert pause == pytest.approx(0.75)
    assert throttle.wait("one more", 10.25 + pause, edit=False) == 0.0


@pytest.mark.parametrize("platform", sorted(PACES))
def test_edits_leave_room_for_a_message(platform: str) -> None:
    bucket, throttle = PACES[platform].of("a"), Throttle(PACES[platform])
    edits = [throttle.wait("a", 10.0, edit=True) for _ in range(bucket.burst)]
    assert edits.count(0.0) == bucket.burst - bucket.burst // 2
    messages = [throttle.wait("a", 10.0, edit=False) for _ in range(bucket.burst)]
    assert messages.count(0.0) == bucket.burst // 2 > 0


def test_what_was_answered_at_once_counts() -> None:
    throttle = Throttle(PACES["telegram"])
    for _ in range(3):
        throttle.spend(GROUP, 10.0)
    assert throttle.wait(GROUP, 10.0, edit=False) == pytest.approx(3.75)
    for number in range(PACES["telegram"].overall):
        throttle.spend(f"c{number}", 20.0)
    assert throttle.wait("another", 20.5, edit=False) == pytest.approx(0.5)


def test_answers_do_not_put_a_chat_off_for_ever() -> None:
    throttle = Throttle(PACES["telegram"])
    for _ in range(1_000):
        throttle.spend(GROUP, 10.0)
    pause = throttle.wait(GROUP, 12.0, edit=False)
    assert 0 < pause <= LONGEST_DEBT
    assert throttle.wait(GROUP, 12.0 + pause, edit=False) == 0.0


def test_a_hold_is_for_its_chat_or_for_all_and_the_longest_counts() -> None:
    throttle = Throttle(PACES["telegram"])
    throttle.hold("a", 40.0, 10.0)
    throttle.hold("a", 20.0, 10.0)
    assert throttle.wait("a", 10.0, edit=False) == pytest.approx(30.0)
    assert throttle.wait("b", 10.0, edit=False) == 0.0
    throttle.hold(None, 50.0, 10.0)
    assert [throttle.wait(chat, 45.0, edit=edit) for chat in ("a", "b", "c") for edit in (False, True)] == pytest.approx([5.0] * 6)
    assert throttle.wait("c", 50.0, edit=False) == 0.0


def test_a_chat_that_is_silent_again_is_forgotten() -> None:
    throttle = Throttle(PACES["telegram"])
    throttle.hold("held", 1_000_000.0, 10.0)
    for number in range(5_000):
        throttle.wait(f"c{number}", 10.0 + number, edit=False)
    assert len(throttle._chats) <= MAX_CHATS
    assert throttle.wait("held", 5_010.0, edit=False) > 900_000
