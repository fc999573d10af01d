"""What no log shows, even where somebody puts a secret into a message, an argument or an exception in clear."""

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import structlog
from pydantic import SecretStr
from structlog.typing import Processor

from core.config import Settings
from core.vault.keyring import new_key
from core.vault.redact import SHORTEST, Redactor, known
from core.vault.secret import MASK

STABILITY = "sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"
OPENAI = "sk-proj-0123456789_abcdefg-hijklmnop"
STRIPE = "sk_live_0123456789abcdefghijklmn"
WEBHOOK = "whsec_0123456789abcdefghijklmn"
TELEGRAM = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
DISCORD = "MTAwMDAwMDAwMDAwMDAwMDAx.GabcdE.0123456789abcdefghijklmnopq"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"
ONE_TIME = "x7Q2mN8vK4pL9sT1wZ6yB3cF5hJ0dR-gE_aUoIi"
ALL = [STABILITY, OPENAI, STRIPE, WEBHOOK, TELEGRAM, DISCORD, JWT]
ODD = "p@ss/word with + signs"
SHOWN = "'{}' at {} of {!r}"


@contextmanager
def logger(*secrets: str) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger behind which stands a handler with the filter, and what it has written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(Redactor(secrets))
    made = logging.Logger("a library that knows no better")  # noqa: LOG001  # apart from the others: no handler of pytest's sees its lines
    made.addHandler(handler)
    yield made, written


@pytest.mark.parametrize("secret", ALL)
@pytest.mark.parametrize("around", ["{}", "key={}", '"{}"', "https://x/{}/y", "a%3D{}", "a%3d{}", "({})", "b'{}'", "{}\n{}", "key:{},"])
def test_what_looks_like_a_secret_is_taken_out(secret: str, around: str) -> None:
    shown = Redactor().text(around.format(secret, secret))
    assert secret not in shown
    assert shown == around.format(MASK, MASK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"POST https://api.telegram.org/bot{TELEGRAM}/sendMessage", f"POST https://api.telegram.org/{MASK}/sendMessage"),
        (f"/bot{quote(TELEGRAM, safe='')}/getMe", f"/{MASK}/getMe"),
        ("Authorization: Bearer abcdefgh12", f"Authorization: Bearer {MASK}"),
        ("{'authorization': 'bearer  abc.def-ghi~12+/='}", f"{{'authorization': 'bearer  {MASK}'}}"),
        ("Bearer%20abcdefgh12&x=1", f"Bearer%20{MASK}&x=1"),
        (f"GET /handover/{ONE_TIME} 200", f"GET /handover/{MASK} 200"),
    ],
)
def test_what_stands_around_a_secret_stays(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sk-… is the shape of a key", "sk-short", "a desk-sized-whiteboard-for-twelve-people", "task_0123456789abcdefghijklmn",
        "settled generation=12 fence=1 resource=7 outcome=delivered seconds=0.006", "2026-11-25 05:02:16,123 INFO core.worker leases",
        "the bearer of a key", "bot12:short", "resource:12|stability|1", "/v2beta/stable-image/generate/core", "127.0.0.1:5432",
        "req_0123456789abcdef0123456789abcdef", "core.generations.settle.settle_many", "",
    ],
)  # fmt: skip
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor(["", "demo", "1:demo"]).text(text) == text


@pytest.mark.parametrize("secret", [ODD, "x" * SHORTEST, "$^.*+?[](){}|\\"])
def test_a_known_value_is_taken_out_whatever_its_shape(secret: str) -> None:
    shown = Redactor([secret, secret[:-1]]).text(SHOWN.format(secret, quote(secret, safe=""), "a b"))
    assert shown == SHOWN.format(MASK, MASK, "a b")


