"""The stand-in for Discord by itself: what it refuses, as Discord does, and what its people's hands do."""

import asyncio
import io
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox.discord import ADA, ADMIN_CHANNEL, APPLICATION, BO, CHEN, GUILD, IMAGINE, OLGA, DiscordSandbox, HandsError
from sandbox.discord_state import ADMIN_ROLE
from tests.discord_bot.fakes import serving
from tests.sandbox.test_discord_rules import BUTTON, IMAGINE_COMMAND, TEXT


class Api:
    """A bot in its simplest form: one HTTP session, and a websocket where a test needs one."""

    def __init__(self, sandbox: DiscordSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """Status and JSON."""
        headers = {"Authorization": "Bot any token"}
        url = f"{self.sandbox.public_url}/discord/api/v10{path}"
        async with self.session.request(method, url, json=body, params=query, headers=headers) as response:
            return response.status, await response.json() if response.status != 204 else None

    async def callback(self, interaction: Any, kind: int, data: Any = None, **query: str) -> tuple[int, Any]:
        """Answers an interaction."""
        path = f"/interactions/{interaction.id}/{interaction.token}/callback"
        return await self.call("POST", path, {"type": kind, "data": data or {}}, **query)

    def interaction(self) -> Any:
        """The last one."""
        return list(self.sandbox.state.interactions.values())[-1]

    def hook(self) -> str:
        """The webhook of the last interaction."""
        return f"/webhooks/{APPLICATION}/{self.interaction().token}"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A sandbox with one declared command, in which answers are due within a second."""
    async with serving(answer_seconds=1.0) as sandbox, aiohttp.ClientSession() as session:
        api = Api(sandbox, session)
        status, _ = await api.call("PUT", f"/applications/{APPLICATION}/commands", [IMAGINE_COMMAND])
        assert status == 200
        yield api


async def test_commands_are_kept_and_shown_as_asked_for(api: Api) -> None:
    translated = IMAGINE_COMMAND | {"description_localizations": {"zh-CN": "画"}}
    _, before = await api.call("GET", f"/applications/{APPLICATION}/commands")
    await api.call("PUT", f"/applications/{APPLICATION}/commands", [translated])
    _, plain = await api.call("GET", f"/applications/{APPLICATION}/commands")
    _, full = await api.call("GET", f"/applications/{APPLICATION}/commands", with_localizations="true")
    assert "description_localizations" not in plain[0] and full[0]["description_localizations"] == {"zh-CN": "画"}
    assert plain[0]["id"] == before[0]["id"] and plain[0]["version"] != before[0]["version"]
    status, body = await api.call("PUT", f"/applications/{APPLICATION}/guilds/{GUILD}/commands", [{"name": "x"}])
    assert (status, body["code"]) == (400, 50035) and "description" in body["errors"]["0"]
    assert (await api.call("GET", "/applications/9/commands"))[0] == 403


async def test_an_answer_is_due_in_time_and_once(api: Api) -> None:
    sandbox = api.sandbox
    changes = [change async for change in _first(sandbox.stream(ADA), 1, sandbox.say(ADA, IMAGINE, "/imagine fox"))]
    assert changes == [{"toast": "The application did not respond"}]
    assert [interaction.kind for interaction in sandbox.failed] == [2]
    status, body = await api.callback(api.interaction(), 4, {"content": "late"})
    assert (status, body["code"]) == (404, 10062)

    await sandbox.say(ADA, IMAGINE, "/imagine fox")
    assert (await api.call("POST", api.hook(), {"content": "before the answer"}))[1]["code"] == 10015
    status, body = await api.callback(api.interaction(), 4, {"content": "**hi**", "flags": 64}, with_response="1")
    assert status == 200 and body["interaction"]["response_message_ephemeral"] and body["resource"]["message"]["content"] == "**hi**"
    assert (await api.callback(api.interaction(), 4, {"content": "again"}))[1]["code"] == 40060


async def _first(stream: AsyncIterator[Any], count: int, action: Any) -> AsyncIterator[Any]:
    """The first changes after an action."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_collect(stream, count))
        await asyncio.sleep(0)
        await action
    for change in following.result():
        yield change


async def _collect(stream: AsyncIterator[Any], count: int) -> list[Any]:
    found: list[Any] = []
    async for change in stream:
        found.append(change)
        if len(found) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]  # a generator, which should end now and not with the garbage
    return found


