"""Stands for Alipay under /alipay: the gateway, the cashier, QR codes, notices. https://opendocs.alipay.com/open/270

Every request is held against the official limits, its signature too. A trade exists once the buyer has opened its page or scanned its code.
Answers are signed over the very bytes that are sent; refusals of the gateway itself are not signed, as on the real one.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sandbox.alipay_hands import BUYER, CLOSED, FINISHED, SUCCESS, WAITING, AlipayHands, HandsError
from sandbox.alipay_pages import PREFIX, Cashier
from sandbox.alipay_rules import (
    BEIJING,
    Refused,
    Trade,
    check_common,
    key_pair,
    read_content,
    read_end,
    read_fen,
    read_name,
    read_words,
    show_fen,
    sign,
)

KINDS = ("away", "unsure", "lost", "hang", "bad_gateway", "forged", "unsigned")
"""What `fail` can do to a call: refused as too busy; done and answered so; done, and the connection breaks; never answered; HTTP 502;
done and answered with a wrong signature, or with none."""
PAGES = {"alipay.trade.page.pay": "FAST_INSTANT_TRADE_PAY", "alipay.trade.wap.pay": "QUICK_WAP_WAY"}
_PAGE_TOLERANCE = timedelta(days=15)  # an address may be opened long after it was signed


@dataclass
class _Fault:
    kind: str
    method: str
    times: int


class AlipaySandbox(AlipayHands):
    """`app_private_key` and `public_key` are what the merchant sets; see AlipayHands for the buttons.

    `tolerance`: how far the timestamp of a call may be off. `poor`: the seller has no money for refunds.
    `calls`: the methods of all API calls so far. `hanging` is set once a call has come that hangs.
    """

    def __init__(self, public_url: str, *, clock: Callable[[], datetime] | None = None, seed: int = 0) -> None:
        super().__init__(public_url, clock=clock, seed=seed)
        self.tolerance = timedelta(minutes=10)
        self.poor = False
        self.calls: list[str] = []
        self._faults: list[_Fault] = []
        self.hanging = asyncio.Event()
        self._closing = asyncio.Event()
        self._methods: dict[str, Callable[[dict[str, Any], dict[str, str]], dict[str, Any]]] = {
            "alipay.trade.precreate": self._precreate,
            "alipay.trade.query": self._query,
            "alipay.trade.close": self._close,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._refund_query,
        }

    @property
    def gateway_url(self) -> str:
        """Where calls go, and buyers."""
        return f"{self.public_url}{PREFIX}/gateway.do"

    @property
    def app_private_key(self) -> str:
        """The merchant's key: base64 of PKCS#8, as Alipay's key tool writes it."""
        der = key_pair("app").private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return base64.b64encode(der).decode()

    @property
    def public_key(self) -> str:
        """Alipay's public key in base64, as its console shows it."""
        der = key_pair("alipay").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def settings(self) -> dict[str, str]:
        """What a merchant has to set, by the ends of the names."""
        return {
            "ALIPAY_APP_ID": self.app_id,
            "ALIPAY_SELLER_ID": self.seller_id,
            "ALIPAY_PRIVATE_KEY": self.app_private_key,
            "ALIPAY_PUBLIC_KEY": self.public_key,
            "ALIPAY_GATEWAY_URL": self.gateway_url,
        }

    def routes(self) -> list[web.RouteDef]:
        """The gateway, its pages, and the settings for whoever starts in another process."""
        gateway = PREFIX + "/gateway.do"
        return [
            web.get(gateway, self._on_get),
            web.post(gateway, self._on_post),
            web.get("/hands/alipay/settings", self._on_settings),
            *Cashier(self).routes(),
        ]

    def add_to(self, app: web.Application) -> None:
        """Adds the routes, and closes with the application."""
        app.add_routes(self.routes())
        app.on_shutdown.append(self._on_shutdown)

    def fail(self, kind: str, method: str = "*", times: int = 1) -> None:
        """The next calls of a method go wrong. Raises HandsError for an unknown kind."""
        if kind not in KINDS:
            raise HandsError(f"kind: one of {', '.join(KINDS)}")
        self._faults.append(_Fault(kind, method, times))

    def visit(self, text: str) -> str:
        """Opens an address or scans a code without a browser; returns the order's number. Raises HandsError where a page would refuse."""
        parts = urlsplit(text)
        try:
            if parts.path.startswith(PREFIX + "/qr/"):
                return self.scan(parts.path.rpartition("/")[2]).out_trade_no
            return self.arrive(dict(parse_qsl(parts.query, keep_blank_values=True))).out_trade_no
        except Refused as refused:
            raise HandsError(refused.sub_code) from None

    def arrive(self, given: dict[str, str]) -> Trade:
        """The buyer opens a signed address. Raises Refused."""
        check_common(given, self.app_id, key_pair("app").public_key(), self.clock(), _PAGE_TOLERANCE)
        if given["method"] not in PAGES:
            raise Refused("40002", "isv.invalid-method")
        content = read_content(given)
        if content.get("product_code") != PAGES[given["method"]]:
            raise Refused("40004", "ACQ.INVALID_PARAMETER", "product_code")
        trade = self._order(content, given)
        if trade.status in (SUCCESS, FINISHED):
            raise Refused("40004", "ACQ.TRADE_HAS_SUCCESS")
        self.begin(trade)
        return trade

    async def close(self) -> None:
        """Ends the deliveries, and lets go of calls that hang; belongs into the server's `on_shutdown`. Once more does nothing."""
        self._closing.set()
        await self.courier.close()

    # The gateway.

    async def _on_get(self, request: web.Request) -> web.StreamResponse:
        try:
            trade = self.arrive(_single(list(request.query.items())))
        except Refused as refused:
            return Cashier.refusal(refused)
        raise web.HTTPFound(f"{PREFIX}/cashier/{trade.trade_no}")

    async def _on_post(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        texts = [(name, value) for name, value in form.items() if isinstance(value, str)]
        pairs, signed = [*request.query.items(), *texts], True
        method = dict(pairs).get("method", "")
        self.calls.append(method)
        kind = self._next_fault(method)
        try:
            if kind == "bad_gateway":
                raise web.HTTPBadGateway
            if kind == "hang":
                self.hanging.set()
                await self._closing.wait()
            if kind in ("away", "hang"):
                raise Refused("20000", "isp.unknow-error")
            answer = self._answer(_single(pairs))
        except Refused as refused:
            answer, signed = refused.answer(), refused.code not in ("40001", "40002")
        if kind == "lost" and request.transport is not None:
            request.transport.close()
        if kind == "unsure":
            answer = Refused("20000", "aop.ACQ.SYSTEM_ERROR").answer()
        return _written(method if method in self._methods else "error", answer, kind, signed)

    def _answer(self, given: dict[str, str]) -> dict[str, Any]:
        check_common(given, self.app_id, key_pair("app").public_key(), self.clock(), self.tolerance)
        if given["method"] not in self._methods:
            raise Refused("40002", "isv.invalid-method")
        return {"code": "10000", "msg": "Success"} | self._methods[given["method"]](read_content(given), given)

    def _order(self, content: dict[str, Any], given: dict[str, str]) -> Trade:
        """The trade of an order, made where there is none. Raises Refused, also when it is not the same order as before."""
        now = self.clock()
        number, total = read_name(content, "out_trade_no"), read_fen(content, "total_amount")
        subject = read_words(content, "subject", 256, needed=True, forbidden="/=&")
        body, passback = read_words(content, "body", 128), read_words(content, "passback_params", 512)
        quit_url = read_words(content, "quit_url", 400, needed=given["method"] == "alipay.trade.wap.pay")
        if content.get("goods_type", "0") not in ("0", "1"):
            raise Refused("40004", "ACQ.INVALID_PARAMETER", "goods_type")
        if (trade := self.trades.get(number)) is not None:
            self.refresh(trade)
            if (trade.total, trade.subject) != (total, subject):
                raise Refused("40004", "ACQ.CONTEXT_INCONSISTENT")
            return trade
        end = read_end(content, now)
        trade_no = f"{now.astimezone(BEIJING):%Y%m%d}22001{self.new_number(15)}"
        addresses = given.get("notify_url", ""), given.get("return_url", ""), quit_url
        trade = Trade(number, trade_no, subject, total, str(content.get("product_code", "")), now, end, *addresses, body, passback)
        self.trades[number] = trade
        return trade

    def _precreate(self, content: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
        if content.get("product_code", "FACE_TO_FACE_PAYMENT") not in ("FACE_TO_FACE_PAYMENT", "QR_CODE_OFFLINE"):
            raise Refused("40004", "ACQ.INVALID_PARAMETER", "product_code")
        trade = self._order(content, given)
        if trade.status not in ("", WAITING):
            raise Refused("40004", "ACQ.TRADE_HAS_CLOSE" if trade.status == CLOSED else "ACQ.TRADE_HAS_SUCCESS")
        trade.code = trade.code or f"bax{self.new_number(17)}"
        return {"out_trade_no": trade.out_trade_no, "qr_code": f"{self.public_url}{PREFIX}/qr/{trade.code}"}

    def _known(self, content: dict[str, Any]) -> Trade:
        """The trade that a call names, by Alipay's number or else by the merchant's. Raises Refused."""
        number, by = (content["trade_no"], "trade_no") if content.get("trade_no") else (read_name(content, "out_trade_no"), "out_trade_no")
        trade = next((trade for trade in self.trades.values() if getattr(trade, by) == number and trade.status), None)
        if trade is None:
            raise Refused("40004", "ACQ.TRADE_NOT_EXIST")
        self.refresh(trade)
        return trade

    def _query(self, content: dict[str, Any], _given: dict[str, str]) -> dict[str, Any]:
        trade = self._known(content)
        shown = _names(trade) | {"trade_status": trade.status, "total_amount": show_fen(trade.total), "buyer_user_id": BUYER}
        if trade.paid is None:
            return shown | {"buyer_pay_amount": "0.00", "receipt_amount": "0.00"}
        return shown | {"buyer_pay_amount": show_fen(trade.total), "send_pay_date": self.shown(trade.paid)}

    def _close(self, content: dict[str, Any], _given: dict[str, str]) -> dict[str, Any]:
        trade = self._known(content)
        if trade.status != WAITING:
            raise Refused("40004", "ACQ.TRADE_STATUS_ERROR")
        self.close_trade(trade.out_trade_no)
        return _names(trade)

    def _refund(self, content: dict[str, Any], _given: dict[str, str]) -> dict[str, Any]:
        trade, amount = self._known(content), read_fen(content, "refund_amount")
        read_words(content, "refund_reason", 256)
        number = read_name(content, "out_request_no") if amount < trade.total or "out_request_no" in content else trade.out_trade_no
        if (before := trade.refunds.get(number)) is not None:
            if before != amount:
                raise Refused("40004", "ACQ.DISCORDANT_REPEAT_REQUEST")
            return _names(trade) | {"fund_change": "N", "refund_fee": show_fen(trade.back), "buyer_user_id": BUYER}
        if trade.status != SUCCESS:
            why = {WAITING: "ACQ.TRADE_STATUS_ERROR", FINISHED: "ACQ.TRADE_HAS_FINISHED", CLOSED: "ACQ.TRADE_HAS_CLOSE"}
            raise Refused("40004", why[trade.status])
        if amount > trade.total - trade.back:
            raise Refused("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
        if self.poor:
            raise Refused("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH")
        self.give_back(trade.out_trade_no, amount, number=number)
        return _names(trade) | {"fund_change": "Y", "refund_fee": show_fen(trade.back), "buyer_user_id": BUYER}

    def _refund_query(self, content: dict[str, Any], _given: dict[str, str]) -> dict[str, Any]:
        """Without a refund of that number there is nothing but the code 10000."""
        trade, number = self._known(content), read_name(content, "out_request_no")
        if (amount := trade.refunds.get(number)) is None:
            return {}
        shown = {"out_request_no": number, "refund_amount": show_fen(amount), "refund_status": "REFUND_SUCCESS"}
        return _names(trade) | {"total_amount": show_fen(trade.total)} | shown

    def _next_fault(self, method: str) -> str:
        for fault in self._faults:
            if fault.method in ("*", method):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault.kind
        return ""

    async def _on_settings(self, _request: web.Request) -> web.Response:
        return web.json_response(self.settings())

    async def _on_shutdown(self, _app: web.Application) -> None:
        await self.close()


def _names(trade: Trade) -> dict[str, Any]:
    return {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no, "buyer_logon_id": "159****5620"}


def _single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name. Raises Refused for one that comes twice."""
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Refused("40002", "isv.invalid-parameter")
    return given


def _written(method: str, answer: dict[str, Any], kind: str, signed: bool) -> web.Response:
    """{"…_response": {…}, "sign": "…"}. Slashes are escaped, as the real gateway's are: written anew, the object is another text."""
    name = f"{method.replace('.', '_')}_response"
    content = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    seal = sign(content + " " * (kind == "forged"), key_pair("alipay"))
    end = f',"sign":"{seal}"}}' if signed and kind != "unsigned" else "}"
    return web.Response(text=f'{{"{name}":{content}{end}', content_type="text/html", charset="utf-8")
