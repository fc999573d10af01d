"""Commands and actions: who answers what. A handler is a function of a Context, found by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bots.chat.types import CommandSpec, Event, Option, Reply
from core.app import App
from core.generations.models import Order
from core.unit_of_work import UnitOfWork
from core.users.models import User

Answered = Reply | Order | None
Handler = Callable[["Context"], Awaitable[Answered]]
Check = Callable[["Context", str], Awaitable[None]]


def number_of(text: str) -> int:
    """What somebody typed, or a button says, as a row number; 0, which no row has, when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


@dataclass(frozen=True, slots=True)
class Context:
    """One event being answered. `work` is its transaction (None for handlers declared `alone`); `words` are the action's arguments."""

    app: App
    event: Event
    user: User
    work: UnitOfWork
    words: tuple[str, ...] = ()

    def number(self, place: int = 0) -> int:
        """An argument of the action as a row number; 0, which no row has, when it is none."""
        return number_of(self.words[place] if place < len(self.words) else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """`alone`: reads only; it returns an Order, or writes through use cases that open their own transaction. `admin`: for admins alone.
    `always`: also for the frozen, as it only shows what is theirs, or takes back what they lent or asked for.
    `check`: looks at one answer of a form, by its name, when it is given; it raises what the whole form would be refused for.
    """

    handler: Handler
    alone: bool = False
    spec: CommandSpec | None = None
    admin: bool = False
    always: bool = False
    check: Check | None = None


@dataclass(slots=True)
class Registry:
    """Everything that can be said to the bot."""

    commands: dict[str, Entry] = field(default_factory=dict)
    actions: dict[str, Entry] = field(default_factory=dict)


REGISTRY = Registry()


def command(
    name: str, *options: Option, private: bool = False, admin: bool = False, alone: bool = False, always: bool = False
) -> Callable[[Handler], Handler]:
    """Declares a command of both platforms."""

    def declare(handler: Handler) -> Handler:
        REGISTRY.commands[name] = Entry(handler, alone, CommandSpec(name, options, private, admin), admin, always)
        return handler

    return declare


def action(
    name: str, *, admin: bool = False, alone: bool = False, always: bool = False, check: Check | None = None
) -> Callable[[Handler], Handler]:
    """Declares what a button or a sent form asks for: its first word."""

    def declare(handler: Handler) -> Handler:
        REGISTRY.actions[name] = Entry(handler, alone, admin=admin, always=always, check=check)
        return handler

    return declare