async def test_an_ephemeral_message_is_out_of_reach_of_the_channel(api: Api) -> None:
    await api.sandbox.say(ADA, IMAGINE, "/imagine fox")
    _, body = await api.callback(api.interaction(), 4, {"content": "psst", "flags": 64}, with_response="true")
    path = f"/channels/{IMAGINE}/messages/{body['resource']['message']['id']}"
    for method, data in (("GET", None), ("PATCH", {"content": "x"}), ("DELETE", None)):
        assert (await api.call(method, path, data))[1]["code"] == 10008
    assert [len(api.sandbox.messages(person, IMAGINE)) for person in (ADA, BO)] == [1, 0]
    status, body = await api.call("PATCH", api.hook() + "/messages/@original", {"content": "edited"})
    assert (status, body["content"], body["flags"]) == (200, "edited", 64)
    assert (await api.call("DELETE", api.hook() + "/messages/@original"))[0] == 204
    assert api.sandbox.messages(ADA, IMAGINE) == []


async def test_the_first_follow_up_takes_the_place_of_thinking(api: Api) -> None:
    await api.sandbox.say(ADA, IMAGINE, "/imagine fox")
    assert (await api.callback(api.interaction(), 5))[0] == 204
    assert [(m["thinking"], m["used"]) for m in api.sandbox.messages(BO, IMAGINE)] == [(True, ["Ada", "imagine"])]
    _, first = await api.call("POST", api.hook(), {"content": "one", "flags": 64})
    _, second = await api.call("POST", api.hook(), {"content": "two", "flags": 64})
    assert [m["html"] for m in api.sandbox.messages(BO, IMAGINE)] == ["one"]
    assert (first["flags"], second["flags"]) == (0, 64)
    api.sandbox.interactions.token_seconds = 0.0
    assert (await api.call("POST", api.hook(), {"content": "three"}))[1]["code"] == 50027


async def test_each_kind_of_interaction_has_its_answers(api: Api) -> None:
    await api.sandbox.say(ADA, IMAGINE, "/imagine fox")
    for kind in (1, 6, 7, 8):
        assert (await api.callback(api.interaction(), kind))[1]["code"] == 50035
    await api.callback(api.interaction(), 4, {"content": "x", "components": [{"type": 1, "components": [BUTTON]}]})
    (shown,) = api.sandbox.messages(ADA, IMAGINE)
    await api.sandbox.press(BO, IMAGINE, shown["id"], "go")
    assert (await api.callback(api.interaction(), 9, {"custom_id": "f 1", "title": "Form", "components": [TEXT]}))[0] == 204
    modal = await api.sandbox.wait_for_modal(BO)
    with pytest.raises(HandsError):
        await api.sandbox.submit(BO, modal["id"], {"prompt": "too long"})
    with pytest.raises(HandsError):
        await api.sandbox.submit(ADA, modal["id"], {"prompt": "abc"})
    await api.sandbox.submit(BO, modal["id"], {"prompt": "abc"})
    assert (await api.callback(api.interaction(), 9, {"custom_id": "f 1", "title": "Form", "components": [TEXT]}))[1]["code"] == 50035
    assert (await api.callback(api.interaction(), 7, {"content": "filled in"}))[0] == 204
    assert api.sandbox.messages(ADA, IMAGINE)[0]["html"] == "filled in"


async def test_limits_are_told_in_headers_and_kept(api: Api) -> None:
    url = f"{api.sandbox.public_url}/discord/api/v10/channels/{IMAGINE}/messages"
    left = []
    for number in range(6):
        async with api.session.post(url, json={"content": str(number)}, headers={"Authorization": "Bot t"}) as response:
            left.append((response.status, response.headers["X-RateLimit-Remaining"]))
            body = await response.json()
    assert left == [(200, "4"), (200, "3"), (200, "2"), (200, "1"), (200, "0"), (429, "0")]
    assert response.headers["Via"] and 0 < body["retry_after"] <= 5
    assert (await api.call("POST", f"/channels/{ADMIN_CHANNEL}/messages", {"content": "another channel"}))[0] == 200
    for _ in range(60):
        status, body = await api.call("GET", f"/channels/{IMAGINE}")
    assert (status, body["global"]) == (429, True)
    api.sandbox.limits.enabled = False
    for number in range(20):
        assert (await api.call("POST", f"/channels/{IMAGINE}/messages", {"content": str(number)}))[0] == 200


