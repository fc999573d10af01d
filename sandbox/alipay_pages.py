"""The pages that a buyer sees: the cashier, its result, and the merchant's side of it. Chinese first, as there, then English; no script."""

import contextlib
from collections.abc import Callable
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from sandbox.alipay_hands import CLOSED, FINISHED, SUCCESS, WAITING, AlipayHands, HandsError
from sandbox.alipay_notices import Delivery
from sandbox.alipay_rules import Refused, Trade, key_pair, read_fen, show_fen, sign, text_to_sign

PREFIX = "/alipay"
_TOLD_SECONDS = 1.0  # a page that comes after a button waits this long for the notices, to show how they fared
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"

STATES = {
    WAITING: ("等待付款", "Waiting for payment", "wait"),
    SUCCESS: ("支付成功", "Paid", "good"),
    FINISHED: ("交易完结", "Finished, no more refunds", "good"),
    CLOSED: ("交易关闭", "Closed", "off"),
}
SAID = {
    "declined": ("余额不足，付款失败。交易仍未付款。", "The balance is too low: nothing was paid, the order stays open."),
    "later": ("已保留订单，可在到期前付款。", "The order is kept; it can be paid until it lapses."),
    "refused": ("现在不能这样做。", "That cannot be done now."),
}
STYLE = """
*{box-sizing:border-box}
body{margin:0;background:#f2f4f8;color:#1f2733;font:16px/1.45 system-ui,"PingFang SC","Noto Sans CJK SC","Microsoft YaHei",sans-serif}
header{background:#1677ff;color:#fff;padding:14px 20px 58px}
header div{max-width:440px;margin:auto;display:flex;align-items:baseline;gap:10px}
header b{font-size:19px}
header i{margin-inline-start:auto;font-style:normal;font-size:12px;background:#ffffff2e;border-radius:99px;padding:3px 10px}
main{max-width:440px;margin:-44px auto 0;padding:0 14px 32px;display:grid;gap:12px}
section{background:#fff;border-radius:14px;padding:18px;box-shadow:0 1px 3px #1b2a4a14}
h2{margin:0 0 12px;font-size:15px}
small,.en{color:#667085;font-size:13px;font-weight:400}
.sum{text-align:center;padding-top:22px}
.sum h1{margin:6px 0 2px;font-size:40px;line-height:1.1;letter-spacing:-.5px;font-variant-numeric:tabular-nums}
.sum h1 span{font-size:24px;margin-inline-end:3px}
.sum p{margin:0;overflow-wrap:anywhere}
.state{display:inline-block;border-radius:99px;padding:3px 12px;font-size:13px;margin:0 0 8px}
.wait{background:#fff3dc;color:#8a5300}.good{background:#e2f6e9;color:#116b37}.off{background:#eceef2;color:#4a5364}
dl{margin:16px 0 0;border-top:1px solid #edf0f4;padding-top:12px;display:grid;gap:7px;font-size:13px}
dl div{display:flex;justify-content:space-between;gap:10px}
dt{color:#667085;white-space:nowrap}dd{margin:0;text-align:end;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.tight{font-size:12px;letter-spacing:-.2px}
form{margin:0}.stack{display:grid;gap:9px}
button,.go{display:block;width:100%;min-height:52px;border:1px solid #d5dae3;border-radius:11px;padding:7px 12px;background:#fff}
button,.go{color:inherit;font:inherit;line-height:1.25;text-align:center;text-decoration:none;cursor:pointer}
button small,.go small{display:block;margin-top:1px}
.main{background:#1677ff;border-color:#1677ff;color:#fff;font-weight:600}.main small{color:#dceaff}
.bad{color:#b3261e;border-color:#efc9c6}
button:hover,.go:hover{border-color:#1677ff}.main:hover{background:#0f66e0}
:focus-visible{outline:3px solid #8abaff;outline-offset:1px}
.part{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.4fr);gap:9px}
input{width:100%;min-height:52px;border:1px solid #d5dae3;border-radius:11px;padding:0 12px;font:inherit;font-variant-numeric:tabular-nums}
.said{border-inline-start:4px solid #f5a524;padding:12px 16px}.said p{margin:0}
ol{margin:0;padding:0;list-style:none;font-size:13px}
li{display:flex;gap:10px;padding:7px 0;border-top:1px solid #edf0f4}li:first-child{border:0}
li span{flex:1;min-width:0;overflow-wrap:anywhere}
li b{font-weight:600}li em{font-style:normal;white-space:nowrap}.yes{color:#116b37}.no{color:#b3261e}
footer{text-align:center;padding:2px 12px}
"""

Hand = Callable[[str], object]


