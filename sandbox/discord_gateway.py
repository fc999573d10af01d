"""Discord's gateway, version 10: sessions over websockets, with sharding, intents, compression, RESUME, and switches to upset them.

Opcodes and close codes are those of Discord's documentation ("Opcodes and Status Codes").
"""

import asyncio
import importlib
import importlib.util
import json
import secrets
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from sandbox.discord_limits import Faults
from sandbox.discord_rules import Json
from sandbox.discord_state import APPLICATION, GUILD, DiscordState

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME, RECONNECT, MEMBERS, INVALID_SESSION, HELLO, ACK = 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11
UNKNOWN_OPCODE, BAD_PAYLOAD, NOT_IDENTIFIED, BAD_TOKEN, IDENTIFIED_TWICE = 4001, 4002, 4003, 4004, 4005
BAD_SHARD, DISALLOWED_INTENTS = 4010, 4014
GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = 1 << 1 | 1 << 8 | MESSAGE_CONTENT
HISTORY = 1000
SESSIONS = 100
HEARTBEAT_MS = 41_250


@dataclass(slots=True)
class Session:
    """What outlives a connection: the numbering of events, and the last of them for a RESUME."""

    id: str
    shard: int
    shards: int
    intents: int
    sequence: int = 0
    history: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    connection: "Connection | None" = None