async def test_who_may_call_and_what_is_not_there(api: Api) -> None:
    async with api.session.get(f"{api.sandbox.public_url}/discord/api/v10/users/@me") as response:
        assert response.status == 401
    assert (await api.call("POST", "/channels/1/messages", {"content": "x"}))[1]["code"] == 10003
    assert (await api.call("PATCH", f"/channels/{IMAGINE}/messages/1", {"content": "x"}))[1]["code"] == 10008
    message = await api.sandbox.say(ADA, IMAGINE, "mine")
    assert (await api.call("PATCH", f"/channels/{IMAGINE}/messages/{message}", {"content": "x"}))[1]["code"] == 50005
    private = await api.sandbox.say(ADA, api.sandbox.private_chat(ADA), "mine")
    assert (await api.call("DELETE", f"/channels/{api.sandbox.private_chat(ADA)}/messages/{private}"))[1]["code"] == 50003
    assert (await api.call("GET", f"/guilds/{GUILD}/members/{OLGA}"))[1]["roles"] != []
    assert (await api.call("GET", "/guilds/1"))[1]["code"] == 10004
    assert (await api.call("GET", "/gateway/bot"))[1]["shards"] == 1


async def test_files_have_signed_addresses_that_end(api: Api) -> None:
    await api.sandbox.say(ADA, IMAGINE, "look", b"\x89PNG 1")
    (url,) = api.sandbox.messages(ADA, IMAGINE)[0]["pictures"]
    async with api.session.get(url) as response:
        assert (response.content_type, await response.read()) == ("image/png", b"\x89PNG 1")
    async with api.session.get(url.replace("hm=", "hm=0")) as response:
        assert response.status == 404
    api.sandbox.state.file_lifetime = -1.0
    async with api.session.get(api.sandbox.messages(ADA, IMAGINE)[0]["pictures"][0]) as response:
        assert response.status == 404


async def _receive(socket: aiohttp.ClientWebSocketResponse, stream: Any) -> dict[str, Any]:
    message = await socket.receive(timeout=5)
    assert message.type is aiohttp.WSMsgType.BINARY, message
    payload = json.loads(stream.decompress(message.data))
    assert isinstance(payload, dict)
    return payload


async def test_the_gateway_hides_what_needs_a_privileged_intent(api: Api) -> None:
    stream = zlib.decompressobj()
    async with api.session.ws_connect(f"{api.sandbox.gateway.url}?v=10&encoding=json&compress=zlib-stream") as socket:
        assert (await _receive(socket, stream))["op"] == 10
        await socket.send_json({"op": 1, "d": None})
        assert (await _receive(socket, stream))["op"] == 11
        await socket.send_json({"op": 2, "d": {"token": "t", "intents": 1 | 1 << 9 | 1 << 12, "properties": {}}})
        assert [(await _receive(socket, stream))["t"] for _ in range(2)] == ["READY", "GUILD_CREATE"]
        await api.sandbox.say(ADA, IMAGINE, "between us")
        await api.sandbox.say(ADA, IMAGINE, f"<@{APPLICATION}> for you")
        await api.sandbox.say(ADA, api.sandbox.private_chat(ADA), "for you alone")
        said = [(await _receive(socket, stream))["d"]["content"] for _ in range(3)]
        assert said == ["", f"<@{APPLICATION}> for you", "for you alone"]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"op": 2, "d": {"token": "t", "intents": 1 << 15}}, 4014),
        ({"op": 2, "d": {"token": "t", "intents": 1, "shard": [2, 2]}}, 4010),
        ({"op": 3, "d": {}}, 4003),
        ({"op": 2, "d": {}}, 4002),
    ],
)
async def test_the_gateway_closes_on_what_discord_does_not_take(first: dict[str, Any], code: int, api: Api) -> None:
    async with api.session.ws_connect(api.sandbox.gateway.url) as socket:
        assert json.loads((await socket.receive(timeout=5)).data)["op"] == 10
        await socket.send_json(first)
        assert (await socket.receive(timeout=5)).data == code


async def test_a_session_is_resumed_where_it_broke_off_or_refused(api: Api) -> None:
    url = api.sandbox.gateway.url
    async with api.session.ws_connect(url) as socket:
        await socket.receive(timeout=5)
        await socket.send_json({"op": 2, "d": {"token": "t", "intents": 1 << 12}})
        ready = json.loads((await socket.receive(timeout=5)).data)["d"]
        await socket.close(code=4000)
    await api.sandbox.say(ADA, api.sandbox.private_chat(ADA), "meanwhile")
    async with api.session.ws_connect(url) as socket:
        await socket.receive(timeout=5)
        await socket.send_json({"op": 6, "d": {"token": "t", "session_id": ready["session_id"], "seq": 1}})
        got = [json.loads((await socket.receive(timeout=5)).data) for _ in range(2)]
        assert [(event["s"], event["t"]) for event in got] == [(2, "MESSAGE_CREATE"), (3, "RESUMED")]
        await socket.send_json({"op": 6, "d": {"token": "t", "session_id": "unknown", "seq": 1}})
        assert json.loads((await socket.receive(timeout=5)).data) == {"op": 9, "d": False, "s": None, "t": None}


