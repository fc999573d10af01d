"""The back office at /admin/: starlette-admin over our own reading and our own use cases; no database session, no foreign asset.

Its templates are served with what our policy asks for: scripts and styles of theirs carry the answer's nonce, and no font is fetched.
"""

import html
import logging
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse
from jinja2 import DictLoader, FunctionLoader
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette_admin.base import BaseAdmin
from starlette_admin.helpers import view_list_url
from starlette_admin.i18n import I18nConfig
from starlette_admin.views import CustomView
from starlette_admin.widgets import BaseWidget, HtmlWidget

from api.office_acts import PayoutsTable, PresetsTable, UsersTable, VerdictsTable
from api.office_evidence import PAGE, say
from api.office_session import PATH, Session, Shell
from api.office_views import Table, later
from api.shown import core_of
from core.access.models import MAX_ADDRESS, MAX_PASSWORD
from core.app import App
from core.oversight.record import VIEWS

router = APIRouter(include_in_schema=False)
OWN = {"users": UsersTable, "disputes": VerdictsTable, "presets": PresetsTable, "payouts": PayoutsTable}
THEIRS = files("starlette_admin") / "templates"
FONT = "@import url('https://rsms.me/inter/inter.css');"
ON_CHANGE = 'onchange="window.location = this.value"'
SIZE = """<script>document.getElementById("office-size")?.addEventListener("change", (event) => { window.location = event.target.value; });
</script>"""
"""The choice of a page's size without a handler in an attribute, which the policy refuses."""
PAGES = {
    "office_evidence.html": PAGE,
    "office_picture.html": '<img src="{{ data }}" alt="" class="img-fluid rounded">',
    "login.html": f"""{{% extends "@starlette-admin/login.html" %}}
{{% block login_title %}}<h2 class="card-title text-center mb-4">{{{{ app_title }}}}</h2>{{% endblock %}}
{{% block login_fields %}}<div class="mb-3"><label class="form-label" for="username">{{{{ office("field.email") }}}}</label>
<input type="email" id="username" name="username" class="form-control" autocomplete="username" required maxlength="{MAX_ADDRESS}"></div>
<div class="mb-2"><label class="form-label" for="password">{{{{ office("field.password") }}}}</label>
<input type="password" id="password" name="password" class="form-control" autocomplete="current-password" required
maxlength="{MAX_PASSWORD}"></div>{{% endblock %}}
{{% block script %}}{{% endblock %}}""",
}
"""Pages of ours, in starlette-admin's frame."""


@router.get(PATH)
async def to_office() -> RedirectResponse:
    """To the pages; the JSON routes below the same path come first."""
    return RedirectResponse(f"{PATH}/", 307)


def mount_office(api: FastAPI, app: App) -> None:
    """The back office, below the routes that `api` has so far."""
    logging.getLogger("starlette_admin").setLevel(logging.ERROR)  # below that it writes the addresses of whoever tries to sign in
    office = BaseAdmin(
        title=later("title"),
        base_url=PATH,
        favicon_url="data:,",
        auth_provider=Session(),
        secret_key=app.vault.pseudonym("back office: forms"),
        index_view=CustomView(menu_label="", route_name="index", add_to_menu=False, widget=_index),
        i18n_config=I18nConfig(language_cookie_name=None, language_header_name=None),
        timezone_config=None,
        middlewares=[Middleware(Shell, app=app)],
        additional_loaders=[DictLoader(PAGES), FunctionLoader(_theirs)],
    )
    office.templates.env.globals["office"] = say
    for name in VIEWS:
        office.add_view(OWN.get(name, Table)(name))
    office.mount_to(api)
    office.app.state.core, office.app.state.accounts = app, api.state.accounts


def _theirs(name: str) -> str | None:
    """A template of starlette-admin's, made to fit the policy."""
    file = THEIRS / name
    if not file.is_file():
        return None
    source = file.read_text(encoding="utf-8").replace(FONT, "")
    if ON_CHANGE in source:
        source = source.replace(ON_CHANGE, 'id="office-size"') + SIZE
    for tag in ("script", "style"):
        source = source.replace(f"<{tag}>", f'<{tag} nonce="{{{{ request.state.nonce }}}}">')
    return source


async def _index(request: Request) -> BaseWidget:
    """What there is, and how much of it."""
    async with core_of(request).read() as work:
        counts = {name: await work.records.count(name) for name in VIEWS}
    rows = "".join(
        f'<a class="list-group-item list-group-item-action d-flex" href="{html.escape(view_list_url(request, name))}">'
        f'<span class="me-auto">{html.escape(say(f"view.{name}"))}</span><span>{count}</span></a>'
        for name, count in counts.items()
    )
    return HtmlWidget(html=f'<h2>{html.escape(say("title"))}</h2><div class="list-group">{rows}</div>')
