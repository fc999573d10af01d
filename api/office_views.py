"""The tables of the back office, as starlette-admin shows them, over `core/oversight/record.py`; nothing is made, changed or deleted here
but by the named acts of `api/office_acts.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from babel.support import LazyProxy
from starlette.requests import Request
from starlette_admin.exceptions import ActionFailed
from starlette_admin.export import BaseExporter
from starlette_admin.fields import BaseField, StringField, TextAreaField
from starlette_admin.filters import FilterGroup
from starlette_admin.i18n import get_locale
from starlette_admin.importers import BaseImporter
from starlette_admin.types import RequestAction
from starlette_admin.views import BaseModelView

from api.language import WORDS
from api.office_evidence import Evidence, evidence, moment, parameters, proposal, say
from api.pictures import here, link
from api.shown import core_of
from core.errors import NotFound
from core.generations.models import State
from core.money import format_price
from core.oversight.record import LARGEST_PAGE, VIEWS, Unit, unit_of
from core.users.models import Role
from core.words import Amount, Text

ICONS = {
    "users": "fa fa-users", "wallets": "fa fa-wallet", "movements": "fa fa-list", "resources": "fa fa-key",
    "generations": "fa fa-image", "payments": "fa fa-credit-card", "disputes": "fa fa-gavel", "presets": "fa fa-palette",
    "pools": "fa fa-layer-group", "outbox": "fa fa-paper-plane", "inbox": "fa fa-inbox", "acts": "fa fa-clipboard-list",
    "payouts": "fa fa-money-bill-wave",
}  # fmt: skip
WIDE = 8
"""Columns of a list; a row's own page has all of them."""


def later(code: str) -> Any:
    """The same, said when it is shown: a string as far as starlette-admin knows."""
    return LazyProxy(say, code, enable_cache=False)


class Table(BaseModelView):
    """One view of the records: read-only, the newest first, searched by number or by an exact word."""

    pk_attr: str | None = "pk"
    exporters: Sequence[BaseExporter | str] = ()
    importers: Sequence[BaseImporter | str] = ()
    actions: Sequence[str] | None = ()
    row_actions: Sequence[str] | None = ("view",)
    sortable_fields: Sequence[str] | None = ()
    fields_default_sort: Sequence[tuple[str, bool] | str] | None = ()
    column_visibility = False
    search_highlight = False
    page_size = 25
    page_size_options: Sequence[int] = (25, 50, LARGEST_PAGE)

    def __init__(self, name: str) -> None:
        self.key = name
        self.menu_label = self.display_name = later(f"view.{name}")
        self.icon = ICONS[name]
        self.fields = [
            StringField(column, label=later(f"column.{column}"), exclude_from_list=place >= WIDE)
            for place, column in enumerate(VIEWS[name].names)
        ] + self.more()  # fmt: skip
        super().__init__()

    def more(self) -> list[BaseField]:
        """Fields of a row's own page that are no column."""
        return []

    def can_create(self, request: Request) -> bool:
        """Never."""
        return False

    def can_edit(self, request: Request) -> bool:
        """Never."""
        return False

    def can_delete(self, request: Request) -> bool:
        """Never."""
        return False

    def can_export(self, request: Request) -> bool:
        """Never: what is exported leaves the log of acts behind."""
        return False

    def can_import(self, request: Request) -> bool:
        """Never."""
        return False

    async def find_all(
        self, request: Request, skip: int = 0, limit: int = LARGEST_PAGE, q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None, filters: FilterGroup | None = None,
    ) -> Sequence[Any]:  # fmt: skip
        """A page of rows."""
        async with core_of(request).read() as work:
            rows = await work.records.newest(str(self.key), search=q or "", skip=skip, limit=limit)
        return [self.shown(row) for row in rows]

    async def count(self, request: Request, q: str | None = None, filters: FilterGroup | None = None) -> int:
        """How many there are, up to the deepest that is paged to."""
        async with core_of(request).read() as work:
            return await work.records.count(str(self.key), q or "")

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """One row; None when there is none."""
        async with core_of(request).read() as work:
            row = await work.records.get(str(self.key), str(pk or ""))
        return None if row is None else self.shown(row)

    async def find_by_pks(self, request: Request, pks: list[Any]) -> Sequence[Any]:
        """Several rows."""
        return [row for pk in pks[:LARGEST_PAGE] if (row := await self.find_by_pk(request, pk)) is not None]

    async def create(self, request: Request, data: dict[str, Any]) -> Any:
        """Refused."""
        raise ActionFailed(say("read_only"))

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Any:
        """Refused."""
        raise ActionFailed(say("read_only"))

    async def delete(self, request: Request, pks: list[Any]) -> int | None:
        """Refused."""
        raise ActionFailed(say("read_only"))

    def shown(self, row: dict[str, Any]) -> SimpleNamespace:
        """A row as it is read; `raw` is what it was."""
        texts = {column: self._text(column, row) for column in VIEWS[str(self.key)].names}
        return SimpleNamespace(raw=row, pk=row["pk"], **texts)

    def _text(self, column: str, row: dict[str, Any]) -> str:
        value = row[column]
        if value is None or value == "":
            return "—"
        if "currency" in row and column in ("amount", "refunded"):
            return format_price(value, row["currency"])
        match unit_of(str(self.key), column):
            case Unit.CREDITS:
                return say("credits", amount=Amount(value))
            case Unit.MOMENT:
                return moment(value)
            case Unit.ROLES:
                return ", ".join(say(f"role.{(role.name or '').lower()}") for role in Role if role in Role(value))
        if isinstance(value, bool):
            return say("yes" if value else "no")
        for code in (f"back_office.word.{value}", f"resource.state.{value}", f"state.{value}", f"wallet_page.movement.{value}"):
            if column in ("state", "kind") and WORDS.knows(code):
                return WORDS.plain(Text(code), get_locale())
        return str(value)


@dataclass
class Picture(StringField):
    """A picture of ours; the value is its path on this host."""

    detail_template: str = "office_picture.html"


class DisputesTable(Table):
    """Disputes; one's own page is the bundle: what was asked for, the picture, what was seen of it, and how it was made."""

    def more(self) -> list[BaseField]:
        """The bundle."""
        kinds = {
            "proposed": StringField, "model": StringField, "paid": StringField, "prompt": TextAreaField, "parameters": StringField,
            "picture": Picture, "evidence": Evidence,
        }  # fmt: skip
        return [kind(name, label=later(f"column.{name}"), exclude_from_list=True) for name, kind in kinds.items()]

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """One dispute; on its own page with the bundle."""
        found, app = await super().find_by_pk(request, pk), core_of(request)
        if found is None or request.state.action is not RequestAction.DETAIL:
            return found
        async with app.read() as work:
            try:
                dispute = await work.disputes.get(found.raw["id"])
                made = await work.generations.get(dispute.generation_id)
            except NotFound:
                return None
        found.model, found.paid, found.prompt = made.model, say("credits", amount=Amount(made.paid)), made.prompt
        found.parameters, found.proposed = parameters(made.parameters), proposal(dispute)
        found.evidence = evidence(dispute, made, found.raw["inspected_at"])
        found.picture = here(link(app, made, "webp", 80)) if made.blob and made.state is not State.REFUNDED else None
        return found