@pytest.mark.parametrize("line", ["/imagine", "/imagine " + "a" * 21, "/imagine x ar:4:3", "/imagine x seed:ten", "/imagine x seed:10"])
async def test_the_app_does_not_send_what_the_declaration_forbids(line: str, api: Api) -> None:
    with pytest.raises(HandsError):
        await api.sandbox.say(ADA, IMAGINE, line)
    assert api.sandbox.state.interactions == {}


async def test_who_sees_what(api: Api) -> None:
    sandbox = api.sandbox
    assert [person["name"] for person in sandbox.people()] == ["Ada", "Bo", "陈晨", "Mira", "نور", "Olga"]
    assert [chat["title"] for chat in sandbox.chats(ADA)] == ["Aetherflow", "#imagine"]
    assert [(chat["title"], chat["kind"]) for chat in sandbox.chats(OLGA)][1:] == [("#imagine", "channel"), ("#admin", "channel")]
    for chat in (ADMIN_CHANNEL, sandbox.private_chat(BO), "1"):
        with pytest.raises(HandsError):
            await sandbox.say(ADA, chat, "x")


async def test_the_hands_over_http(api: Api) -> None:
    async def hand(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        url = f"{api.sandbox.public_url}/hands/discord{path}"
        async with api.session.request(method, url, data=io.BytesIO(json.dumps(body).encode()), params=query) as response:
            return response.status, await response.json()

    _, person = await hand("POST", "/people", {"name": "Eve", "language": "fr"})
    assert person in (await hand("GET", "/people"))[1]
    assert [chat["kind"] for chat in (await hand("GET", "/chats", person=person["id"]))[1]] == ["private", "channel"]
    assert (await hand("GET", "/commands"))[1][0]["name"] == "imagine"
    async with api.session.get(f"{api.sandbox.public_url}/hands/discord/stream", params={"person": CHEN}) as stream:
        await stream.content.readuntil(b"\n\n")
        large = "A" * 3_000_000  # more than aiohttp takes by default
        assert (await hand("POST", "/say", {"person": ADA, "chat": IMAGINE, "text": "你好", "picture": large}))[0] == 200
        event = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
        assert (event["chat"], event["message"]["html"], event["message"]["from"]["name"]) == (IMAGINE, "你好", "Ada")
    assert len((await hand("GET", "/messages", person=BO, chat=IMAGINE))[1]) == 1
    assert (await hand("POST", "/say", {"person": ADA, "chat": IMAGINE, "command": "imagine", "options": {"prompt": "x"}}))[0] == 200
    assert api.interaction().data["options"] == [{"name": "prompt", "type": 3, "value": "x"}]
    assert (await hand("GET", "/autocomplete", person=ADA, chat=IMAGINE, command="imagine", option="model", typed="c")) == (200, [])
    assert (await hand("POST", "/press", {"person": ADA, "chat": IMAGINE, "message": "1", "action": "x"}))[0] == 400
    assert (await hand("POST", "/say", {"person": ADA}))[0] == 400
    assert (await hand("POST", "/submit", {"person": ADA, "modal": "1", "values": {}}))[0] == 400
    assert (await hand("GET", "/stream", person="nobody"))[0] == 400
    await hand("POST", "/block", {"person": ADA})
    await hand("POST", "/faults", {"statuses": 1, "status": 502})
    assert (await api.call("GET", f"/channels/{IMAGINE}"))[0] == 502
    assert (await api.call("POST", f"/channels/{api.sandbox.private_chat(ADA)}/messages", {"content": "x"}))[1]["code"] == 50007


async def test_roles_of_the_server(api: Api) -> None:
    sandbox = api.sandbox
    painters = next(each["id"] for each in sandbox.roles() if each["name"] == "Painters")
    sandbox.set_role(ADA, painters)
    sandbox.set_role(ADA, ADMIN_ROLE)
    member = sandbox.state.member(ADA, rights=True)
    assert member["roles"] == [ADMIN_ROLE, painters]
    assert int(member["permissions"]) & 1 << 3
    assert {each["id"]: each["name"] for each in sandbox.state.guild()["roles"]}[painters] == "Painters"
    for role in (painters, ADMIN_ROLE):
        sandbox.set_role(ADA, role, on=False)
    assert next(each for each in sandbox.people() if each["id"] == ADA)["roles"] == []
    with pytest.raises(HandsError):
        sandbox.set_role(ADA, "1")
