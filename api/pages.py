"""Pages by cursor: `limit` items, newest first, and the address of the next page."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.problems import Problem
from core.app import App
from core.vault.sign import read_signed, sign

Item = TypeVar("Item")
Shown = TypeVar("Shown")
MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_CURSOR = 200

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page.")]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="From the `next` of the page before. Good for this user and this list alone.")
]


class Page(BaseModel, Generic[Shown]):
    """One page of a list, the newest item first."""

    model_config = ConfigDict(extra="forbid")

    data: list[Shown]
    next: str | None = Field(description="The address of the next page; null on the last one.")


class Pager:
    """Reads a request's cursor and makes the next. Bound to the list, its filters and its reader."""

    def __init__(self, request: Request, app: App, user_id: int, limit: int) -> None:
        kept = sorted((name, value) for name, value in request.query_params.multi_items() if name not in ("cursor", "limit", "lang"))
        self._request, self._app, self._limit, self._kept = request, app, limit, kept
        self._purpose = f"cursor|{request.url.path}|{user_id}|{urlencode(kept)}"

    def place(self, cursor: str | None) -> list[int] | None:
        """The place that a cursor stands for; None without one. Raises Problem bad_cursor for one that is not ours, or of another list."""
        if cursor is None:
            return None
        text = read_signed(self._app.vault, self._purpose, cursor)
        if text is None:
            raise Problem("bad_cursor")
        return [int(part) for part in text.split(",")]

    def page(self, found: Sequence[Item], place: Callable[[Item], Sequence[int]], show: Callable[[Item], Shown]) -> Page[Shown]:
        """The page of `found`, which was asked for with one item more than `limit`, so that the last page is known as such."""
        shown, following = found[: self._limit], None
        if len(found) > self._limit:
            cursor = sign(self._app.vault, self._purpose, ",".join(map(str, place(shown[-1]))))
            query = urlencode([*self._kept, ("limit", self._limit), ("cursor", cursor)])
            following = f"{self._request.url.path}?{query}"
        return Page(data=[show(each) for each in shown], next=following)
