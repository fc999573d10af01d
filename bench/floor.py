"""The floor: the smallest FastAPI program that does only the metered steps of one picture, with nothing that keeps them true.

token -> hold + commit -> provider's call -> decode -> store -> settle + split + commit -> answer. No queue, no scheduling, no limits, no
failover, no chain of seals, no outbox, no idempotency; it keeps one key of a provider in its environment.

`python -m bench.floor PORT`, with DSN, PROVIDER and FOLDER in the environment.
"""

import base64
import hashlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from PIL import Image
from pydantic import BaseModel

PRICE, MINER = 4_500, 3_825
SCHEMA = """
CREATE TABLE floor_tokens (hash text PRIMARY KEY, account text NOT NULL);
CREATE TABLE floor_accounts (name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE TABLE floor_legs (id bigserial PRIMARY KEY, entry bigint NOT NULL, account text NOT NULL, amount bigint NOT NULL);
CREATE TABLE floor_orders (id bigserial PRIMARY KEY, account text NOT NULL, state text NOT NULL, picture text);
"""
HOLD = """
WITH taken AS (UPDATE floor_accounts SET balance = balance - $2 WHERE name = $1 AND balance >= $2 RETURNING name),
made AS (INSERT INTO floor_orders (account, state) SELECT name, 'held' FROM taken RETURNING id),
legs AS (INSERT INTO floor_legs (entry, account, amount)
  SELECT id, account, amount FROM made, (VALUES ($1, -$2::bigint), ($1 || ':held', $2::bigint)) AS leg(account, amount))
SELECT id FROM made
"""
SETTLE = """
WITH done AS (UPDATE floor_orders SET state = 'delivered', picture = $2 WHERE id = $1 AND state = 'held' RETURNING id, account),
paid AS (UPDATE floor_accounts SET balance = balance + $4 WHERE name = 'miner:' || ($1 % 16)::text)
INSERT INTO floor_legs (entry, account, amount)
  SELECT id, leg.account, leg.amount FROM done,
  LATERAL (VALUES (done.account || ':held', -$3::bigint), ('miner', $4::bigint), ('fees', $3::bigint - $4::bigint)) AS leg(account, amount)
"""


class Asked(BaseModel):
    """What is asked for."""

    prompt: str
    model: str | None = None


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DSN"], min_size=10, max_size=10) as pool, aiohttp.ClientSession() as session:
        app.state.pool, app.state.session = pool, session
        yield


app = FastAPI(lifespan=_life)


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    """Whether it serves."""
    return {"ready": True}


@app.post("/v1/images/generations")
async def create(request: Request, asked: Asked) -> dict[str, object]:
    """One picture."""
    pool: asyncpg.Pool = app.state.pool
    digest = hashlib.sha256(request.headers["Authorization"].removeprefix("Bearer ").encode()).hexdigest()
    account = await pool.fetchval("SELECT account FROM floor_tokens WHERE hash = $1", digest)
    if account is None:
        raise HTTPException(401)
    number = await pool.fetchval(HOLD, account, PRICE)
    if number is None:
        raise HTTPException(402)
    form = aiohttp.FormData({"prompt": asked.prompt, "output_format": "png"})
    address = f"{os.environ['PROVIDER']}/v2beta/stable-image/generate/core"
    async with app.state.session.post(address, data=form, headers={"Authorization": "Bearer sk"}) as answer:
        data = await answer.read()
    width, height = Image.open(BytesIO(data)).size
    name = f"{secrets.token_hex(16)}.png"
    (Path(os.environ["FOLDER"]) / name).write_bytes(data)
    await pool.execute(SETTLE, number, name, PRICE, MINER)
    return {"created": number, "data": [{"b64_json": base64.b64encode(data).decode()}], "size": f"{width}x{height}"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
