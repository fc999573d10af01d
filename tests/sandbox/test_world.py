"""All stand-ins in one server, which never listens beyond loopback."""

import aiohttp
import pytest

from sandbox.world import World, is_loopback, refuse_real_tokens


async def test_everything_is_there_and_ends() -> None:
    world = World()
    await world.start(port=0)
    async with aiohttp.ClientSession(world.url) as session:
        try:
            for path in ("/telegram/bot1:a/getMe", "/hands/telegram/people", "/hands/discord/people"):
                async with session.get(path) as response:
                    assert response.status == 200, path
            for path in ("/discord/api/v10/gateway/bot", "/stability/v1/user/balance", "/openai/v1/models"):
                async with session.get(path) as response:
                    assert response.status == 401, path  # they are there, and want a token
        finally:
            await world.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("/hands/telegram/people")
    await world.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::", ""])
async def test_no_host_beyond_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        await World().start(host=host, port=0)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.5.5.5", "::1", "localhost")))
    assert not is_loopback("localhost.example.org")


def test_it_does_not_start_beside_real_tokens() -> None:
    local = {"AETHERFLOW_TELEGRAM_TOKEN": "1:a", "AETHERFLOW_TELEGRAM_API_URL": "http://127.0.0.1:8765/telegram"}
    refuse_real_tokens({})
    refuse_real_tokens(local)
    with pytest.raises(SystemExit, match="AETHERFLOW_TELEGRAM_TOKEN"):
        refuse_real_tokens(local | {"AETHERFLOW_TELEGRAM_API_URL": ""})
    with pytest.raises(SystemExit, match="AETHERFLOW_DISCORD_TOKEN"):
        refuse_real_tokens({"AETHERFLOW_DISCORD_TOKEN": "x", "AETHERFLOW_DISCORD_API_URL": "https://discord.com/api/v10"})
