"""Presets within the caller's transaction."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DAY
from core.presets.errors import PresetNameTaken, PresetNotFound, TooManyPresets
from core.presets.models import Draft, Preset, PresetState, preset_reports, presets
from core.presets.rules import checked, is_made_with
from core.users.models import Role, users

STARTERS = Path(__file__).with_name("starters.toml")
PUBLISHED_PER_DAY = 10
"""Versions that one author may publish within 24 hours."""
_LIVE = presets.c.newest & (presets.c.state == PresetState.LISTED)


class Presets:
    """One transaction's view of the presets."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def find(self, name: str) -> Preset:
        """The newest version of a listed preset. Raises PresetNotFound."""
        return await self._one(_LIVE & (presets.c.name == name.replace("\0", "").strip().lower()[:64]), name)

    async def get(self, preset_id: int) -> Preset:
        """One version, whatever became of it. Raises PresetNotFound."""
        return await self._one(presets.c.id == preset_id, str(preset_id))

    async def made_with(self, preset_id: int | None, prompt: str) -> str | None:
        """The name of the preset that a prompt is made with; None when it is made with none. Pictures that come of one made with a preset
        keep its number, whatever their prompts say by now."""
        if preset_id is None:
            return None
        preset = await self.get(preset_id)
        return preset.name if is_made_with(preset.template, prompt) else None

    async def search(self, words: Iterable[str] = (), limit: int = 6, after: str = "", author_id: int | None = None) -> list[Preset]:
        """Listed presets by name, from just after the name `after`, in whose name, title or tags every word is found; or an author's."""
        query = select(presets).where(_LIVE, presets.c.name > after.replace("\0", ""))
        for word in (each.replace("\0", "") for each in list(words)[:5]):  # no database takes a zero byte
            query = query.where(
                or_(*(column.icontains(word, autoescape=True) for column in (presets.c.name, presets.c.title, presets.c.tags)))
            )
        if author_id is not None:
            query = query.where(presets.c.author_id == author_id)
        rows = await self._connection.execute(query.order_by(presets.c.name).limit(limit))
        return [_read(row) for row in rows.mappings()]

    async def publish(self, draft: Draft, author_id: int, most: int) -> Preset:
        """A new preset, or the next version of the author's own. Raises BadPreset, PresetNameTaken, TooManyPresets beyond `most`."""
        kept = checked(draft)
        author = select(users.c.roles).where(users.c.id == author_id).with_for_update()  # an author publishes one after the other
        roles = (await self._connection.execute(author)).scalar_one()
        await self.may_publish(kept.name, author_id, most)
        made = await self._add(kept, author_id)
        contributor = update(users).where(users.c.id == author_id).values(roles=roles | Role.CONTRIBUTOR)
        await self._connection.execute(contributor)
        return made

    async def may_publish(self, name: str, author_id: int, most: int) -> None:
        """Whether an author could publish one of that name now. Raises PresetNameTaken, TooManyPresets beyond `most`."""
        mine = presets.c.author_id == author_id
        listed = select(func.count()).where(mine, _LIVE, presets.c.name != name)
        today = select(func.count()).where(mine, presets.c.created_at > self._now - DAY)
        if (await self._connection.execute(listed)).scalar_one() >= most:
            raise TooManyPresets(limit=most)
        if (await self._connection.execute(today)).scalar_one() >= PUBLISHED_PER_DAY:
            raise TooManyPresets(limit=PUBLISHED_PER_DAY)
        await self._newest(name, author_id)

    async def withdraw(self, name: str, author_id: int) -> Preset:
        """Lists it no more; pictures that were made with it stay, and their remixes pay. Raises PresetNotFound."""
        found = await self._own(name, author_id)
        await self._connection.execute(update(presets).where(presets.c.id == found.id).values(state=PresetState.WITHDRAWN))
        return found

    async def set_cover(self, name: str, author_id: int, blob: str) -> list[str]:
        """A picture for all versions; returns what they had before, for nobody any more. Raises PresetNotFound, also for another's."""
        here = presets.c.name == (await self._own(name, author_id)).name
        before = select(presets.c.id, presets.c.cover).where(here).order_by(presets.c.id).with_for_update()
        gone = {cover for _, cover in await self._connection.execute(before) if cover is not None}
        await self._connection.execute(update(presets).where(here).values(cover=blob))
        return sorted(gone)

    async def freeze(self, name: str) -> Preset:
        """By an admin: no version of it is listed or earns any more. Raises PresetNotFound."""
        found = await self.find(name)
        await self._connection.execute(update(presets).where(presets.c.name == found.name).values(state=PresetState.FROZEN))
        return found

    async def report(self, name: str, user_id: int) -> int:
        """Somebody finds it wrong, once; how many have by now. Raises PresetNotFound."""
        found = await self.find(name)
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        row = {"preset_id": found.id, "user_id": user_id, "created_at": self._now}
        await self._connection.execute(insert_(preset_reports).values(row).on_conflict_do_nothing())
        count = select(func.count()).where(preset_reports.c.preset_id == found.id)
        return int((await self._connection.execute(count)).scalar_one())

    async def load_starters(self) -> None:
        """The platform's own presets, of a data file: those that are not there yet, or read otherwise now. One question where all are."""
        starters = read_starters(STARTERS)
        newest = select(presets.c.name, presets.c.template, presets.c.options).where(presets.c.newest, presets.c.author_id.is_(None))
        known = {name: (template, json.loads(options)) for name, template, options in await self._connection.execute(newest)}
        changed = [each for each in starters if known.get(each.name) not in (None, (each.template, each.options))]
        for each in changed:
            await self._add(each, None)
        if new := [self._row(each, None, 1) for each in starters if each.name not in known]:
            insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
            await self._connection.execute(insert_(presets).on_conflict_do_nothing(), new)

    async def _add(self, draft: Draft, author_id: int | None) -> Preset:
        row, here = await self._newest(draft.name, author_id), (presets.c.name == draft.name) & presets.c.newest
        await self._connection.execute(update(presets).where(here).values(newest=False))
        values = self._row(draft, author_id, 1 if row is None else row.version + 1)
        values["cover"] = None if row is None else row.cover
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        made = await self._connection.execute(insert_(presets).values(values).on_conflict_do_nothing().returning(*presets.c))
        found = made.mappings().first()
        if found is None:  # two at once: the other was first
            raise PresetNameTaken(preset=draft.name)
        return _read(found)

    async def _newest(self, name: str, author_id: int | None) -> Any:
        """The newest version of the author's own with that name, if there is one. Raises PresetNameTaken where it is somebody else's."""
        wanted = select(presets.c.version, presets.c.author_id, presets.c.state, presets.c.cover)
        row = (await self._connection.execute(wanted.where(presets.c.name == name, presets.c.newest))).first()
        if row is not None and (row.author_id != author_id or row.state == PresetState.FROZEN):
            raise PresetNameTaken(preset=name)
        return row

    def _row(self, draft: Draft, author_id: int | None, version: int) -> dict[str, Any]:
        return {
            "name": draft.name, "version": version, "newest": True, "author_id": author_id, "title": draft.title,
            "template": draft.template, "options": json.dumps(draft.options, ensure_ascii=False), "tags": " ".join(draft.tags),
            "state": PresetState.LISTED, "created_at": self._now,
        }  # fmt: skip

    async def _own(self, name: str, author_id: int) -> Preset:
        found = await self.find(name)
        if found.author_id != author_id:
            raise PresetNotFound(preset=name[:64])
        return found

    async def _one(self, here: ColumnElement[bool], name: str) -> Preset:
        row = (await self._connection.execute(select(presets).where(here))).mappings().first()
        if row is None:
            raise PresetNotFound(preset=name[:64])
        return _read(row)


