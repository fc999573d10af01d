"""Where the links of account mails lead. A link alone changes nothing: scanners of mail open it too, so a person presses a button."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.caller import accounts_of
from api.html import attribute, form_of, page, problem, say
from api.shown import core_of
from core.access.errors import BadPassword, CodeExpired
from core.access.models import MAX_PASSWORD, MIN_PASSWORD, Purpose
from core.words import Text

router = APIRouter(include_in_schema=False)
MAX_CODE = 100
VERIFY, RESET = Text("account_page.verify"), Text("account_page.reset")


@router.get("/auth/verify")
async def ask_verify(request: Request, code: str = "") -> HTMLResponse:
    """The button that opens the account."""
    if not await _is_good(request, Purpose.VERIFY, code):
        return _expired(request, VERIFY)
    return page(request, VERIFY, _form(request, "/auth/verify/form", code, "", "account_page.verify.send"))


@router.post("/auth/verify/form")
async def verify(request: Request) -> HTMLResponse:
    """The account is open from now on."""
    form = await form_of(request)
    try:
        user, _ = await accounts_of(request).verify(form.get("code", "")[:MAX_CODE])
    except CodeExpired:
        return _expired(request, VERIFY)
    join = await core_of(request).run(lambda work: work.joining.new_code(user))
    said = say(request, Text("account_page.verified", {"code": join}))
    return page(request, VERIFY, f"<p class=done role=status>{said}</p><p><a href=/app>{say(request, Text('account_page.wallet'))}</a></p>")


@router.get("/auth/reset")
async def ask_reset(request: Request, code: str = "") -> HTMLResponse:
    """The form for a new password."""
    if not await _is_good(request, Purpose.RESET, code):
        return _expired(request, RESET)
    return page(request, RESET, _reset_form(request, code))


@router.post("/auth/reset/form")
async def reset(request: Request) -> HTMLResponse:
    """The new password counts from now on; every session ends. Written twice, as nobody sees what they type."""
    form = await form_of(request)
    code, password = form.get("code", "")[:MAX_CODE], form.get("password", "")
    if password != form.get("again", ""):
        return page(request, RESET, problem(request, Text("account_page.differ")) + _reset_form(request, code), 422)
    try:
        await accounts_of(request).reset(code, password)
    except BadPassword as error:
        return page(request, RESET, problem(request, error) + _reset_form(request, code), 422)
    except CodeExpired:
        return _expired(request, RESET)
    done = f"<p class=done role=status>{say(request, Text('account_page.changed'))}</p>"
    return page(request, RESET, f"{done}<p><a href=/app>{say(request, Text('account_page.wallet'))}</a></p>")


async def _is_good(request: Request, purpose: Purpose, code: str) -> bool:
    async with core_of(request).read() as work:
        return len(code) <= MAX_CODE and await work.access.address_of(purpose, code) is not None


def _expired(request: Request, title: Text) -> HTMLResponse:
    return page(request, title, problem(request, Text("account_page.expired")), 410)


def _reset_form(request: Request, code: str) -> str:
    fields = "".join(
        f"<label for={name}>{say(request, Text(f'account_page.{name}', {'shortest': MIN_PASSWORD}))}</label>"
        f"<input id={name} name={name} type=password required minlength={MIN_PASSWORD} maxlength={MAX_PASSWORD} autocomplete=new-password>"
        for name in ("password", "again")
    )
    return _form(request, "/auth/reset/form", code, fields, "account_page.reset.send")


def _form(request: Request, action: str, code: str, fields: str, button: str) -> str:
    hidden = f'<input type=hidden name=code value="{attribute(code)}">'
    return f"<form method=post action={action}>{hidden}{fields}<button>{say(request, Text(button))}</button></form>"
