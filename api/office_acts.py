"""What an admin does in the back office: the use cases of the chat commands, each with a reason that goes into the log of acts."""

import hashlib
import html
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette_admin.actions import row_action
from starlette_admin.exceptions import ActionFailed
from starlette_admin.flash import flash
from starlette_admin.i18n import get_locale

from api.errors import sentence_of
from api.idempotency import Answer, business_key, once
from api.language import WORDS
from api.office_evidence import say
from api.office_session import admin_of
from api.office_views import DisputesTable, Table, later
from api.problems import Problem
from api.shown import MAX_ID, core_of
from core.acts.models import MAX_REASON
from core.disputes.models import State
from core.disputes.rules import NEXT
from core.errors import Refusal
from core.money import CREDIT, parse_credits
from core.payouts.models import MAX_REFERENCE, STEPS
from core.payouts.models import State as PayoutState
from core.presets.models import PresetState
from core.unit_of_work import UnitOfWork
from core.users.models import User
from core.words import Text

MAX_AMOUNT = 13
"""Characters of a typed amount."""
Use = Callable[[UnitOfWork, User, int, str, int], Awaitable[object]]
"""A use case: transaction, admin, number of the row, reason, amount in milli-credits."""


def reason_form(request: Request, row: Any) -> str:
    """A form that asks for the reason."""
    return _form(_field("reason", f"maxlength={MAX_REASON}"))


def reference_form(request: Request, row: Any) -> str:
    """A form that asks for the reference of a payment outside."""
    return _form(_field("reason", f"maxlength={MAX_REFERENCE}", label="reference"))


def amount_form(request: Request, row: Any) -> str:
    """A form that asks for an amount and the reason; it counts once, however often it is sent."""
    once_only = f"<input type=hidden name=key value={secrets.token_urlsafe(16)}>"
    return _form(_field("amount", f"inputmode=decimal maxlength={MAX_AMOUNT}") + _field("reason", f"maxlength={MAX_REASON}") + once_only)


def _field(name: str, more: str, label: str | None = None) -> str:
    words = html.escape(say(f"field.{label or name}"))
    return f"<label class=form-label for=office-{name}>{words}</label><input class='form-control mb-3' id=office-{name} name={name} {more}>"


def _form(fields: str) -> str:
    return f"<form autocomplete=off>{fields}</form>"


async def perform(request: Request, pk: str, use: Use) -> None:
    """One use case in one transaction, said afterwards. Raises ActionFailed with the words of what is refused."""
    app, admin = core_of(request), admin_of(request)
    form: FormData = await request.form()
    reason, amount = str(form.get("reason") or "").replace("\0", ""), _amount(str(form.get("amount") or ""))
    number = int(pk) if pk.isascii() and pk.isdigit() and len(pk) < len(str(MAX_ID)) else 0

    async def act() -> Answer:
        await app.run(lambda work: use(work, admin, number, reason, amount))
        return Answer(200, b"{}")

    try:
        done, _ = await once(request, app, admin.id, key_of(request, pk, form) if "key" in form else None, [number, amount, reason], act)
    except Refusal as error:
        raise ActionFailed(WORDS.plain(sentence_of(error), get_locale())) from None
    except Problem as problem:
        raise ActionFailed(WORDS.plain(Text(f"error.{problem.code}", problem.facts), get_locale())) from None
    if done.status != 200:
        raise ActionFailed(json.loads(done.body)["detail"])
    flash(request, say("done"), "success")


def key_of(request: Request, pk: str, form: FormData) -> str:
    """The key of one sending of a form: twice the same counts once, and what was refused can be mended and sent again."""
    sent = [pk, request.query_params.get("name"), *(str(form.get(name) or "") for name in ("key", "amount", "reason"))]
    return "office:" + hashlib.sha256(json.dumps(sent).encode()).hexdigest()[:40]


def _amount(text: str) -> int:
    try:
        return parse_credits(text.strip()[:MAX_AMOUNT])
    except ValueError:
        return 0


class UsersTable(Table):
    """Users: given Credits, banned and let in again."""

    row_actions: Sequence[str] | None = ("view", "grant", "ban", "unban")

    async def is_row_action_allowed_for_obj(self, request: Request, name: str, obj: Any) -> bool:
        """A ban where there is none, and the other way round."""
        return {"ban": not obj.raw["frozen"], "unban": obj.raw["frozen"]}.get(name, True) or request.method == "POST"

    @row_action("grant", later("act.grant"), later("ask.grant"), form=amount_form, icon_class="fa fa-gift", submit_btn_text=later("send"))
    async def grant(self, request: Request, pk: str) -> None:
        """Gives Credits, once for each form."""
        most = core_of(request).settings.grant_most * CREDIT
        form = await request.form()
        if not form.get("key"):
            raise ActionFailed(WORDS.plain(Text("error.foreign_form"), get_locale()))
        key = business_key(admin_of(request).id, key_of(request, pk, form))

        async def use(work: UnitOfWork, admin: User, number: int, reason: str, amount: int) -> None:
            await work.oversight.grant(admin, number, amount, reason, key, most)

        await perform(request, pk, use)

    @row_action("ban", later("act.ban"), later("ask.ban"), form=reason_form, icon_class="fa fa-ban", submit_btn_text=later("send"))
    async def ban(self, request: Request, pk: str) -> None:
        """Freezes a user."""
        await perform(request, pk, lambda work, admin, number, reason, _: work.oversight.ban(admin, number, reason))

    @row_action("unban", later("act.unban"), later("ask.unban"), form=reason_form, icon_class="fa fa-unlock", submit_btn_text=later("send"))
    async def unban(self, request: Request, pk: str) -> None:
        """Lifts it."""
        await perform(request, pk, lambda work, admin, number, reason, _: work.oversight.unban(admin, number, reason))


