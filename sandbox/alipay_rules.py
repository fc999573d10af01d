"""Alipay's rules: what a request must look like, how it is signed, and what a trade is. https://opendocs.alipay.com/common/02kf5q"""

import base64
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

BEIJING = timezone(timedelta(hours=8))
TIME = "%Y-%m-%d %H:%M:%S"
MOST_FEN = 10_000_000_000
LONGEST = timedelta(days=15)

MESSAGES = {
    "10000": "Success",
    "20000": "Service Currently Unavailable",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
}
_COMMON = {  # the names of common parameters, and what their absence is called
    "app_id": "app-id",
    "method": "method",
    "sign": "signature",
    "sign_type": "signature-type",
    "timestamp": "timestamp",
    "version": "version",
}
WORDS = {
    "isv.invalid-signature": "验签出错",
    "isv.invalid-timestamp": "非法的时间戳参数",
    "isv.invalid-app-id": "无效的AppID参数",
    "isp.unknow-error": "系统繁忙",
    "aop.ACQ.SYSTEM_ERROR": "系统异常",
    "ACQ.INVALID_PARAMETER": "参数无效",
    "ACQ.TRADE_NOT_EXIST": "交易不存在",
    "ACQ.TRADE_HAS_SUCCESS": "交易已被支付",
    "ACQ.TRADE_HAS_CLOSE": "交易已经关闭",
    "ACQ.TRADE_HAS_FINISHED": "交易已完结",
    "ACQ.TRADE_STATUS_ERROR": "交易状态不合法",
    "ACQ.CONTEXT_INCONSISTENT": "交易信息被篡改",
    "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR": "当前时间晚于超时时间",
    "ACQ.DISCORDANT_REPEAT_REQUEST": "不一致的请求",
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": "退款金额超限",
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": "卖家余额不足",
}


class Refused(Exception):
    """A request is answered with an error. `problem` names the parameter, for whoever reads the answer."""

    def __init__(self, code: str, sub_code: str, problem: str = "") -> None:
        super().__init__(code, sub_code, problem)
        self.code, self.sub_code, self.problem = code, sub_code, problem

    def answer(self) -> dict[str, str]:
        """The fields of the error answer."""
        words = " ".join(filter(None, (WORDS.get(self.sub_code, "参数有误"), self.problem)))
        return {"code": self.code, "msg": MESSAGES[self.code], "sub_code": self.sub_code, "sub_msg": words}


@dataclass
class Trade:
    """One order at Alipay. `status` is empty before the buyer has seen it: then the API does not know it. Amounts in fen."""

    out_trade_no: str
    trade_no: str
    subject: str
    total: int
    product: str
    created: datetime
    expires: datetime | None
    notify_url: str
    return_url: str
    quit_url: str
    body: str
    passback: str
    code: str = ""
    status: str = ""
    paid: datetime | None = None
    closed: datetime | None = None
    refunded: datetime | None = None
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def back(self) -> int:
        """What has been given back so far."""
        return sum(self.refunds.values())


@lru_cache(maxsize=2)
def key_pair(owner: str) -> RSAPrivateKey:
    """The key of "app" or "alipay", made once in a process: making one takes a tenth of a second."""
    assert owner in ("app", "alipay")
    return generate_private_key(public_exponent=65_537, key_size=2_048)


def sign(text: str, key: RSAPrivateKey) -> str:
    """SHA256withRSA in base64."""
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode()


def text_to_sign(fields: dict[str, str]) -> str:
    """`a=1&b=2`, sorted, not URL-encoded."""
    return "&".join(f"{name}={value}" for name, value in sorted(fields.items()))


def check_common(given: dict[str, str], app_id: str, key: RSAPublicKey, now: datetime, tolerance: timedelta) -> None:
    """The common parameters, in the order of the real gateway: application, signature, the rest. Raises Refused."""
    for name in ("method", "app_id"):
        if not given.get(name):
            raise Refused("40001", f"isv.missing-{_COMMON[name]}")
    if given["app_id"] != app_id:
        raise Refused("40002", "isv.invalid-app-id")
    for name, word in _COMMON.items():
        if not given.get(name):
            raise Refused("40001", f"isv.missing-{word}")
    if given["sign_type"] != "RSA2":
        raise Refused("40002", "isv.invalid-signature-type")
    if given.get("charset", "").lower() != "utf-8":
        raise Refused("40002", "isv.invalid-charset")
    signed = {name: value for name, value in given.items() if name != "sign" and value}  # sign_type stays, empty values go
    try:
        key.verify(base64.b64decode(given["sign"], validate=True), text_to_sign(signed).encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise Refused("40002", "isv.invalid-signature") from None
    if given.get("format", "JSON").upper() != "JSON":
        raise Refused("40002", "isv.invalid-format")
    if given["version"] != "1.0":
        raise Refused("40002", "isv.invalid-parameter", "version")
    moment = read_time(given["timestamp"])
    if moment is None or abs(moment - now) > tolerance:
        raise Refused("40002", "isv.invalid-timestamp")
    for name in ("notify_url", "return_url"):
        if not re.fullmatch(r"(https?://\S{1,248})?", given.get(name, "")):
            raise Refused("40002", "isv.invalid-parameter", name)


def read_content(given: dict[str, str]) -> dict[str, Any]:
    """`biz_content` as an object. Raises Refused."""
    try:
        content = json.loads(given.get("biz_content", ""))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refused("40002", "isv.illegal-json")
    return content


def read_time(text: object) -> datetime | None:
    """`yyyy-MM-dd HH:mm:ss` in Beijing's hours; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", text):
        return None
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=BEIJING)
    except ValueError:
        return None


def read_fen(content: dict[str, Any], name: str) -> int:
    """An amount in yuan of 0.01 to 100,000,000 with at most two decimals. Raises Refused."""
    value = content.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?", value):
        raise Refused("40004", "ACQ.INVALID_PARAMETER", name)
    whole, _, rest = value.partition(".")
    fen = int(whole + (rest + "00")[:2])
    if not 1 <= fen <= MOST_FEN:
        raise Refused("40004", "ACQ.INVALID_PARAMETER", name)
    return fen


def show_fen(fen: int) -> str:
    """In yuan: 5 -> "0.05"."""
    digits = f"{fen:03}"
    return f"{digits[:-2]}.{digits[-2:]}"


def read_name(content: dict[str, Any], name: str) -> str:
    """An order's or a refund's number: 1 to 64 letters, digits and underscores. Raises Refused."""
    value = content.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", value):
        raise Refused("40004", "ACQ.INVALID_PARAMETER", name)
    return value


def read_words(content: dict[str, Any], name: str, longest: int, *, needed: bool = False, forbidden: str = "") -> str:
    """A text of at most `longest` characters without the forbidden ones. Raises Refused."""
    value = content.get(name, "")
    if not isinstance(value, str) or len(value) > longest or (needed and not value.strip()) or set(value) & set(forbidden):
        raise Refused("40004", "ACQ.INVALID_PARAMETER", name)
    return value


def read_end(content: dict[str, Any], now: datetime) -> datetime | None:
    """When a trade closes unpaid: `time_expire`, or `timeout_express` (90m, 2h, 1d) from now. Raises Refused."""
    if "time_expire" in content:
        end = read_time(content["time_expire"])
    elif "timeout_express" in content:
        found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(content["timeout_express"]))
        end = (
            now + int(found[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[found[2]] if found else None
        )
    else:
        return None
    if end is None or end - now > LONGEST:
        raise Refused("40004", "ACQ.INVALID_PARAMETER", "time_expire")
    if end <= now:
        raise Refused("40004", "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR")
    return end
