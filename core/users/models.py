"""Users and the identities through which they are known. One user, many identities."""

from dataclasses import dataclass
from enum import IntFlag

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, false, true

from core.address import MAX_CHAT
from core.db import Id, Moment, metadata
from core.words import LOCALES

MAX_NAME = 64


class Role(IntFlag):
    """What a user is; everyone is a creator."""

    CREATOR = 1
    MINER = 2
    CONTRIBUTOR = 4
    ADMIN = 8


users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(MAX_NAME), nullable=False),
    Column("locale", String(8), nullable=False),
    Column("roles", Integer, nullable=False, server_default="1"),
    Column("named", Boolean, nullable=False, server_default=false()),  # an admin because the settings name them, and not otherwise
    Column("frozen", Boolean, nullable=False, server_default=false()),
    Column("wants_digest", Boolean, nullable=False, server_default=true()),  # to hear each day what they earned and lost
    Column("merged_into", Id, ForeignKey("users.id")),  # the user that this one was joined into; its history stays its own
    Column("strikes", Text, nullable=False, server_default="[]"),  # JSON list of when prompts were refused
    Column("barred_until", Moment, nullable=False, server_default="0"),  # too many of them: until then nothing is ordered
    Column("created_at", Moment, nullable=False),
    Index("ix_users_merged_into", "merged_into"),
    Index("ix_users_name", "name"),
)

identities = Table(
    "identities",
    metadata,
    Column("platform", String(16), primary_key=True),  # "telegram", "discord", "email"
    Column("external_id", String(128), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("chat", String(MAX_CHAT), nullable=False),  # where this identity is written to in private
    Column("created_at", Moment, nullable=False),
    Index("ix_identities_user_id", "user_id"),
)


@dataclass(frozen=True, slots=True)
class User:
    """A person. `locale` is one of LOCALES."""

    id: int
    name: str
    locale: str
    roles: Role
    frozen: bool

    @property
    def is_admin(self) -> bool:
        """Whether the operator's commands are open to this user."""
        return Role.ADMIN in self.roles


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is on a platform. `chat` is where they are written to in private; `locale` is wished for, when the user is new."""

    platform: str
    external_id: str
    name: str
    chat: str
    locale: str = "en"


def locale_of(tag: str | None) -> str:
    """The nearest of LOCALES to a language tag such as "zh-Hans-CN"; English when there is none."""
    language = (tag or "").replace("_", "-").partition("-")[0].lower()
    return language if language in LOCALES else "en"