@pytest.mark.parametrize("secret", [*ALL, ODD])
def test_message_arguments_exception_and_stack(secret: str) -> None:
    with logger(ODD) as (log, written):
        log.warning(f"whole {secret}")  # noqa: G004  # what others do, and what is guarded against
        log.warning("one %s, two %r", secret, [secret])
        log.warning("named %(key)s", {"key": secret})
        log.warning("bytes %s", secret.encode())
        log.error(ValueError(f"object {secret}"))
        try:
            raise ValueError(f"illegal header value: Bearer {secret}")
        except ValueError as error:
            try:
                raise RuntimeError(f"on top of {secret}") from error
            except RuntimeError:
                log.exception("it failed", stack_info=True)
        shown = written.getvalue()
    assert secret not in shown
    assert "RuntimeError: on top of " + MASK in shown and "Traceback" in shown and "Stack (most recent call last)" in shown
    for words in (f"whole {MASK}", f"one {MASK}, two ['{MASK}']", f"named {MASK}", f"bytes b'{MASK}'", f"object {MASK}"):
        assert words in shown


def test_a_record_keeps_nothing_for_the_handlers_behind() -> None:
    try:
        raise ValueError(STABILITY)
    except ValueError:
        extra = {"url": f"/?{STABILITY}"}
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "file", 1, "%s", (STABILITY,), sys.exc_info(), extra=extra)
    redactor = Redactor()
    assert redactor.filter(record) and redactor.filter(record)
    assert STABILITY not in repr(vars(record))
    assert (record.getMessage(), vars(record)["url"]) == (MASK, f"/?{MASK}")
    assert record.exc_text is not None and record.exc_text.endswith(f"ValueError: {MASK}")
    assert STABILITY not in logging.Formatter().format(record)


class _Broken:
    def __str__(self) -> str:
        raise ValueError(STABILITY)


def test_a_log_line_that_is_wrong_is_still_written() -> None:
    with logger() as (log, written):
        log.warning("too few %s %s", *[STABILITY])
        log.warning("%s", _Broken())
    assert written.getvalue().splitlines() == [
        "WARNING too few %s %s [arguments left out: TypeError]",
        "WARNING %s [arguments left out: ValueError]",
    ]


def test_structlog_lines_are_covered_behind_the_renderer() -> None:
    written = io.StringIO()
    processors: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.LogfmtRenderer(), Redactor([ODD]).line]
    log = structlog.wrap_logger(structlog.PrintLogger(written), processors=processors)
    try:
        raise ValueError(STABILITY)
    except ValueError:
        log.exception("failed", key=OPENAI, password=ODD)
    shown = written.getvalue()
    assert not [each for each in (STABILITY, OPENAI, ODD) if each in shown]
    assert f"key={MASK}" in shown and "Traceback" in shown and shown.count(MASK) == 3


def test_it_is_installed_once_on_the_handlers_of_the_root(caplog: pytest.LogCaptureFixture) -> None:
    root, redactor = logging.getLogger(), Redactor()
    try:
        redactor.install()
        redactor.install()
        assert root.handlers and all(handler.filters.count(redactor) == 1 for handler in root.handlers)
        logging.getLogger("some.package").warning("called with %s", STABILITY)
        assert STABILITY not in caplog.text and MASK in caplog.text
    finally:
        for handler in root.handlers:
            handler.removeFilter(redactor)


def test_every_secret_of_the_settings_is_known() -> None:
    old, new = new_key("k1"), new_key("k2")
    settings = Settings(
        database_url="postgresql://me:data%20base@db/x", redis_url="redis://:cachepassword@cache", vault_keys=SecretStr(f"{new}, {old}"),
        telegram_token=SecretStr("an odd token"),
    )  # fmt: skip
    redactor = Redactor(known(settings))
    for secret in (old.partition(":")[2], new.partition(":")[2], "data%20base", "cachepassword", "an odd token"):
        assert redactor.text(f"<{secret}>") == f"<{MASK}>"


WORD = "a-word-of-the-operator"


def test_the_command_writes_no_secret_to_its_log() -> None:
    code = (
        "import logging, structlog, cli\n"
        "from core.vault.redact import Redactor\n"
        f"cli.set_up_logs('info', Redactor(['{WORD}']))\n"
        f"logging.getLogger('x').warning('said %s', '{WORD}')\n"
        f"structlog.get_logger('y').warning('told', what='{WORD}')\n"
        "try:\n"
        f"    raise RuntimeError('{WORD}')\n"
        "except RuntimeError:\n"
        "    logging.getLogger('x').exception('broke')\n"
        "    structlog.get_logger('y').exception('broke')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert WORD not in done.stderr + done.stdout
    assert done.stderr.count("[secret]") == 4
