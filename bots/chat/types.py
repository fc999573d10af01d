"""The whole vocabulary between the two bots and the chat layer. Nothing here knows a platform but by its name as data."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.words import Text

Platform = Literal["telegram", "discord", "email"]

CHOOSE_ROLES = frozenset({"pool_who", "pool_roles", "pool_role"})
"""Actions that choose among a community's roles: they are told with the Event, where the platform has any."""
MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Button:
    """A press comes back as an Event with `action`. `url` makes it a link instead (https, opened by the reader's browser; with `app`
    inside the chat where the platform can do that, which Telegram does in private chats alone).

    `action` is a word and its arguments, "vary 42"; at most 64 bytes, the smaller of the two platforms' limits. It is a claim, not a right:
    whoever presses is authorised again.
    """

    label: Text
    action: str = ""
    url: str | None = None
    style: Literal["primary", "secondary", "danger"] = "secondary"
    app: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """A picture of ours: the blob's name, and its media type. `spoiler` veils it until tapped."""

    blob: str
    media_type: str = "image/png"
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One question of a form. `kind`: text, integer, or choice (with `choices`: value -> label)."""

    name: str
    label: Text
    kind: Literal["text", "integer", "choice"] = "text"
    default: str = ""
    choices: tuple[tuple[str, Text], ...] = ()
    max_length: int = 200
    hint: Text | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """Questions that we ask; at most five. Discord answers a slash command or a press with a modal; elsewhere one is asked after the other.

    The answers come back as one Event with `action` = the form's action and `answers`. A modal can only be opened as the answer to a
    press or a command, so a Form stands alone in its Reply.
    """

    action: str
    title: Text
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Invoice:
    """Credits offered through the chat platform's own payment (Telegram Stars). `amount` in the platform's unit."""

    order: str
    title: Text
    description: Text
    amount: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said in answer, or later as a notice. At most one per event.

    `private`: for the asker alone: ephemeral in Discord; in a Telegram group a hint is posted and the reply goes to the private chat.
    `subject` names what the message is about ("generation:42"), so that later notices about it can edit this very message. `invoice`:
    something to pay through the chat platform itself; then `text` may be missing. `toast`: a short note over the chat (a pressed button's
    answer) instead of a message. `edit`: replaces the message whose button was pressed, instead of a new one. `delete_event`: the asker's
    own message is deleted first (a pasted key).
    """

    text: Text | None = None
    rows: tuple[tuple[Button, ...], ...] = ()
    media: tuple[Media, ...] = ()
    form: Form | None = None
    invoice: Invoice | None = None
    private: bool = False
    subject: str | None = None
    toast: bool = False
    edit: bool = False
    delete_event: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Who spoke, as the platform says: its stable id, name and language tag."""

    id: str
    name: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where it was said. `chat` is what a message can be sent to; a topic of a group is "group/topic" (core/address.py).
    `community` is the server or group (None in private).

    `age_restricted`: the platform marks the channel so. `member`, `admin`, `roles` (ids; None where the platform has none): the platform
    says, now, that the person is in the community, administers it, has these roles there. `channels`: the ids of the part of the community
    that it was said in, and of what that is a part of. `title` and `channel` are their names, empty where they are not told.
    """

    chat: str
    private: bool
    community: str | None = None
    age_restricted: bool = False
    admin: bool = False
    member: bool = True
    roles: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()
    title: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What a chat said. `id` is unique per platform and stays the same when the platform repeats it.

    Exactly one of: `command` (a slash command with its raw `argument` text, or structured `options`), `action` (a button or a sent form
    with `answers`), or plain `text`. `attachment` is a picture the person sent with it (fetched by the adapter, at most
    MAX_ATTACHMENT_BYTES). `message` is the platform's id of the message that was said or pressed. `opens_forms`: the answer may be a form
    that the platform shows as a whole; else its questions are asked one after the other. `about`: the group that something said in private
    is about, as the platform says of the person now; `heard`: where it was said, once `place` is that group. `offered`: the (id, name) of
    the roles that a community has, for CHOOSE_ROLES.
    """

    id: str
    platform: Platform
    person: Person
    place: Place
    command: str | None = None
    argument: str = ""
    options: dict[str, str] = field(default_factory=dict)
    action: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    text: str = field(default="", repr=False)  # may be a pasted key
    attachment: bytes | None = field(default=None, repr=False)
    message: str | None = None
    opens_forms: bool = False
    about: Place | None = None
    heard: Place | None = None
    offered: tuple[tuple[str, str], ...] = ()

    @property
    def word(self) -> str:
        """The command, or the first word of the action; empty for a plain text."""
        return self.command or next(iter((self.action or "").split()), "")

    @property
    def private_chat(self) -> str:
        """Where the person is written to alone. Discord opens that chat when something is sent to it."""
        return f"dm:{self.person.id}" if self.platform == "discord" else self.person.id


# What the chat layer hands to a platform: the same things in the reader's words.


@dataclass(frozen=True, slots=True)
class Key:
    """A rendered button: `label` at most 80 characters; a press comes back as an Event with `action`; or `url` makes it a link,
    `app` one that opens in the chat."""

    label: str
    action: str = ""
    url: str | None = None
    style: Literal["primary", "secondary", "danger"] = "secondary"
    app: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Encoded bytes, at most the sender's `max_picture_bytes`; `media_type` is image/png, image/jpeg or image/webp."""

    data: bytes = field(repr=False)
    media_type: str = "image/png"
    name: str = "picture"
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """A rendered Invoice: plain text, `title` at most 32 characters and `description` 255. `amount` in the platform's unit (whole Stars).

    `order` comes back with the payment; at most 128 bytes, and nobody sees it.
    """

    order: str
    title: str
    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. `text` is the small common markup of both platforms, written as HTML: <b>, <i>, <code> and escaped &lt; &gt; &amp;.

    `silent`: no sound on the reader's side. `bill`: something to pay; it follows the text, which may then be empty.
    """

    text: str
    rows: tuple[tuple[Key, ...], ...] = ()
    pictures: tuple[Picture, ...] = ()
    silent: bool = False
    bill: Bill | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A rendered Field of a form."""

    name: str
    label: str
    kind: Literal["text", "integer", "choice"] = "text"
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    max_length: int = 200
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Questions:
    """A rendered Form, for platforms with modals. Where there are none the chat layer asks one message after the other, so an adapter
    without modals never sees this."""

    action: str
    title: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an adapter does about an event; nothing at all when every field is empty.

    `message` is said (`private`: to the asker alone; `edit`: in place of the message whose button was pressed). `questions` opens a modal
    instead. `toast` is a short note over the chat, plain text of at most 200 characters. `delete_event`: the asker's own message is deleted
    first. `outbox` stands for the message until `Chat.sent` says that it arrived: if the process dies before, delivery sends it again.
    """

    message: Message | None = None
    questions: Questions | None = None
    toast: str | None = None
    private: bool = False
    edit: bool = False
    delete_event: bool = False
    outbox: int | None = None


class SendFailed(Exception):
    """A platform did not take a message. `kind` says what follows: "blocked" (the reader shut us out: stop writing there), "gone" (the chat
    or the message is no more; `moved_to`: the chat is another one now), "refused" (this message will never be taken), "later" (again, after
    `retry_after` seconds where told; `everywhere`: no chat of the platform may be written to before that)."""

    def __init__(
        self,
        kind: Literal["blocked", "gone", "refused", "later"],
        problem: str,
        retry_after: float | None = None,
        *,
        everywhere: bool = False,
        moved_to: str | None = None,
    ) -> None:
        super().__init__(kind, problem)
        self.kind = kind
        self.problem = problem
        self.retry_after = retry_after
        self.everywhere = everywhere
        self.moved_to = moved_to


class Sender(Protocol):
    """A platform's outgoing half. `chat` is an Event's `place.chat`. Raises SendFailed, and nothing else for what the platform does."""

    platform: Platform
    max_picture_bytes: int

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        """Sends; returns the platform's message id. The same `nonce` again is the same message, where the platform can tell."""

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        """Puts `message` in the place of an earlier one of ours. Unchanged content is no error."""

    async def delete(self, chat: str, message_id: str) -> None:
        """Removes a message of ours; one that is gone already is no error."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a slash command. `complete`: suggestions are asked from `Chat.complete`; `choices` are fixed values."""

    name: str
    kind: Literal["text", "integer", "picture"] = "text"
    required: bool = False
    complete: bool = False
    choices: tuple[str, ...] = ()
    max_length: int = 0  # 0: no limit of ours
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """How a command is declared on a platform. Descriptions come from `Chat.describe(name, locale)`."""

    name: str
    options: tuple[Option, ...] = ()
    private: bool = False  # the answer is for the asker alone
    admin: bool = False


class ChatPort(Protocol):
    """The chat layer as an adapter sees it."""

    commands: tuple[CommandSpec, ...]

    async def handle(self, event: Event) -> Answer:
        """One event, one transaction, at most one message. Never raises for what a person did."""

    async def asks(self, event: Event) -> Place | None:
        """The group about which an adapter that is not told by every event asks its platform now: whether the person is in it, and
        administers it. It is the event's place with that, or what the event is `about`. None: it does not matter."""

    async def sent(self, answer: Answer, message_id: str | None) -> None:
        """The answer's message has arrived; None gives it to the delivery loop instead (it could not be sent directly)."""

    async def complete(self, event: Event, option: str, typed: str) -> list[tuple[str, str]]:
        """At most 25 suggestions (value, label) for a command's option, in the person's language."""

    def describe(self, code: str, locale: str) -> str:
        """Plain text of at most 100 characters: `code` is "imagine" for a command, "imagine.prompt" for an option of one."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a platform says has been paid. `charge` is its own id of the payment: credit once per charge, whatever else is said.

    `amount` in whole units of `currency` ("XTR": Stars). `person_id` is who paid, which need not be whose `order` it is.
    """

    order: str
    charge: str
    amount: int
    currency: str
    person_id: str
