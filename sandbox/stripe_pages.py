"""The hosted checkout page of the Stripe stand-in, with a button for everything that can become of a payment. English and Chinese."""

from jinja2 import DictLoader, Environment, StrictUndefined

from sandbox.stripe_events import Delivery
from sandbox.stripe_state import Intent, Session

NO_CENTS = ("jpy",)
SIGNS = {"usd": "US$", "eur": "€", "gbp": "£", "hkd": "HK$", "sgd": "S$", "jpy": "JP¥", "cny": "CN¥"}


def money(amount: int, currency: str) -> str:
    """An amount in the smallest unit, as people write it."""
    sign = SIGNS[currency]
    return f"{sign}{amount:,}" if currency in NO_CENTS else f"{sign}{amount // 100:,}.{amount % 100:02d}"


def checkout(session: Session, deliveries: list[Delivery], words: dict[str, str], problem: str = "") -> str:
    """The page of one session. `problem`: one of the words, shown on top."""
    intent = session.intent
    left = intent.amount - intent.refunded if intent else 0
    return _environment.get_template("checkout").render(
        t=words,
        session=session,
        intent=intent,
        amount=money(session.amount, session.currency),
        left=left,
        left_shown=money(left, session.currency),
        whole_units=session.currency in NO_CENTS,
        part=_plain(max(1, left // 2), session.currency),
        state=state_of(session),
        facts=_facts(intent, words) if intent else [],
        pending=[refund for refund in intent.refunds if refund.status == "pending"] if intent else [],
        deliveries=deliveries[-8:][::-1],
        problem=words[problem] if problem else "",
    )


def dashboard(sessions: list[Session], words: dict[str, str]) -> str:
    """Every session, the newest first."""
    rows = [(one, money(one.amount, one.currency), words[state_of(one)]) for one in reversed(sessions)]
    return _environment.get_template("dashboard").render(t=words, rows=rows, problem="")


def missing(words: dict[str, str]) -> str:
    """For a session that is not there."""
    return _environment.get_template("dashboard").render(t=words, rows=[], problem=words["missing"])


def state_of(session: Session) -> str:
    """The word for where the payment stands."""
    if session.status == "complete" and session.intent is not None:
        return {"succeeded": "paid", "processing": "processing"}.get(session.intent.status, "failed")
    return session.status


def _facts(intent: Intent, words: dict[str, str]) -> list[str]:
    """What happened to money that was paid."""
    names = {"succeeded": "refunded", "pending": "refund_pending", "failed": "refund_failed", "canceled": "refund_failed"}
    facts = [words[names[refund.status]].format(amount=money(refund.amount, intent.currency)) for refund in intent.refunds]
    if (dispute := intent.dispute) is not None:
        name = {"won": "won", "lost": "lost", "needs_response": "bank_took", "warning_needs_response": "bank_asks"}.get(dispute.status)
        facts += [words[name].format(amount=money(dispute.amount, intent.currency))] if name else []
    return facts


def _plain(amount: int, currency: str) -> str:
    return str(amount) if currency in NO_CENTS else f"{amount // 100}.{amount % 100:02d}"


_STYLE = """
:root{color-scheme:light dark;--page:#f3f5fa;--card:#fff;--ink:#1a1f36;--soft:#5b6480;--line:#dfe3ee;--main:#635bff;--main-ink:#fff;
--good:#0a7a55;--good-back:#dff5ea;--bad:#b3261e;--bad-back:#fdeae8;--wait:#8a5a00;--wait-back:#fff2d6}
@media (prefers-color-scheme:dark){:root{--page:#10131f;--card:#1a1f31;--ink:#eef0f8;--soft:#a2aac4;--line:#303750;--main:#7a73ff;
--good:#7fe0b5;--good-back:#12372a;--bad:#ffb4ab;--bad-back:#43201d;--wait:#ffd58a;--wait-back:#3d2f10}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:460px;margin:0 auto;padding:16px 16px 40px}
header{display:flex;align-items:center;gap:10px;padding:4px 0 18px}
header b{flex:1;font-size:15px}
.mark{width:28px;height:28px;border-radius:8px;background:linear-gradient(135deg,#635bff,#00b8d9);flex:none}
.badge{font-size:12px;font-weight:600;color:var(--wait);background:var(--wait-back);border-radius:6px;padding:3px 8px}
.what{color:var(--soft);overflow-wrap:anywhere}
.sum{font-size:40px;font-weight:700;letter-spacing:-.02em;line-height:1.2;margin:2px 0 6px;font-variant-numeric:tabular-nums}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px;margin:16px 0}
h2{font-size:14px;margin:0 0 12px;color:var(--soft);font-weight:600}
.fake{border:1px solid var(--line);border-radius:10px;overflow:hidden;margin-bottom:8px;font-variant-numeric:tabular-nums}
.fake div{display:flex;align-items:center;justify-content:space-between;gap:12px;padding:10px 12px}
.fake div+div{border-top:1px solid var(--line)}
.fake span,.note{color:var(--soft);font-size:14px}
.note{margin:0 0 14px}
form{margin:0}
form+form,.pair{margin-top:10px}
button{font:inherit;font-weight:500;width:100%;min-height:48px;padding:10px 16px;border-radius:10px;cursor:pointer;
border:1px solid var(--line);background:transparent;color:var(--ink)}
button:hover{border-color:var(--soft)}
button:focus-visible,input:focus-visible,a:focus-visible{outline:3px solid var(--main);outline-offset:2px}
button.main{background:var(--main);border-color:var(--main);color:var(--main-ink);font-weight:600}
button.bad{color:var(--bad)}
.part{display:flex;gap:8px}
.part input{font:inherit;width:110px;flex:none;min-height:48px;border:1px solid var(--line);border-radius:10px;padding:0 12px;
background:transparent;color:var(--ink)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:10px}
.pair form+form{margin-top:0}
.state{display:inline-block;border-radius:8px;padding:4px 10px;font-weight:600;font-size:14px;color:var(--wait);background:var(--wait-back)}
.state.paid{color:var(--good);background:var(--good-back)}
.state.failed,.state.expired,.alarm{color:var(--bad);background:var(--bad-back)}
.alarm{border-radius:10px;padding:10px 14px;margin:12px 0;font-weight:600}
ul{list-style:none;margin:0;padding:0}
li:first-child{padding-top:0}
li:last-child{padding-bottom:0}
li{padding:8px 0;display:flex;align-items:center;justify-content:space-between;gap:12px;font-size:14px}
li+li{border-top:1px solid var(--line)}
li code{font-size:13px;overflow-wrap:anywhere}
.ok{color:var(--good)}.no{color:var(--bad)}.ok,.no,.soft{white-space:nowrap}.soft{color:var(--soft)}
a{color:var(--main)}
.row{color:inherit;text-decoration:none;flex:1}
footer{display:flex;justify-content:space-between;gap:12px;flex-wrap:wrap;font-size:14px;color:var(--soft)}
"""

_FRAME = (
    """<!doctype html>
<html lang="{{ t.language }}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{% block title %}{{ t.shop }}{% endblock %}</title><link rel="icon" href="data:,"><style>"""
    + _STYLE
    + """</style></head>
<body><main>
<header><span class="mark" aria-hidden="true"></span><b>{{ t.shop }}</b><span class="badge">{{ t.test }}</span></header>
{% if problem %}<p class="alarm" role="alert">{{ problem }}</p>{% endif %}
{% block content %}{% endblock %}
</main></body></html>"""
)

_CHECKOUT = """{% extends "frame" %}
{% macro button(name, label, class="") %}
<form method="post" action="/stripe/pay/{{ session.id }}/{{ name }}"><button class="{{ class }}">{{ label }}</button></form>
{% endmacro %}
{% block title %}{{ session.title }} · {{ amount }}{% endblock %}
{% block content %}
<div class="what">{{ session.title }}</div>
<div class="sum">{{ amount }}</div>
{% if state != "open" %}<span class="state {{ state }}">{{ t[state] }}</span>{% endif %}
{% if state == "open" %}
{% if session.declined %}<p class="alarm" role="alert">{{ t.declined }}</p>{% endif %}
<section class="card"><h2>{{ t.card }}</h2>
<div class="fake"><div><span>{{ t.number }}</span>4242 4242 4242 4242</div><div><span>{{ t.expiry }}</span>12 / 34</div></div>
<p class="note">{{ t.card_note }}</p>
{{ button("pay", t.pay.format(amount=amount), "main") }}</section>
<section class="card"><h2>{{ t.other }}</h2>
{{ button("decline", t.decline) }}{{ button("pay_later", t.pay_later) }}
{{ button("pay_twice", t.pay_twice) }}{{ button("expire", t.expire) }}
</section>
{% elif state == "expired" %}
<p>{{ t.expired_note }}</p>
{% elif state == "processing" %}
<section class="card"><h2>{{ t.buyer }}</h2>{{ button("money_arrives", t.money_arrives, "main") }}{{ button("money_fails", t.money_fails) }}
</section>
{% elif state == "paid" %}
{% if facts %}<section class="card"><ul>{% for fact in facts %}<li>{{ fact }}</li>{% endfor %}</ul></section>{% endif %}
{% set dispute = intent.dispute %}
{% if (left and not (dispute and dispute.status in ("needs_response", "lost", "won"))) or pending %}
<section class="card"><h2>{{ t.seller }}</h2>
{% for refund in pending %}<div class="pair">{{ button("finish_refund?refund=" + refund.id, t.finish_refund) }}{#
#}{{ button("fail_refund?refund=" + refund.id, t.fail_refund) }}</div>{% endfor %}
{% if left and not dispute %}
<form class="part" method="post" action="/stripe/pay/{{ session.id }}/refund"><input name="amount" inputmode="decimal" required
 pattern="{{ '[0-9]{1,8}' if whole_units else '[0-9]{1,6}([.][0-9]{1,2})?' }}" value="{{ part }}"
 aria-label="{{ t.refund_part }}"><button>{{ t.refund_part }}</button></form>
{{ button("refund", t.refund_all.format(amount=left_shown)) }}{% endif %}
</section>{% endif %}
{% if left and not dispute %}
<section class="card"><h2>{{ t.buyer }}</h2>{{ button("chargeback", t.chargeback, "bad") }}{{ button("inquiry", t.inquiry) }}</section>
{% elif dispute and dispute.open %}
<section class="card"><h2>{{ t.buyer }}</h2>{{ button("win_chargeback", t.win) }}{#
#}{% if dispute.moved %}{{ button("lose_chargeback", t.lose, "bad") }}{% endif %}</section>{% endif %}
{% endif %}
{% if state != "open" or deliveries %}
<section class="card"><h2>{{ t.told }}</h2>
{% if not deliveries %}<p class="note">{{ t.told_nobody }}</p>{% endif %}
<ul>{% for one in deliveries %}<li><code>{{ one.kind }}</code>
{% if not one.answers %}<span class="soft">{{ t.waiting }}</span>
{% else %}<span class="{{ 'ok' if one.done else 'no' }}">{{ one.answers[-1] or t.no_answer }}
{% if one.answers|length > 1 %}×{{ one.answers|length }}{% endif %}</span>{% endif %}</li>
{% endfor %}</ul>{% if deliveries %}{{ button("tell_again", t.tell_again) }}{% endif %}</section>{% endif %}
<footer><a href="{{ session.wanted.cancel_url or session.wanted.success_url }}">{{ t.back }}</a>
<a href="/stripe/dashboard">{{ t.all }}</a><span>{{ t.test_note }}</span></footer>
{% endblock %}"""

_DASHBOARD = """{% extends "frame" %}{% block title %}{{ t.all }}{% endblock %}{% block content %}
<section class="card"><h2>{{ t.all }}</h2>{% if not rows %}<p class="note">{{ t.none }}</p>{% endif %}
<ul>{% for session, amount, state in rows %}
<li><a class="row" href="/stripe/pay/{{ session.id }}"><b>{{ amount }}</b> {{ session.title }}</a>
<span class="soft">{{ state }}</span></li>{% endfor %}</ul></section>{% endblock %}"""

_environment = Environment(
    loader=DictLoader({"frame": _FRAME, "checkout": _CHECKOUT, "dashboard": _DASHBOARD}),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
