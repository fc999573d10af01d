"""A stand-in for Discord: one application, one server, and people whose hands are Python methods (and routes under /hands/discord).

discord.py 2.7 works against it unmodified. Any bot token is accepted. What a person cannot do in Discord's app raises HandsError.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import web

from sandbox.discord_declarations import ATTACHMENT, HandsError, fill, parse_line
from sandbox.discord_gateway import GUILDS, Gateway
from sandbox.discord_hands import hands_routes
from sandbox.discord_interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL_SUBMIT, Interactions
from sandbox.discord_limits import Faults, RateLimits
from sandbox.discord_messages import Messages, sniff
from sandbox.discord_rest import Rest, on_file
from sandbox.discord_rules import LABEL, LINK, SELECT, Json, asked
from sandbox.discord_state import (
    ADMIN_CHANNEL,
    ADMIN_ROLE,
    APPLICATION,
    BOT_NAME,
    GUILD,
    IMAGINE,
    ROLES,
    Channel,
    DiscordState,
    Interaction,
    Message,
    Person,
)  # fmt: skip

__all__ = [
    "ADA",
    "ADMIN_CHANNEL",
    "ADMIN_ROLE",
    "APPLICATION",
    "BO",
    "CHEN",
    "GUILD",
    "IMAGINE",
    "MIRA",
    "NOUR",
    "OLGA",
    "DiscordSandbox",
    "HandsError",
]

ADA, BO, CHEN, MIRA, NOUR, OLGA = (f"20000000000000000{number}" for number in (1, 2, 3, 4, 5, 9))
_SEEDS = (
    (ADA, "Ada", "en-US", False),
    (BO, "Bo", "en-GB", False),
    (CHEN, "陈晨", "zh-CN", False),
    (MIRA, "Mira", "en-US", False),
    (NOUR, "نور", "en-US", False),  # Discord's app has no Arabic
    (OLGA, "Olga", "en-US", True),
)
WAIT_SECONDS = 10.0
NO_ANSWER = "The application did not respond"
View = dict[str, Any]
T = TypeVar("T")


class DiscordSandbox:
    """Discord, as far as the bot sees it. `answer_seconds` is the time to answer an interaction, 3 in the real one.

    `faults` and `gateway` carry the switches; `failed` lists the interactions that nobody answered in time.
    """

    def __init__(self, public_url: str, *, rate_limits: bool = True, answer_seconds: float = 3.0, recommended_shards: int = 1) -> None:
        self.public_url = public_url
        self.faults = Faults()
        self.state = DiscordState(public_url)
        self.limits = RateLimits(rate_limits)
        self.gateway = Gateway(self.state, self.faults, recommended_shards)
        self.messages_made = Messages(self.state, self.gateway, self.faults.cannot_dm, self.faults.missing_access)
        self.interactions = Interactions(self.state, self.gateway, self.messages_made, answer_seconds, self._on_modal, self._on_no_answer)
        self.rest = Rest(self.state, self.gateway, self.messages_made, self.interactions, self.limits, self.faults)
        self.failed: list[Interaction] = []
        self.modals: dict[str, Json] = {}
        self._opened_by: dict[str, Interaction] = {}
        self._watchers: dict[str, set[asyncio.Queue[Json | None]]] = {}
        self._tick = asyncio.Event()
        self.state.changed = self._on_change
        self.state.stirred = self._stir
        for seed in _SEEDS:
            self.state.add_person(Person(*seed))

    def routes(self) -> list[web.RouteDef]:
        """Everything under /discord and /hands/discord."""

        async def file(request: web.Request) -> web.Response:
            return await on_file(self.state, request)

        return [
            *self.rest.routes(),
            web.get("/discord/gateway", self.gateway.connect),
            web.get("/discord/gateway/", self.gateway.connect),
            web.get("/discord/cdn/attachments/{channel}/{file}/{name}", file),
            *hands_routes(self),
        ]

    async def close(self) -> None:
        """Ends the open websockets and streams; belongs into the server's `on_shutdown`."""
        self.gateway.close()
        for queues in self._watchers.values():
            for queue in queues:
                queue.put_nowait(None)

    # hands

    def people(self) -> list[View]:
        """Everybody: id, name, language, admin, and the ids of their roles in the server."""
        return [
            {"id": p.id, "name": p.name, "language": p.language, "admin": p.admin, "roles": p.all_roles} for p in self.state.people.values()
        ]

    def roles(self) -> list[View]:
        """The server's roles that somebody can be given: id and name."""
        return [{"id": role, "name": name} for role, name in ROLES.items()]

    def set_role(self, person: str, role: str, on: bool = True) -> None:
        """Gives a person a role of the server or takes it away; the bot sees it with their next interaction. Raises HandsError."""
        found = self._person(person)
        if role not in ROLES:
            raise HandsError(f"there is no role {role}")
        if role == ADMIN_ROLE:
            found.admin = on
        else:
            (found.roles.add if on else found.roles.discard)(role)

    def add_person(self, name: str, language: str, person_id: str | None = None, *, admin: bool = False) -> View:
        """A new account, already in the server."""
        person = self.state.add_person(Person(person_id or self.state.new_id(), name, language, admin))
        return {"id": person.id, "name": name, "language": language, "admin": admin, "roles": person.all_roles}

    def set_bot(self, there: bool) -> None:
        """Somebody adds the bot to the server, or removes it. Only a server that was known before says that it is not unavailable."""
        self.state.bot_is_there = there
        joined = {name: value for name, value in self.state.guild().items() if name != "unavailable"}
        event, data = ("GUILD_CREATE", joined) if there else ("GUILD_DELETE", {"id": GUILD})
        self.gateway.dispatch(event, data, guild=True, intent=GUILDS)

    def fall_out(self) -> None:
        """The server cannot be reached for a while: that is no removal."""
        self.gateway.dispatch("GUILD_DELETE", {"id": GUILD, "unavailable": True}, guild=True, intent=GUILDS)
        self.gateway.dispatch("GUILD_CREATE", self.state.guild(), guild=True, intent=GUILDS)

    def block(self, person: str, blocked: bool = True) -> None:
        """The person takes no more private messages from the bot, or does again."""
        (self.faults.cannot_dm.add if blocked else self.faults.cannot_dm.discard)(self._person(person).id)

    def add_channel(self, name: str, *, nsfw: bool = False, admin_only: bool = False, foreign: bool = False) -> str:
        """A new channel of the server, known to the bot after its next connection; returns its id.

        `foreign`: the bot is no member there; people who installed it for themselves use it all the same.
        """
        channel = Channel(self.state.new_id(), name, nsfw=nsfw, admin_only=admin_only, foreign=foreign)
        if foreign:
            self.faults.missing_access.add(channel.id)
        return self.state.add_channel(channel).id

    def private_chat(self, person: str) -> str:
        """The chat id of a person's private chat with the bot."""
        return self.state.private_channel(self._person(person).id).id

    def chats(self, person: str) -> list[View]:
        """The private chat with the bot and the channels that the person sees."""
        seen = [channel for channel in self.state.channels.values() if self.state.sees(self._person(person), channel)]
        private = [{"id": channel.id, "title": BOT_NAME, "kind": "private"} for channel in seen if channel.private]
        return private + [{"id": channel.id, "title": f"#{channel.name}", "kind": "channel"} for channel in seen if not channel.private]

    def commands(self) -> list[Json]:
        """The declared slash commands, as Discord keeps them."""
        return [*self.state.commands, *self.state.guild_commands]

    async def say(self, person: str, chat: str, text: str, picture: bytes | None = None) -> str:
        """A line typed by a person; one that names a declared command becomes that command. Returns the message's or interaction's id."""
        channel = self._channel(person, chat)
        name, _, rest = text.removeprefix("/").partition(" ")
        command = self._declared(name) if text.startswith("/") else None
        if command is None:
            return self.messages_made.said(person, channel, text, picture).id
        options: dict[str, Any] = dict(parse_line(command, rest))
        if picture is not None:
            slot = next((option["name"] for option in command["options"] if option["type"] == ATTACHMENT), None)
            if slot is None:
                raise HandsError(f"/{name} takes no picture")
            options[slot] = picture
        return await self.command(person, chat, name, options)

    async def command(self, person: str, chat: str, name: str, options: dict[str, Any] | None = None) -> str:
        """A slash command with options; a picture is given as bytes. Returns the interaction's id."""
        channel = self._channel(person, chat)
        command = self._declared(name) if channel.private or self.state.bot_is_there else None
        if command is None:
            raise HandsError(f"there is no command /{name}")
        if channel.private and command["contexts"] is not None and 1 not in command["contexts"]:
            raise HandsError(f"/{name} is not for private chats")
        given = dict(options or {})
        attachments: Json = {}
        for option, value in given.items():
            if isinstance(value, bytes):
                kind = sniff(value)
                kept = self.state.keep_file(channel.id, f"{option}.{kind.rpartition('/')[2]}", kind, value)
                given[option] = kept.id
                attachments[kept.id] = self.state.attachment(kept) | {"ephemeral": True}
        data: Json = {"id": command["id"], "name": name, "type": 1, "options": fill(command, given)}
        if attachments:
            data["resolved"] = {"attachments": attachments}
        return self.interactions.begin(COMMAND, person, channel.id, data).id

    async def press(self, person: str, chat: str, message_id: str, action: str) -> str:
        """Presses the button with this custom_id. Returns the interaction's id."""
        channel = self._channel(person, chat)
        message = self.state.messages.get(message_id)
        if message is None or message not in self.state.visible(person, channel.id):
            raise HandsError("there is no such message")
        buttons = [item for row in message.components for item in row["components"] if item.get("custom_id") == action]
        if not buttons or buttons[0].get("disabled") or buttons[0].get("style") == LINK:
            raise HandsError(f"the message has no button {action!r}")
        data = {"custom_id": action, "component_type": buttons[0]["type"], "id": 1}
        return self.interactions.begin(COMPONENT, person, channel.id, data, source=message.id).id

    async def submit(self, person: str, modal: str, values: dict[str, str]) -> str:
        """Sends an opened modal; what is not named keeps its default. Returns the interaction's id."""
        shown, opener = self.modals.get(modal), self._opened_by.get(modal)
        if shown is None or opener is None or opener.person != person:
            raise HandsError("there is no such form")
        unknown = set(values) - {field["name"] for field in shown["fields"]}
        if unknown:
            raise HandsError(f"the form has no field {', '.join(sorted(unknown))}")
        components = [_answered(number, field, values) for number, field in enumerate(shown["fields"])]
        del self.modals[modal], self._opened_by[modal]
        data = {"custom_id": shown["action"], "components": components}
        return self.interactions.begin(MODAL_SUBMIT, person, opener.channel, data, source=opener.source).id

    async def autocomplete(self, person: str, chat: str, command: str, option: str, typed: str) -> list[Json]:
        """What is suggested for an option while typing: [{name, value}]; nothing when no answer comes in time."""
        channel, declared = self._channel(person, chat), self._declared(command)
        found = next((o for o in declared["options"] if o["name"] == option), None) if declared else None
        if declared is None or found is None or not found.get("autocomplete"):
            raise HandsError(f"/{command} suggests nothing for {option}")
        focused = {"name": option, "type": found["type"], "value": typed, "focused": True}
        data = {"id": declared["id"], "name": command, "type": 1, "options": [focused]}
        interaction = self.interactions.begin(AUTOCOMPLETE, person, channel.id, data)
        assert interaction.choices is not None, "an autocomplete interaction is made with a future"
        return await interaction.choices

    def messages(self, person: str, chat: str) -> list[View]:
        """A chat as this person sees it, oldest first."""
        channel = self._channel(person, chat)
        return [self.state.view(message) for message in self.state.visible(person, channel.id)]

    async def wait_for(  # `timeout` is part of what both sandboxes share
        self,
        person: str,
        chat: str,
        predicate: Callable[[View], bool],
        timeout: float = WAIT_SECONDS,  # noqa: ASYNC109
    ) -> View:
        """The newest message in a chat that fits, now or within `timeout` seconds. Raises TimeoutError that says what was there instead."""

        def look() -> View | None:
            return next(filter(predicate, reversed(self.messages(person, chat))), None)

        return await self._until(look, timeout, lambda: self.messages(person, chat))

    async def wait_for_modal(self, person: str, timeout: float = WAIT_SECONDS) -> Json:  # noqa: ASYNC109 - as above
        """The form that stands open before a person, now or within `timeout` seconds."""
        return await self._until(
            lambda: next((m for m in self.modals.values() if m["person"] == person), None), timeout, lambda: self.modals
        )

    async def until(self, condition: Callable[[], bool], timeout: float = WAIT_SECONDS) -> None:  # noqa: ASYNC109 - as above
        """Until something holds that Discord's side knows: who is connected, what was answered or called. Raises TimeoutError."""
        await self._until(lambda: condition() or None, timeout, lambda: self.rest.calls[-10:])

    async def _until(self, look: Callable[[], T | None], seconds: float, seen: Callable[[], object]) -> T:
        try:
            async with asyncio.timeout(seconds):
                while (found := look()) is None:
                    await self._tick.wait()
                return found
        except TimeoutError:
            raise TimeoutError(f"nothing fits within {seconds} s; there is {seen()}") from None

    async def stream(self, person: str) -> AsyncIterator[Json]:
        """Every change that this person may see, from now on: {chat, message}, {modal}, {toast} or {deleted}."""
        with self.watching(person) as changes:
            while (change := await changes.get()) is not None:
                yield change

    @contextmanager
    def watching(self, person: str) -> Iterator[asyncio.Queue[Json | None]]:
        """The same as a queue; None when Discord goes down."""
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        queues = self._watchers.setdefault(self._person(person).id, set())
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)

    # what happens

    def _person(self, person: str) -> Person:
        if person not in self.state.people:
            raise HandsError(f"there is no person {person}")
        return self.state.people[person]

    def _channel(self, person: str, chat: str) -> Channel:
        channel = self.state.channels.get(chat)
        if channel is None or not self.state.sees(self._person(person), channel):
            raise HandsError(f"{person} does not see the chat {chat}")
        return channel

    def _declared(self, name: str) -> Json | None:
        return next((command for command in self.commands() if command["name"] == name), None)

    def _tell(self, person: str, change: Json) -> None:
        for queue in self._watchers.get(person, ()):
            queue.put_nowait(change)
        self._stir()

    def _stir(self) -> None:
        self._tick.set()
        self._tick = asyncio.Event()

    def _on_change(self, what: str, message: Message) -> None:
        channel = self.state.channels[message.channel]
        change = {"chat": message.channel} | ({"deleted": message.id} if what == "deleted" else {"message": self.state.view(message)})
        for person in self.state.people.values():
            if message.owner in (None, person.id) and self.state.sees(person, channel):
                self._tell(person.id, change)

    def _on_modal(self, opener: Interaction, data: Json) -> None:
        fields = [_field(component) for component in data["components"]]
        modal = {"id": opener.id, "person": opener.person, "chat": opener.channel, "title": data["title"]}
        self.modals[opener.id] = modal | {"action": data["custom_id"], "fields": fields}
        self._opened_by[opener.id] = opener
        self._tell(opener.person, {"modal": self.modals[opener.id]})

    def _on_no_answer(self, interaction: Interaction) -> None:
        self.failed.append(interaction)
        if interaction.kind != AUTOCOMPLETE:
            self._tell(interaction.person, {"toast": NO_ANSWER})


