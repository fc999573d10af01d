"""What buyers and the merchant's clerk do at Alipay: every button of the cashier page, from Python.

A hand takes the merchant's order number, and raises HandsError where the button would not be there.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from sandbox.alipay_notices import Courier, Notice
from sandbox.alipay_rules import BEIJING, TIME, Trade, key_pair, show_fen, sign, text_to_sign

WAITING, SUCCESS, FINISHED, CLOSED = "WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"
BUYER = "2088102100000009"


class HandsError(ValueError):
    """That cannot be done here."""


class AlipayHands:
    """The trades, and all that happens to them without the merchant's asking.

    `clock` gives the time; `courier` delivers the notices: its `pauses`, `hold`, `release`, `repeat`, `settled` and `deliveries` are for
    tests. `app_id` and `seller_id` may be replaced, so that notices come from somebody else.
    """

    def __init__(self, public_url: str, *, clock: Callable[[], datetime] | None = None, seed: int = 0) -> None:
        self.public_url = public_url
        self.app_id, self.seller_id = "2021000000000001", "2088000000000001"
        self.clock = clock or _now
        self.courier = Courier(self._sealed)
        self.trades: dict[str, Trade] = {}
        self.dice = Random(seed)

    def trade(self, order: str) -> Trade:
        """The trade of an order that the buyer has seen; one whose time is over has closed. Raises HandsError."""
        trade = self.trades.get(order)
        if trade is None or not trade.status:
            raise HandsError("nobody has opened this order at Alipay")
        self.refresh(trade)
        return trade

    def scan(self, code: str) -> Trade:
        """扫码: the buyer scans a QR code, given by the end of its address. Raises HandsError for an unknown one."""
        trade = next((trade for trade in self.trades.values() if trade.code and trade.code == code), None)
        if trade is None:
            raise HandsError("there is no such code")
        self.begin(trade)
        return trade

    def pay(self, order: str) -> None:
        """付款: TRADE_SUCCESS."""
        trade = self._waiting(order)
        trade.status, trade.paid = SUCCESS, self.clock()
        self.tell(trade)

    def pay_twice(self, order: str) -> None:
        """付款, and the notice comes twice, and a second notice of the same payment with another id."""
        self.pay(order)
        self.courier.repeat()
        self.tell(self.trades[order])

    def decline(self, order: str) -> None:
        """余额不足: the buyer cannot pay, the trade stays open, and nobody is told."""
        self._waiting(order)

    def pay_later(self, order: str) -> None:
        """稍后付款: the trade stays open; WAIT_BUYER_PAY."""
        self.tell(self._waiting(order))

    def close_trade(self, order: str) -> None:
        """关闭交易: the buyer will not pay; TRADE_CLOSED without a time of payment."""
        trade = self._waiting(order)
        trade.status, trade.closed = CLOSED, self.clock()
        self.tell(trade)

    def finish(self, order: str) -> None:
        """交易完结: the time for refunds is over; TRADE_FINISHED."""
        trade = self._refundable(order)
        trade.status = FINISHED
        self.tell(trade)

    def give_back(self, order: str, fen: int | None = None, *, number: str = "") -> str:
        """商家退款: the merchant gives money back in Alipay's own pages; all that is left by default. Returns the refund's number.

        A part leaves the trade at TRADE_SUCCESS, the last part closes it; either notice names what was given back in all.
        """
        trade = self._refundable(order)
        left = trade.total - trade.back
        if not 1 <= (fen := left if fen is None else fen) <= left:
            raise HandsError(f"an amount of 0.01 to {show_fen(left)}")
        number = number or f"MER{self.new_number(17)}"
        trade.refunds[number] = fen
        trade.refunded = self.clock()
        if trade.back == trade.total:
            trade.status, trade.closed = CLOSED, trade.refunded
        self.tell(trade, number)
        return number

    def complain(self, order: str) -> str:
        """投诉退款: the buyer complains, and all that is left goes back. Alipay has no chargeback."""
        return self.give_back(order, number=f"CPL{self.new_number(17)}")

    def tell_again(self, order: str) -> None:
        """重新通知: every notice about an order goes out once more, as if the answers had been lost."""
        told = [notice for notice in self.courier.notices if notice.fields["out_trade_no"] == self.trade(order).out_trade_no]
        if not told:
            raise HandsError("nothing has been told yet")
        for notice in told:
            self.courier.repeat(notice.id)

    def refresh(self, trade: Trade) -> None:
        """Closes a trade whose time is over; TRADE_CLOSED, as soon as somebody looks."""
        if trade.status == WAITING and trade.expires is not None and trade.expires <= self.clock():
            trade.status, trade.closed = CLOSED, trade.expires
            self.tell(trade)

    def begin(self, trade: Trade) -> None:
        """The buyer sees a trade for the first time."""
        if not trade.status:
            trade.status, trade.created = WAITING, self.clock()
        self.refresh(trade)

    def tell(self, trade: Trade, refund: str = "") -> None:
        """Sends a notice of how a trade stands; `refund`: of which refund it is."""
        amount = show_fen(trade.total)
        fields = {
            "notify_type": "trade_status_sync",
            "notify_id": self.new_number(34),
            "app_id": self.app_id,
            "auth_app_id": self.app_id,
            "charset": "utf-8",
            "version": "1.0",
            "seller_id": self.seller_id,
            "buyer_id": BUYER,
            "trade_no": trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "trade_status": trade.status,
            "total_amount": amount,
            "subject": trade.subject,
            "body": trade.body,  # an empty value is sent, and signed
            "gmt_create": self.shown(trade.created),
        }
        if trade.passback:
            fields["passback_params"] = trade.passback
        if trade.paid is not None:
            fields |= {"gmt_payment": self.shown(trade.paid), "receipt_amount": amount, "buyer_pay_amount": amount, "point_amount": "0.00"}
            fields |= {"invoice_amount": amount, "fund_bill_list": f'[{{"amount":"{amount}","fundChannel":"ALIPAYACCOUNT"}}]'}
        if trade.closed is not None:
            fields["gmt_close"] = self.shown(trade.closed)
        if refund and trade.refunded is not None:
            fields |= {"refund_fee": show_fen(trade.back), "gmt_refund": self.shown(trade.refunded) + ".320", "out_biz_no": refund}
        self.courier.send(Notice(trade.notify_url, fields))

    def shown(self, moment: datetime) -> str:
        """A time in Beijing's hours."""
        return moment.astimezone(BEIJING).strftime(TIME)

    def new_number(self, digits: int) -> str:
        """A number that has not been there."""
        return f"{self.dice.randrange(10 ** (digits - 1), 10**digits)}"

    def _waiting(self, order: str) -> Trade:
        if (trade := self.trade(order)).status != WAITING:
            raise HandsError("this order cannot be paid any more")
        return trade

    def _refundable(self, order: str) -> Trade:
        if (trade := self.trade(order)).status != SUCCESS:
            raise HandsError("this order has nothing to give back")
        return trade

    def _sealed(self, fields: dict[str, str]) -> dict[str, str]:
        """A notice as it goes out now; the signature leaves `sign_type` out."""
        told = fields | {"notify_time": self.shown(self.clock())}
        return told | {"sign_type": "RSA2", "sign": sign(text_to_sign(told), key_pair("alipay"))}


def _now() -> datetime:
    return datetime.now(UTC)
