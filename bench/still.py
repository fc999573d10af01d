"""A provider's stand-in that draws nothing: one picture of 100 kB, after so many milliseconds. What is left is the cost of everybody else.

`python -m bench.still MILLISECONDS` prints its address and serves until its standard input closes.
"""

import asyncio
import sys
from io import BytesIO
from random import Random

from aiohttp import web
from PIL import Image

SIDE = 182
"""Pixels: noise does not compress, so three bytes each are about 100 kB."""


def picture() -> bytes:
    """A PNG of about 100 kB."""
    buffer = BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), Random(1).randbytes(SIDE * SIDE * 3)).save(buffer, "PNG")
    return buffer.getvalue()


async def _main() -> None:
    seconds, drawn = float(sys.argv[1]) / 1000, picture()

    async def draw(request: web.Request) -> web.Response:
        await request.read()
        if seconds:
            await asyncio.sleep(seconds)
        return web.Response(body=drawn, content_type="image/png", headers={"finish-reason": "SUCCESS", "seed": "7"})

    async def balance(_request: web.Request) -> web.Response:
        return web.json_response({"credits": 1e9})

    app = web.Application()
    app.add_routes([web.post("/v2beta/stable-image/generate/{model}", draw), web.get("/v1/user/balance", balance)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_main())
