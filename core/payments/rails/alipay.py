"""Alipay: page, phone and QR payment of mainland China. https://opendocs.alipay.com/open/270 and https://opendocs.alipay.com/common/02kf5q

The buyer pays behind a signed address or a QR code; Alipay then posts a signed form to our address until the answer is `success`.
How amounts, times and answers are written: alipay_wire.py. How they are signed: rsa2.py.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import httpx

from core.payments.rails import rsa2
from core.payments.rails.alipay_wire import MAX_AMOUNT, MAX_SUBJECT, beijing, fen, plain_code, read_answer, subject, yuan
from core.payments.rails.base import (
    MAX_REFERENCE,
    BadSignature,
    Checkout,
    Opened,
    RailAway,
    RailEvent,
    RailRefused,
    Refunding,
    Returned,
    Said,
)
from core.providers.http import Client, sendable

MAX_NOTICE_BYTES = 64 * 1024
MAX_FIELDS = 200
MAX_ID = 64
MAX_ANSWER_BYTES = 256 * 1024
CALL_SECONDS = 20
LEAST_SECONDS, MOST_SECONDS = 60, 15 * 24 * 3600
"""Between now and the end of a checkout: Alipay takes 1 minute to 15 days."""

OK, BUSINESS, LIMITED, AWAY = "10000", "40004", "40005", "20000"
NOT_THERE = "ACQ.TRADE_NOT_EXIST"
_PAY = MappingProxyType(
    {
        "page": ("alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
        "phone": ("alipay.trade.wap.pay", "QUICK_WAP_WAY"),
        "code": ("alipay.trade.precreate", "FACE_TO_FACE_PAYMENT"),
    }
)
"""Way to pay -> method and product code."""
_NEEDED = ("notify_id", "app_id", "seller_id", "trade_no", "out_trade_no", "trade_status", "total_amount")


class AlipayRail:
    """The rail `alipay`. Keys are read once; what is no key raises ValueError here, with the name of the setting and nothing of its value.

    `now` gives microseconds since 1970: requests carry their time.
    """

    name = "alipay"
    currency = "CNY"

    def __init__(
        self,
        app_id: str,
        seller_id: str,
        private_key: str,
        public_key: str,
        gateway_url: str,
        client: Client,
        *,
        now: Callable[[], int],
    ) -> None:
        for setting, value in (("ALIPAY_APP_ID", app_id), ("ALIPAY_SELLER_ID", seller_id)):
            if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", value):  # an empty one would let anybody's notice pass as ours
                raise ValueError(f"{setting} must be the name that Alipay gave")
        if urlsplit(gateway_url).scheme not in ("https", "http") or not urlsplit(gateway_url).hostname:
            raise ValueError("ALIPAY_GATEWAY_URL must be an http address")
        self._app_id, self._seller_id, self._gateway = app_id, seller_id, gateway_url
        self._key = rsa2.read_private_key(private_key, "ALIPAY_PRIVATE_KEY")
        self._theirs = rsa2.read_public_key(public_key, "ALIPAY_PUBLIC_KEY")
        if self._theirs.public_numbers() == self._key.public_key().public_numbers():
            raise ValueError("ALIPAY_PUBLIC_KEY is the application's own public key; Alipay's is needed, from the same page of the console")
        self._client, self._now = client, now

    async def open(self, checkout: Checkout) -> Opened:
        """A signed address ("page", "phone"), or the text of a QR code ("code"), good until `expires_at`, rounded down to the second.

        Alipay knows nothing of an address before it is opened. Raises RailRefused for another currency, an amount out of range, or an end
        sooner than a minute or later than 15 days; RailAway, RailRefused as Alipay answers.
        """
        seconds = checkout.expires_at // 1_000_000 - self._now() // 1_000_000
        if checkout.currency != self.currency:
            raise RailRefused(problem="currency")
        if not 1 <= checkout.amount <= MAX_AMOUNT:
            raise RailRefused(problem="amount")
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise RailRefused(problem="expiry")
        method, product = _PAY.get(checkout.way, _PAY["page"])
        content = {
            "out_trade_no": checkout.order,
            "product_code": product,
            "subject": subject(checkout.title) or checkout.order,
            "total_amount": yuan(checkout.amount),
            "time_expire": beijing(checkout.expires_at),  # not `timeout_express`: that would run from whenever the address is opened
        }
        if checkout.way == "code":
            answer = await self._call(method, content, notify_url=checkout.notify_url)
            if not (code := answer.get("qr_code", "")):
                raise RailAway(problem="no QR code")
            return Opened(code=code)
        content |= {"goods_type": "0"} | ({"quit_url": checkout.return_url} if checkout.way == "phone" else {})
        fields = self._request(method, content, notify_url=checkout.notify_url, return_url=checkout.return_url)
        return Opened(url=f"{self._gateway}?{urlencode(fields)}")

    def read(self, headers: Mapping[str, str], body: bytes, now: int) -> RailEvent | None:
        """A notice. It has no header and no time limit of its own: repeats come for more than a day, with one and the same id.

        A partial refund comes as TRADE_SUCCESS too: what names a refund is never a payment.
        """
        fields = self._proved(body)
        if fields.get("notify_type", "trade_status_sync") != "trade_status_sync":
            return None
        if missing := [name for name in _NEEDED if not fields.get(name)]:
            raise BadSignature(problem=f"missing {missing[0]}")
        if any(len(fields.get(name, "")) > MAX_REFERENCE for name in ("trade_no", "out_trade_no", "out_biz_no")):
            raise BadSignature(problem="too long a name")
        if not all(fields.get(name, "").isprintable() for name in ("notify_id", "trade_no", "out_trade_no", "out_biz_no")):
            raise BadSignature(problem="an unreadable name")  # no database takes a NUL
        paid, back = fen(fields["total_amount"]), fen(fields.get("refund_fee") or "0")
        if paid is None or back is None:
            raise BadSignature(problem="amount")
        was_paid, refunded = bool(fields.get("gmt_payment")), bool(fields.get("gmt_refund"))
        said, total = _meaning(fields["trade_status"], was_paid, refunded, paid, back)
        if said is None:
            return None
        refund = (fields.get("out_biz_no") or None) if said is Said.REFUNDED else None
        return RailEvent(
            id=_short(fields["notify_id"]),
            said=said,
            order=fields["out_trade_no"],
            charge=fields["trade_no"],
            amount=paid if said is Said.PAID else None,
            currency=self.currency,
            total=total,
            ours=fields["app_id"] == self._app_id and fields["seller_id"] == self._seller_id,
            thing=refund,
            refund=refund,
        )

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        """What became of an order; None before its address was opened or its code scanned. A refund of a part does not show here."""
        answer = await self._call("alipay.trade.query", {"out_trade_no": order}, accept=NOT_THERE)
        if answer.get("sub_code") == NOT_THERE:
            return None
        status, paid = answer.get("trade_status", ""), fen(answer.get("total_amount", ""))
        if answer.get("out_trade_no") != order or paid is None:
            raise RailAway(problem="no answer of Alipay's")
        was_paid = bool(answer.get("send_pay_date") or answer.get("gmt_payment"))
        said, total = _meaning(status, was_paid, False, paid, 0)
        if said is None:
            raise RailAway(problem=f"trade_status {plain_code(status)}")
        trade = answer.get("trade_no", "")[:MAX_REFERENCE]
        amount = paid if said is Said.PAID else None
        return RailEvent(
            _short(f"query:{trade}:{status}"), said, order=order, charge=trade or None, amount=amount, currency=self.currency, total=total
        )

    async def refund(self, refunding: Refunding) -> Returned:
        """Gives money back. Alipay keeps to the number: a repeat moves nothing, and says so with `fund_change` N or with a refusal.

        So whatever is not a plain yes is asked for by its number: only a refund that is there is done.
        """
        names = {"out_trade_no": refunding.order, "trade_no": refunding.charge, "out_request_no": refunding.refund}
        content = names | {"refund_amount": yuan(refunding.amount)}
        if reason := sendable(refunding.reason)[:MAX_SUBJECT].strip():
            content["refund_reason"] = reason
        otherwise = Returned.PENDING
        try:
            if (await self._call("alipay.trade.refund", content)).get("fund_change") == "Y":
                return Returned.DONE
        except RailRefused:
            otherwise = Returned.REFUSED
        try:
            found = await self._call("alipay.trade.fastpay.refund.query", names)
        except RailRefused:
            return otherwise
        # Code 10000 says that the question was answered, not that money went back. Older answers have the sum and no status.
        back = fen(found.get("refund_amount", ""))
        done = found.get("refund_status", "REFUND_SUCCESS") == "REFUND_SUCCESS" and back == refunding.amount
        return Returned.DONE if done else otherwise

    async def close(self, order: str, reference: str | None) -> None:
        """Closes an unpaid trade. One that Alipay does not know yet has an address that lapses by itself at the checkout's end."""
        try:
            await self._call("alipay.trade.close", {"out_trade_no": order}, accept=NOT_THERE)
        except RailRefused as refused:  # closed already, paid, or refused for another reason: its words do not tell which
            event = await self.ask(order, reference)
            if event is None or event.said is Said.EXPIRED:
                return
            if event.said is Said.PENDING:
                raise RailAway(problem=refused.facts["problem"]) from None
            raise RailRefused(problem="paid") from None

    def _proved(self, body: bytes) -> dict[str, str]:
        """The fields of a form that Alipay signed, decoded once. Raises BadSignature."""
        if len(body) > MAX_NOTICE_BYTES:
            raise BadSignature(problem="too large")
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)
        except ValueError:
            raise BadSignature(problem="no form") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadSignature(problem="a field twice")
        if fields.get("charset", "utf-8").lower() != "utf-8" or fields.get("sign_type", "RSA2") != "RSA2":
            raise BadSignature(problem="charset or sign_type")
        signature = fields.pop("sign", "")
        without = {name: value for name, value in fields.items() if name != "sign_type"}
        # Alipay signs without `sign_type`; its own Node SDK takes either form.
        if not any(rsa2.is_signed(rsa2.joined(form), signature, self._theirs) for form in (without, fields)):
            raise BadSignature(problem="bad signature")
        return fields

    def _request(self, method: str, content: Mapping[str, str], **addresses: str) -> dict[str, str]:
        fields = {
            "app_id": self._app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": beijing(self._now()),
            "version": "1.0",
            "biz_content": json.dumps(content, ensure_ascii=False, separators=(",", ":")),
        }
        fields |= {name: value for name, value in addresses.items() if value}  # an empty field is neither signed nor sent
        return fields | {"sign": rsa2.sign(rsa2.joined(fields), self._key)}

    async def _call(self, method: str, content: Mapping[str, str], *, accept: str = "", **addresses: str) -> dict[str, str]:
        """The fields of a signed answer with code 10000, or with the sub-code `accept`. Raises RailAway, RailRefused."""
        fields = self._request(method, content, **addresses)
        form = {"biz_content": fields.pop("biz_content")}
        raw = await self._post(f"{self._gateway}?{urlencode(fields)}", form)
        answer, signed, signature = read_answer(raw, method.replace(".", "_") + "_response")
        code, sub = answer.get("code", ""), answer.get("sub_code", "")
        problem = plain_code(sub or code)
        if not signature and code != OK:  # the gateway's own refusals have none: told to the operator, believed by nobody
            raise RailAway(problem=f"unsigned {problem}")
        if not rsa2.is_signed(signed, signature, self._theirs):
            raise RailAway(problem="bad signature")
        if code == OK or (code == BUSINESS and accept and sub == accept):
            if answer.get("out_trade_no", content["out_trade_no"]) != content["out_trade_no"]:
                raise RailAway(problem="the answer to another question")
            return answer
        if code in (AWAY, LIMITED) or sub.startswith(("isp.", "aop.unknow")) or sub.endswith("SYSTEM_ERROR"):
            raise RailAway(problem=problem)
        raise RailRefused(problem=problem)

    async def _post(self, url: str, form: Mapping[str, str]) -> str:
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
        request = self._client.build_request(
            "POST", url, content=urlencode(form), headers=headers, timeout=httpx.Timeout(CALL_SECONDS, pool=None)
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._client.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        raise RailAway(problem=f"HTTP {response.status_code}")
                    body = bytearray()
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MAX_ANSWER_BYTES:
                            raise RailAway(problem="too large")
                finally:
                    await response.aclose()
            return body.decode()
        except (TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            raise RailAway(problem=type(error).__name__) from None


def _short(name: str) -> str:
    """A name as it is, or of one that is long what tells it from all others."""
    return name if len(name) <= MAX_ID else hashlib.sha256(name.encode()).hexdigest()[:48]


def _meaning(status: str, was_paid: bool, refunded: bool, paid: int, back: int) -> tuple[Said | None, int | None]:
    """(what a status says, everything given back so far in fen); (None, None) for a status that moves nothing of ours."""
    if back and status in ("TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"):
        return Said.REFUNDED, back
    match status:
        case "WAIT_BUYER_PAY":
            return Said.PENDING, None
        case "TRADE_SUCCESS" | "TRADE_FINISHED" if refunded:
            raise BadSignature(problem="a refund without its sum")  # loud: neither a payment nor nothing
        case "TRADE_SUCCESS" | "TRADE_FINISHED":
            return Said.PAID, None
        case "TRADE_CLOSED":
            return (Said.REFUNDED, paid) if was_paid or refunded else (Said.EXPIRED, None)
    return None, None
