"""The parameters that the Stripe stand-in takes: nested forms, and the limits of each call. https://docs.stripe.com/api

What is supported is named here; any other parameter is refused as unknown, which is stricter than the real API.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500
MAX_REFERENCE = 200
MAX_ITEMS = 100
MAX_AMOUNT = 99_999_999
LEAST = {"usd": 50, "eur": 50, "gbp": 30, "hkd": 400, "sgd": 50, "jpy": 50, "cny": 400}
"""The smallest charge of the currencies that the stand-in knows, in their smallest unit."""

LOCALES = (
    *("auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA", "hr", "hu", "id", "it", "ja"),
    *(
        "ko",
        "lt",
        "lv",
        "ms",
        "mt",
        "nb",
        "nl",
        "pl",
        "pt",
        "pt-BR",
        "ro",
        "ru",
        "sk",
        "sl",
        "sv",
        "th",
        "tr",
        "vi",
        "zh",
        "zh-HK",
        "zh-TW",
    ),
)

_NAME = re.compile(r"[^\[\]]+(?:\[[^\[\]]*\]){0,8}")

Check = Callable[[object, str], Any]
"""(value as it came, name of the parameter) -> value. Raises Refused."""


class Refused(Exception):
    """The call is answered with an error in Stripe's shape."""

    def __init__(self, message: str, code: str = "", *, param: str = "", status: int = 400, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        named = {"code": code, "message": message, "param": param, "type": kind}
        self.body = {"error": {name: value for name, value in named.items() if value}}


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0][c]=x` as {"a": {"b": {"0": {"c": "x"}}}}; `a[]=x` counts up. Raises Refused for a name that is none."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise Refused(f"Invalid parameter name: {name}", param=name)
        first, *rest = name.replace("]", "").split("[")
        branch, leaf = tree, first
        for key in rest:
            branch = branch.setdefault(leaf, {})
            if not isinstance(branch, dict):
                raise Refused(f"Invalid parameter name: {name}", param=name)
            leaf = key or str(len(branch))
        branch[leaf] = value
    return tree


def fields(checks: Mapping[str, Check], required: Iterable[str] = ()) -> Check:
    """An object with these fields and no others."""

    def check(value: object, param: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused("Invalid object", param=param)
        for name in value:
            if name not in checks:
                raise Refused(f"Received unknown parameter: {_inside(param, name)}", "parameter_unknown", param=_inside(param, name))
        for name in required:
            if name not in value:
                raise Refused(f"Missing required param: {_inside(param, name)}.", "parameter_missing", param=_inside(param, name))
        return {name: checks[name](inner, _inside(param, name)) for name, inner in value.items()}

    return check


def each(one: Check, most: int = MAX_ITEMS) -> Check:
    """A list of 1 to `most` of them."""

    def check(value: object, param: str) -> list[Any]:
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise Refused("Invalid array", param=param)
        if len(value) > most:
            raise Refused(f"Array {param} exceeded maximum {most} allowed elements.", param=param)
        return [one(value[key], _inside(param, key)) for key in sorted(value, key=int)]

    return check


def text(most: int = 5_000) -> Check:
    """1 to `most` characters."""

    def check(value: object, param: str) -> str:
        if not isinstance(value, str):
            raise Refused(f"Invalid string: {param}", param=param)
        if not value:
            raise Refused(f"You passed an empty string for '{param}'.", "parameter_invalid_empty", param=param)
        if len(value) > most:
            raise Refused(f"Invalid string: {value[:12]}…; must be at most {most} characters", param=param)
        return value

    return check


def whole(low: int, high: int = MAX_AMOUNT) -> Check:
    """A whole number from `low` to `high`."""

    def check(value: object, param: str) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise Refused(f"Invalid integer: {value}", "parameter_invalid_integer", param=param)
        if int(value) < low:
            raise Refused(f"This value must be greater than or equal to {low}.", "parameter_invalid_integer", param=param)
        if int(value) > high:
            raise Refused(f"This value must be less than or equal to {high}.", "parameter_invalid_integer", param=param)
        return int(value)

    return check


def choice(*options: str) -> Check:
    """One of them."""

    def check(value: object, param: str) -> str:
        if not isinstance(value, str) or value not in options:
            raise Refused(f"Invalid {param}: must be one of {', '.join(options)}", param=param)
        return value

    return check


def address(value: object, param: str) -> str:
    """An absolute web address."""
    parts = urlsplit(value) if isinstance(value, str) and len(value) <= 5_000 else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("Not a valid URL", "url_invalid", param=param)
    return str(value)


def metadata(value: object, param: str) -> dict[str, str]:
    """50 keys of 40 characters, each with 500."""
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        raise Refused("Invalid object", param=param)
    if len(value) > MAX_METADATA:
        raise Refused(f"You have exceeded the maximum number of allowed keys for metadata ({MAX_METADATA}).", param=param)
    for name, inner in value.items():
        if len(name) > MAX_METADATA_KEY or len(inner) > MAX_METADATA_VALUE:
            limits = f"keys have at most {MAX_METADATA_KEY} and values at most {MAX_METADATA_VALUE} characters"
            raise Refused(f"Metadata {limits}.", param=f"{param}[{name[:MAX_METADATA_KEY]}]")
    return dict(value)


def _inside(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name


_CURRENCY = choice(*LEAST)
_FLAG = choice("true", "false")
_PRICE = fields(
    {
        "currency": _CURRENCY,
        "unit_amount": whole(0),
        "product_data": fields({"name": text(250), "description": text(), "metadata": metadata}, ["name"]),
    },
    ["currency", "unit_amount", "product_data"],
)
_PAGE = {"limit": whole(1, 100), "starting_after": text()}

NEW_SESSION = fields(
    {
        "mode": choice("payment"),
        "line_items": each(fields({"quantity": whole(1), "price_data": _PRICE}, ["quantity", "price_data"])),
        "success_url": address,
        "cancel_url": address,
        "client_reference_id": text(MAX_REFERENCE),
        "metadata": metadata,
        "payment_intent_data": fields({"metadata": metadata, "description": text(1_000)}),
        "expires_at": whole(0, 10**11),
        "locale": choice(*LOCALES),
        "ui_mode": choice("hosted_page"),
        "payment_method_types": each(choice("card", "alipay", "wechat_pay", "link", "us_bank_account"), 20),
        "customer_email": text(800),
        "customer_creation": choice("always", "if_required"),
        "submit_type": choice("auto", "book", "donate", "pay"),
        "allow_promotion_codes": _FLAG,
        "adaptive_pricing": fields({"enabled": _FLAG}),
        "expand": each(choice("payment_intent"), 4),
    },
    ["mode", "line_items", "success_url"],
)
NEW_REFUND = fields(
    {
        "payment_intent": text(),
        "amount": whole(1),
        "metadata": metadata,
        "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
    },
    ["payment_intent"],
)
SESSION_VIEW = fields({"expand": each(choice("payment_intent"), 4)})
NOTHING = fields({})
SESSION_LIST = fields({**_PAGE, "payment_intent": text(), "status": choice("open", "complete", "expired")})
REFUND_LIST = fields({**_PAGE, "payment_intent": text()})
EVENT_LIST = fields({**_PAGE, "type": text(), "types": each(text(), 20), "created": fields({"gte": whole(0, 10**11)})})