def _judged(request: Request, verdict: State) -> Use:
    """A verdict; what moves more than the settings let one admin move waits for a second one."""
    alone = core_of(request).settings.verdict_confirm_above * CREDIT

    return lambda work, admin, number, reason, amount: work.disputes.decide(number, admin, verdict, reason, alone=alone, amount=amount)


class VerdictsTable(DisputesTable):
    """Disputes, decided here."""

    row_actions: Sequence[str] | None = ("view", "refund", "part", "reject", "goodwill", "take_back")

    async def is_row_action_allowed_for_obj(self, request: Request, name: str, obj: Any) -> bool:
        """Verdicts where one is due, and what takes one back where one gave something."""
        state = State(obj.raw["state"])
        due = State.TAKEN_BACK in NEXT[state] if name == "take_back" else state is State.OPEN
        return name == "view" or due or request.method == "POST"

    @row_action(
        "refund", later("act.refund"), later("ask.refund"), form=reason_form, icon_class="fa fa-undo", submit_btn_text=later("send")
    )
    async def refund(self, request: Request, pk: str) -> None:
        """All of it goes back."""
        await perform(request, pk, _judged(request, State.REFUNDED))

    @row_action("part", later("act.part"), later("ask.part"), form=amount_form, icon_class="fa fa-percent", submit_btn_text=later("send"))
    async def part(self, request: Request, pk: str) -> None:
        """A part goes back."""
        await perform(request, pk, _judged(request, State.PARTLY))

    @row_action(
        "reject", later("act.reject"), later("ask.reject"), form=reason_form, icon_class="fa fa-times", submit_btn_text=later("send")
    )
    async def reject(self, request: Request, pk: str) -> None:
        """All stays as it is."""
        await perform(request, pk, _judged(request, State.REJECTED))

    @row_action("goodwill", later("act.goodwill"), later("ask.goodwill"), form=amount_form, icon_class="fa fa-gift",
                submit_btn_text=later("send"))  # fmt: skip
    async def goodwill(self, request: Request, pk: str) -> None:
        """The platform gives."""
        await perform(request, pk, _judged(request, State.COMPENSATED))

    @row_action("take_back", later("act.take_back"), later("ask.take_back"), form=reason_form, icon_class="fa fa-history",
                submit_btn_text=later("send"))  # fmt: skip
    async def take_back(self, request: Request, pk: str) -> None:
        """What was given goes back to whoever gave it."""
        await perform(request, pk, _judged(request, State.TAKEN_BACK))


class PayoutsTable(Table):
    """Payouts: approved, and paid outside under a reference, which are two admins above the setting; or refused."""

    row_actions: Sequence[str] | None = ("view", "approve", "paid", "refuse")

    async def is_row_action_allowed_for_obj(self, request: Request, name: str, obj: Any) -> bool:
        """The steps that are left."""
        return name == "view" or name in STEPS.get(PayoutState(obj.raw["state"]), ()) or request.method == "POST"

    @row_action(
        "approve", later("act.approve"), later("ask.approve"), form=reason_form, icon_class="fa fa-check", submit_btn_text=later("send")
    )
    async def approve(self, request: Request, pk: str) -> None:
        """It may be paid."""
        alone = _alone(request)
        await perform(request, pk, lambda work, admin, number, reason, _: work.payouts.approve(number, admin, reason, alone))

    @row_action("paid", later("act.paid"), later("ask.paid"), form=reference_form, icon_class="fa fa-check-double",
                submit_btn_text=later("send"))  # fmt: skip
    async def paid(self, request: Request, pk: str) -> None:
        """It was paid outside; the held Credits leave."""
        alone = _alone(request)
        await perform(request, pk, lambda work, admin, number, reference, _: work.payouts.paid(number, admin, reference, alone))

    @row_action(
        "refuse", later("act.refuse"), later("ask.refuse"), form=reason_form, icon_class="fa fa-times", submit_btn_text=later("send")
    )
    async def refuse(self, request: Request, pk: str) -> None:
        """The held Credits are earnings again."""
        await perform(request, pk, lambda work, admin, number, reason, _: work.payouts.refuse(number, admin, reason))


def _alone(request: Request) -> int:
    """Milli-credits up to which one admin approves and pays."""
    return core_of(request).settings.payout_confirm_above * CREDIT


class PresetsTable(Table):
    """Presets, taken down here."""

    row_actions: Sequence[str] | None = ("view", "freeze")

    async def is_row_action_allowed_for_obj(self, request: Request, name: str, obj: Any) -> bool:
        """Once."""
        return name == "view" or obj.raw["state"] != PresetState.FROZEN

    @row_action("freeze", later("act.freeze"), later("ask.freeze"), form=reason_form, icon_class="fa fa-ban", submit_btn_text=later("send"))
    async def freeze(self, request: Request, pk: str) -> None:
        """No version of it is listed or earns any more."""

        async def use(work: UnitOfWork, admin: User, number: int, reason: str, _: int) -> None:
            await work.oversight.take_down(admin, (await work.presets.get(number)).name, reason)

        await perform(request, pk, use)