class Cashier:
    """The pages over the hands: each button is one of them."""

    def __init__(self, hands: AlipayHands) -> None:
        self._hands = hands
        self._buttons: dict[str, tuple[Hand, str]] = {  # name -> hand, what the next page says
            "pay": (hands.pay, ""),
            "pay_twice": (hands.pay_twice, ""),
            "decline": (hands.decline, "declined"),
            "pay_later": (hands.pay_later, "later"),
            "close_trade": (hands.close_trade, ""),
            "give_back": (hands.give_back, ""),
            "complain": (hands.complain, ""),
            "finish": (hands.finish, ""),
            "tell_again": (hands.tell_again, ""),
        }

    def routes(self) -> list[web.RouteDef]:
        """The pages."""
        return [
            web.get(PREFIX + "/qr/{code}", self._on_scan),
            web.get(PREFIX + "/cashier/{trade_no}", self._on_show),
            web.post(PREFIX + "/cashier/{trade_no}/{button}", self._on_button),
        ]

    @staticmethod
    def refusal(refused: Refused) -> web.Response:
        """What a buyer sees of a request that the gateway does not take."""
        answer = refused.answer()
        body = f"""<section class="sum"><p class="state off">{escape(answer["sub_code"])}</p>
<p>{escape(answer["sub_msg"])}</p><p class="en">Alipay does not take this request: {escape(answer["msg"])}</p></section>"""
        return _page("无法付款", body, status=400)

    async def _on_scan(self, request: web.Request) -> web.StreamResponse:
        try:
            trade = self._hands.scan(request.match_info["code"])
        except HandsError:
            return _page(
                "二维码无效", '<section class="sum"><p>二维码无效</p><p class="en">Nobody knows this code.</p></section>', status=404
            )
        raise web.HTTPFound(f"{PREFIX}/cashier/{trade.trade_no}")

    async def _on_show(self, request: web.Request) -> web.StreamResponse:
        trade = self._found(request)
        self._hands.refresh(trade)
        deliveries = [one for one in self._hands.courier.deliveries if one.out_trade_no == trade.out_trade_no]
        said = SAID.get(request.query.get("said", ""))
        return _page("收银台", _said(said) + self._summary(trade) + self._actions(trade) + _told(trade, deliveries))

    async def _on_button(self, request: web.Request) -> web.StreamResponse:
        trade, name = self._found(request), request.match_info["button"]
        if name not in self._buttons:
            raise web.HTTPNotFound
        hand, said = self._buttons[name]
        try:
            if name == "give_back" and (amount := (await request.post()).get("amount")) is not None:
                self._hands.give_back(trade.out_trade_no, read_fen({"amount": amount}, "amount"))
            else:
                hand(trade.out_trade_no)
        except (HandsError, Refused):
            said = "refused"
        with contextlib.suppress(TimeoutError):
            await self._hands.courier.settled(within=_TOLD_SECONDS)
        raise web.HTTPSeeOther(f"{PREFIX}/cashier/{trade.trade_no}" + (f"?said={said}" if said else ""))

    def _found(self, request: web.Request) -> Trade:
        number = request.match_info["trade_no"]
        trade = next((trade for trade in self._hands.trades.values() if trade.trade_no == number and trade.status), None)
        if trade is None:
            raise web.HTTPNotFound
        return trade

    def _summary(self, trade: Trade) -> str:
        chinese, english, look = STATES[trade.status]
        if trade.back:
            chinese, english, look = (
                ("已全额退款", "Refunded", "off") if trade.status == CLOSED else ("部分退款", "Refunded in part", "wait")
            )
        rows = [("收款方 Seller", self._hands.seller_id), ("订单号 Order", trade.out_trade_no), ("交易号 Trade", trade.trade_no)]
        if trade.status == WAITING and trade.expires is not None:
            rows.append(("付款截止 Pay before", self._hands.shown(trade.expires)))
        if trade.paid is not None:
            rows.append(("付款时间 Paid at", self._hands.shown(trade.paid)))
        if trade.back:
            rows.append(("已退款 Given back", f"¥{show_fen(trade.back)}"))
        shown = "".join(f"<div><dt>{name}</dt><dd{' class=tight' * (len(value) > 24)}>{escape(value)}</dd></div>" for name, value in rows)
        return f"""<section class="sum"><p class="state {look}">{chinese} {english}</p>
<h1><span>¥</span>{show_fen(trade.total)}</h1><p>{escape(trade.subject)}</p><dl>{shown}</dl></section>"""

    def _actions(self, trade: Trade) -> str:
        home = f"{PREFIX}/cashier/{trade.trade_no}/"
        sections = []
        if trade.status == WAITING:
            buttons = [
                _button(home + "pay", f"确认付款 ¥{show_fen(trade.total)}", "Pay", "main"),
                _button(home + "pay_later", "稍后付款", "Pay later: the order stays open"),
                _button(home + "close_trade", "关闭交易", "Close without paying", "bad"),
            ]
            trouble = [
                _button(home + "decline", "余额不足", "Decline: the payment fails"),
                _button(home + "pay_twice", "付款并重复通知", "Pay; the merchant is told three times"),
            ]
            sections.append(f'<div class="stack">{"".join(buttons)}</div>')
            sections.append(f'<h2>出点状况 <span class="en">Trouble</span></h2><div class="stack">{"".join(trouble)}</div>')
        if trade.status != WAITING or trade.quit_url:
            sections.append(self._way_back(trade))
        page = "".join(f"<section>{section}</section>" for section in sections if section)
        if trade.status != SUCCESS:
            return page
        left = show_fen(trade.total - trade.back)
        part = show_fen(max(1, (trade.total - trade.back) // 2))
        return f"""{page}<section><h2>商家后台 <span class="en">The merchant's side</span></h2><div class="stack">
<form class="part" method="post" action="{home}give_back">
<input name="amount" value="{part}" inputmode="decimal" aria-label="退款金额 Amount to give back, yuan">
<button>部分退款<small>Refund this part</small></button></form>
{_button(home + "give_back", f"全额退款 ¥{left}", "Refund all that is left")}
{_button(home + "complain", "买家投诉退款", "The buyer complains: all goes back", "bad")}
{_button(home + "finish", "交易完结", "The time for refunds is over")}</div></section>"""

    def _way_back(self, trade: Trade) -> str:
        """The link to the merchant; after a payment with the signed parameters, which prove nothing to whoever reads them in a browser."""
        if trade.paid is None:
            url = trade.quit_url or trade.return_url
        else:
            told = {"out_trade_no": trade.out_trade_no, "trade_no": trade.trade_no, "total_amount": show_fen(trade.total)}
            told |= {"app_id": self._hands.app_id, "seller_id": self._hands.seller_id, "charset": "utf-8", "version": "1.0"}
            told |= {"timestamp": self._hands.shown(self._hands.clock())}
            told |= {"sign_type": "RSA2", "sign": sign(text_to_sign(told), key_pair("alipay"))}
            url = trade.return_url and f"{trade.return_url}{'&' if '?' in trade.return_url else '?'}{urlencode(told)}"
        if not url:
            return ""
        return f'<a class="go" href="{escape(url)}">返回商家<small>Back to the merchant</small></a>'


def _button(action: str, chinese: str, english: str, look: str = "") -> str:
    return f'<form method="post" action="{action}"><button class="{look}">{chinese}<small>{english}</small></button></form>'


def _said(said: tuple[str, str] | None) -> str:
    if said is None:
        return ""
    return f'<section class="said" role="status"><p>{said[0]}</p><p class="en">{said[1]}</p></section>'


def _told(trade: Trade, deliveries: list[Delivery]) -> str:
    """What the merchant was told, and what it answered."""
    if not trade.notify_url:
        text = '<p class="en">没有通知地址 No address for notices</p>'
    elif not deliveries:
        text = '<p class="en">还没有通知 Nothing yet</p>'
    else:
        again = _button(f"{PREFIX}/cashier/{trade.trade_no}/tell_again", "重新通知", "Send every notice again")
        text = f"<ol>{''.join(map(_row, deliveries[-12:]))}</ol>{again}"
    link = f'<a class="en" href="{PREFIX}/cashier/{trade.trade_no}">刷新 Refresh</a>'
    return f'<section><h2>商家通知 <span class="en">Notices to the merchant</span></h2>{text}{link}</section>'


def _row(one: Delivery) -> str:
    back = f" · 退款 ¥{escape(one.refund_fee)}" if one.refund_fee else ""
    answer = "success ✓" if one.taken else f"{one.status or ''} {one.answer[:40]} ✗"
    name = f"<b>{escape(one.trade_status)}</b>{back}<br><small>…{escape(one.notify_id[-8:])}</small>"
    return f'<li><span>{name}</span><em class="{"yes" if one.taken else "no"}">{escape(answer.strip())}</em></li>'


def _page(title: str, body: str, *, status: int = 200) -> web.Response:
    text = f"""<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · 支付宝沙箱</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>
<body><header><div><b>支付宝</b><span>{title}</span><i>沙箱 Sandbox</i></div></header><main>{body}
<footer><small>这里没有真钱，也不会连接支付宝。<br>No real money moves here, and nothing reaches Alipay.</small></footer>
</main></body></html>"""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=headers)