def _field(component: Json) -> Json:
    """A question of a modal as the person sees it."""
    inner = asked(component)
    shown = {"name": inner["custom_id"], "label": component.get("label") or inner.get("label"), "hint": component.get("description") or ""}
    required = inner.get("required") is not False
    if inner["type"] == SELECT:
        chosen = next((option["value"] for option in inner["options"] if option.get("default")), "")
        choices = [[option["value"], option["label"]] for option in inner["options"]]
        return shown | {"kind": "choice", "default": chosen, "choices": choices, "required": required, "wrapper": component["type"]}
    limit = inner.get("max_length") or 4000
    plain = {"kind": "text", "default": inner.get("value") or "", "max_length": limit, "required": required, "wrapper": component["type"]}
    return shown | plain | {"long": inner["style"] == 2}


def _answered(number: int, field: Json, values: dict[str, str]) -> Json:
    """One component of a sent modal. Raises HandsError for what the app would not let through."""
    value = str(values.get(field["name"], field["default"]))
    if field["required"] and not value:
        raise HandsError(f"{field['name']} is required")
    if field["kind"] == "choice":
        if value and value not in [choice[0] for choice in field["choices"]]:
            raise HandsError(f"{value!r} is not one of the choices of {field['name']}")
        inner: Json = {"type": 3, "custom_id": field["name"], "values": [value] if value else []}
    else:
        if len(value) > field["max_length"]:
            raise HandsError(f"{field['name']} is too long")
        inner = {"type": 4, "custom_id": field["name"], "value": value}
    inner["id"] = 2 * number + 2
    wrapped = {"component": inner} if field["wrapper"] == LABEL else {"components": [inner]}
    return {"type": field["wrapper"], "id": 2 * number + 1, **wrapped}