class Connection:
    """One websocket. Everything sent goes through `post`, in order; a number posted is the code to close with."""

    def __init__(self, socket: web.WebSocketResponse, encode: Callable[[str], bytes | str], cut: Callable[[], None]) -> None:
        self.socket = socket
        self.cut = cut
        self.session: Session | None = None
        self._encode = encode
        self._waiting: asyncio.Queue[str | int] = asyncio.Queue()

    def post(self, item: str | int) -> None:
        """Sends a payload, or closes with a code."""
        self._waiting.put_nowait(item)

    def say(self, op: int, data: Any = None) -> None:
        """Sends a payload that is no event."""
        self.post(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    async def write(self) -> None:
        """Sends what is posted until the socket closes."""
        while not self.socket.closed:
            item = await self._waiting.get()
            if isinstance(item, int):
                await self.socket.close(code=item)
                return
            encoded = self._encode(item)
            try:
                await (self.socket.send_bytes(encoded) if isinstance(encoded, bytes) else self.socket.send_str(encoded))
            except ConnectionError:
                return


class Gateway:
    """All sessions and connections."""

    def __init__(self, state: DiscordState, faults: Faults, recommended_shards: int) -> None:
        self.recommended_shards = recommended_shards
        self.identified = 0
        self.resumed = 0
        self._state = state
        self._faults = faults
        self._sessions: dict[str, Session] = {}
        self._connections: set[Connection] = set()

    @property
    def url(self) -> str:
        """The address that /gateway tells."""
        return self._state.public_url.replace("http", "ws", 1) + "/discord/gateway"

    @property
    def shards(self) -> list[tuple[int, int]]:
        """The (shard, of how many) that are connected now."""
        return sorted((s.shard, s.shards) for s in self._sessions.values() if s.connection is not None)

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """The websocket's whole life."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        transport = request.transport
        connection = Connection(socket, _encoder(request.query.get("compress", "")), transport.abort if transport else lambda: None)
        self._connections.add(connection)
        try:
            connection.say(HELLO, {"heartbeat_interval": HEARTBEAT_MS})
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(connection.write())
                await self._read(connection)
                writer.cancel()
        finally:
            self._connections.discard(connection)
            session = connection.session
            if session is not None and session.connection is connection:
                session.connection = None
                if socket.close_code in (1000, 1001):  # a client that closes so gives its session up
                    self._sessions.pop(session.id, None)
                self._state.stirred()
        return socket

    async def _read(self, connection: Connection) -> None:
        async for message in connection.socket:
            if message.type is not WSMsgType.TEXT:
                break
            try:
                payload = json.loads(message.data)
                self._on_payload(connection, payload["op"], payload.get("d"))
            except (ValueError, KeyError, TypeError):
                connection.post(BAD_PAYLOAD)

    def _on_payload(self, connection: Connection, op: int, data: Any) -> None:
        if op == HEARTBEAT:
            connection.say(ACK)
        elif op in (IDENTIFY, RESUME) and self._faults.refuse_token:
            connection.post(BAD_TOKEN)
        elif op == IDENTIFY:
            self._on_identify(connection, data)
        elif op == RESUME:
            self._on_resume(connection, data)
        elif connection.session is None:
            connection.post(NOT_IDENTIFIED)
        elif op not in (PRESENCE, VOICE, MEMBERS):
            connection.post(UNKNOWN_OPCODE)

    def _on_identify(self, connection: Connection, data: Json) -> None:
        shard, shards = data.get("shard") or (0, 1)
        intents = int(data["intents"])
        if connection.session is not None:
            connection.post(IDENTIFIED_TWICE)
        elif not 0 <= shard < shards:
            connection.post(BAD_SHARD)
        elif intents & PRIVILEGED:
            connection.post(DISALLOWED_INTENTS)
        else:
            self.identified += 1
            session = Session(secrets.token_hex(16), shard, shards, intents, connection=connection)
            connection.session = session
            self._sessions[session.id] = session
            while len(self._sessions) > SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._welcome(session)

    def _welcome(self, session: Session) -> None:
        here = self._state.bot_is_there and session.shard == _shard_of(GUILD, session.shards)
        ready = {
            "v": 10,
            "user": self._state.user(APPLICATION) | {"verified": True, "mfa_enabled": False, "email": None, "flags": 0},
            "guilds": [{"id": GUILD, "unavailable": True}] if here else [],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "shard": [session.shard, session.shards],
            "application": {"id": APPLICATION, "flags": 0},
        }
        self._deliver(session, "READY", ready)
        if here and session.intents & GUILDS:
            self._deliver(session, "GUILD_CREATE", self._state.guild())
        self._state.stirred()

    def _on_resume(self, connection: Connection, data: Json) -> None:
        session = self._sessions.get(data["session_id"])
        missed = [] if session is None else [(number, text) for number, text in session.history if number > data["seq"]]
        complete = session is not None and session.sequence - data["seq"] == len(missed)
        if session is None or not complete:
            connection.say(INVALID_SESSION, False)
            return
        self.resumed += 1
        if session.connection is not None:
            session.connection.cut()
        connection.session = session
        session.connection = connection
        for _, text in missed:
            connection.post(text)
        self._deliver(session, "RESUMED", {})
        self._state.stirred()

    @staticmethod
    def _deliver(session: Session, event: str, data: Json) -> None:
        session.sequence += 1
        text = json.dumps({"op": DISPATCH, "s": session.sequence, "t": event, "d": data})
        session.history.append((session.sequence, text))
        if session.connection is not None:
            session.connection.post(text)

    def dispatch(self, event: str, data: Json, *, guild: bool, intent: int = 0) -> None:
        """Sends an event to the shard of the server, or for private chats to shard 0; a session that is away gets it when it resumes.

        `intent`: the bit that a session must have asked for, 0 for none.
        """
        for session in list(self._sessions.values()):
            shard = _shard_of(GUILD, session.shards) if guild else 0
            if session.shard == shard and (not intent or session.intents & intent):
                self._deliver(session, event, data)

    # switches

    def drop_connections(self) -> None:
        """Cuts every connection without a close frame; sessions can be resumed."""
        for connection in list(self._connections):
            connection.cut()

    def ask_to_reconnect(self) -> None:
        """Sends opcode 7: clients reconnect and resume."""
        for connection in list(self._connections):
            connection.say(RECONNECT)

    def invalidate(self, *, resumable: bool = False) -> None:
        """Sends opcode 9; unless `resumable`, the sessions are forgotten and clients identify again."""
        for connection in list(self._connections):
            connection.say(INVALID_SESSION, resumable)
        if not resumable:
            self._sessions.clear()

    def close(self) -> None:
        """Closes every connection, as a server does that goes down."""
        for connection in list(self._connections):
            connection.post(1001)


def _shard_of(guild: str, shards: int) -> int:
    return (int(guild) >> 22) % shards


def _encoder(compression: str) -> Callable[[str], bytes | str]:
    """One stream for the whole connection, flushed after every payload, as discord.py 2.7 asks for: zlib, or zstd where Python has it."""
    if compression == "zlib-stream":
        stream = zlib.compressobj()
        return lambda text: stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)
    if compression == "zstd-stream":
        return _zstd_encoder()
    return lambda text: text


def _zstd_encoder() -> Callable[[str], bytes]:
    if importlib.util.find_spec("zstandard"):
        library = importlib.import_module("zstandard")
        stream = library.ZstdCompressor().compressobj()
        return lambda text: bytes(stream.compress(text.encode()) + stream.flush(library.COMPRESSOBJ_FLUSH_BLOCK))
    library = importlib.import_module("compression.zstd")  # Python 3.14
    compressor = library.ZstdCompressor()
    return lambda text: bytes(compressor.compress(text.encode(), mode=library.ZstdCompressor.FLUSH_BLOCK))