async def authors_of(connection: AsyncConnection, preset_ids: Iterable[int]) -> dict[int, tuple[int | None, bool]]:
    """(author, whether nothing is paid to them) of versions; the authors' rows are locked, so that what they earn today is counted once."""
    wanted = set(preset_ids)
    if not wanted:
        return {}
    query = select(presets.c.id, presets.c.author_id, presets.c.state).where(presets.c.id.in_(wanted))
    found = {id_: (author, state) for id_, author, state in await connection.execute(query)}
    authors = {author for author, _ in found.values() if author is not None}
    locked = select(users.c.id, users.c.frozen).where(users.c.id.in_(authors)).order_by(users.c.id).with_for_update()
    frozen = {id_: bool(is_) for id_, is_ in await connection.execute(locked)} if authors else {}
    return {id_: (author, state == PresetState.FROZEN or frozen.get(author or 0, False)) for id_, (author, state) in found.items()}


@cache
def read_starters(file: Path) -> list[Draft]:
    """The presets of a data file, checked, read once per process. Raises BadPreset: the file is ours."""
    data: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return [
        checked(Draft(name, item["title"], item["template"], dict(item.get("options", {})), tuple(item.get("tags", ()))))
        for name, item in data.items()
    ]


def _read(row: Any) -> Preset:
    return Preset(
        row["id"], row["name"], row["version"], row["author_id"], row["title"], row["template"], json.loads(row["options"]),
        tuple(row["tags"].split()), PresetState(row["state"]), cover=row["cover"],
    )  # fmt: skip
