"""A Secret in everything that shows or keeps values: what comes out is a mask or an error, and never the value.

The plainest of it (text, pickle, comparing) is in test_keyring.
"""

import copy
import dataclasses
import inspect
import io
import json
import logging
import marshal
import pickle
import pprint
import string
import traceback
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
import rich.pretty
import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter
from rich.console import Console
from structlog.typing import Processor

from core.vault.secret import MASK, Secret

KEY = "sk-abcdefghijk0123456789"


@dataclasses.dataclass
class _Holder:
    name: str
    key: Secret


class _Form(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    name: str
    key: Secret


SHOWN: dict[str, Callable[[Secret], str]] = {
    "f-string": lambda key: f"{key} {key!r} {key!s} {key!a} {key:>40}",
    "format_map": lambda key: "{key:.3}".format_map({"key": key}),
    "template": lambda key: string.Template("$key").substitute(key=key),
    "join": lambda key: ",".join(map(str, [key])),
    "containers": lambda key: repr([{"key": key}, (key,)]),
    "dataclass": lambda key: repr(_Holder("mine", key)),
    "pprint": lambda key: pprint.pformat(_Holder("mine", key)),
    "rich": lambda key: rich.pretty.pretty_repr({"key": key, "holder": _Holder("mine", key)}),
    "exception": lambda key: "".join(traceback.format_exception(ValueError("bad key", key))),
    "json with a default": lambda key: json.dumps({"key": key}, default=str),
    "pydantic repr": lambda key: repr(_Form(name="mine", key=key)),
    "pydantic python": lambda key: repr(_Form(name="mine", key=key).model_dump()),
    "signature": lambda key: str(inspect.signature(lambda given=key: given)),
    "logging": lambda key: logging.LogRecord("x", 40, "file", 1, "%s %r", (key, {"key": key}), None).getMessage(),
}


@pytest.mark.parametrize("way", SHOWN)
def test_what_shows_values_shows_the_mask(way: str) -> None:
    shown = SHOWN[way](Secret(KEY))
    assert MASK in shown
    assert KEY[3:] not in shown


KEPT: dict[str, Callable[[Any], object]] = {
    "pickle in a container": lambda key: pickle.dumps({"key": key}),
    **{f"pickle protocol {number}": lambda key, n=number: pickle.dumps(key, n) for number in range(pickle.HIGHEST_PROTOCOL + 1)},  # type: ignore[misc]  # a default
    "marshal": marshal.dumps,
    "copy in a container": lambda key: copy.deepcopy({"key": key}),
    "dataclass as a dict": lambda key: dataclasses.asdict(_Holder("mine", key)),
    "json": lambda key: json.dumps({"key": key}),
    "pydantic json": lambda key: _Form(name="mine", key=key).model_dump_json(),
    "pydantic mode json": lambda key: _Form(name="mine", key=key).model_dump(mode="json"),
    "pydantic copy": lambda key: _Form(name="mine", key=key).model_copy(deep=True),
    "pydantic adapter": lambda key: TypeAdapter(dict[str, Any]).dump_json({"key": key}),
    "vars": vars,
    "__dict__": lambda key: key.__dict__,
    "__reduce__": lambda key: key.__reduce__(),
    "bytes": bytes,
    "buffer": memoryview,
    "dict key": lambda key: {key: 1},
    "set": lambda key: {key},
    "sum of texts": lambda key: "Bearer " + key,
    "item": lambda key: key[0],
    "equal to a guess": lambda key: key == KEY,
    "in a list": lambda key: KEY in [key],
}


@pytest.mark.parametrize("way", KEPT)
def test_what_keeps_values_is_refused(way: str) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)) as refused:
        KEPT[way](Secret(KEY))
    assert KEY[3:] not in "".join(traceback.format_exception(refused.value))


def test_the_state_is_not_given_out() -> None:
    with pytest.raises(TypeError):
        Secret(KEY).__getstate__()


def test_a_validation_error_shows_the_mask() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        TypeAdapter(int).validate_python(Secret(KEY))
    assert KEY[3:] not in str(refused.value) and MASK in str(refused.value)


def _fails(key: Secret) -> None:
    held = {"Authorization": key}
    raise RuntimeError(f"cannot send {key} of {held}")


def test_a_traceback_with_local_values_shows_the_mask() -> None:
    try:
        _fails(Secret(KEY))
    except RuntimeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        written = io.StringIO()
        console = Console(file=written, width=200)
        console.print_exception(show_locals=True)
    for each in (shown, written.getvalue()):
        assert "held = " in each and MASK in each
        assert KEY[3:] not in each


RENDERERS: dict[str, Processor] = {
    "logfmt": structlog.processors.LogfmtRenderer(),
    "json": structlog.processors.JSONRenderer(),
    "key and value": structlog.processors.KeyValueRenderer(),
    "console": structlog.dev.ConsoleRenderer(colors=False),
}


@pytest.mark.parametrize("name", RENDERERS)
def test_structlog_shows_the_mask(name: str) -> None:
    written = io.StringIO()
    log = structlog.wrap_logger(structlog.PrintLogger(written), processors=[structlog.processors.format_exc_info, RENDERERS[name]])
    key = Secret(KEY)
    try:
        _fails(key)
    except RuntimeError:
        log.exception("failed", key=key, headers={"Authorization": key})
    assert MASK in written.getvalue() and "cannot send" in written.getvalue()
    assert KEY[3:] not in written.getvalue()


def test_logging_shows_the_mask(caplog: pytest.LogCaptureFixture) -> None:
    key = Secret(KEY)
    try:
        _fails(key)
    except RuntimeError:
        logging.getLogger("test").exception("with %s", key, extra={"key": key})
    assert MASK in caplog.text and "cannot send" in caplog.text
    assert KEY[3:] not in caplog.text and KEY[3:] not in repr([vars(record) for record in caplog.records])


def test_only_reveal_gives_it_out() -> None:
    assert Secret(KEY).reveal() == KEY
    public = [name for name in dir(Secret(KEY)) if not name.startswith("_")]
    assert public == ["reveal"]
