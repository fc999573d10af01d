"""Presets: templates of prompts that others may use, and whose authors earn by it. Each publishing is a version of its own, for good."""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from core.db import Id, Moment, metadata

MAX_NAME, MAX_TITLE, MAX_TEMPLATE, MAX_TAGS, MAX_FIELDS, MAX_VALUE = 40, 60, 1000, 5, 8, 300


class PresetState(StrEnum):
    """What may be done with it. A withdrawn one is for no new picture; a frozen one pays nothing any more either."""

    LISTED = "listed"
    WITHDRAWN = "withdrawn"
    FROZEN = "frozen"


presets = Table(
    "presets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(MAX_NAME), nullable=False),
    Column("version", Integer, nullable=False),
    Column("newest", Boolean, nullable=False),  # of the versions of a name
    Column("author_id", Id, ForeignKey("users.id")),  # NULL: the platform itself
    Column("title", String(MAX_TITLE), nullable=False),
    Column("template", Text, nullable=False),
    Column("options", Text, nullable=False),  # JSON: options of /imagine, and defaults of fields as "field.NAME"
    Column("tags", String(120), nullable=False),  # words between spaces
    Column("state", String(16), nullable=False),
    Column("cover", String(128)),  # a picture that its author made with it: a copy of ours
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("name", "version", name="uq_presets_name"),
    Index("uq_presets_newest", "name", unique=True, postgresql_where=text("newest"), sqlite_where=text("newest")),
    Index("ix_presets_author_id", "author_id", "created_at"),
)

preset_reports = Table(
    "preset_reports",
    metadata,
    Column("preset_id", Id, ForeignKey("presets.id"), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    Column("created_at", Moment, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What an author publishes. `options` are those of /imagine (model, ar, style, quality, no, seed) and defaults of fields."""

    name: str
    title: str
    template: str
    options: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preset:
    """One version of a preset. `uses`: pictures made with any version of it, where that was asked for. `cover`: a blob, the same for all
    versions."""

    id: int
    name: str
    version: int
    author_id: int | None
    title: str
    template: str
    options: dict[str, str]
    tags: tuple[str, ...]
    state: PresetState
    uses: int = 0
    cover: str | None = None
