"""A stand-in for Vault's and OpenBao's transit engine on loopback, as openbao.org/api-docs/secret/transit describes it.

A batch of which an item fails is answered by 400 with its results (builtin/logical/transit/path_encrypt.go, batchRequestResponse).
"""

import asyncio
import base64
import os
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.CAESIJ0-standing-in-for-a-token-of-a-kms"


class Refused(Exception):
    """What the engine says to one item."""


@dataclass
class TransitKey:
    """A named key with its versions, oldest first."""

    versions: list[AESGCM] = field(default_factory=list)
    least: int = 1

    def rotate(self) -> None:
        self.versions.append(AESGCM(AESGCM.generate_key(256)))

    def encrypt(self, plaintext: str) -> str:
        nonce = os.urandom(12)
        sealed = nonce + self.versions[-1].encrypt(nonce, base64.b64decode(plaintext), None)
        return f"vault:v{len(self.versions)}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, ciphertext: str) -> str:
        found = re.fullmatch(r"vault:v(\d+):(.+)", ciphertext)
        if found is None:
            raise Refused("invalid ciphertext: no prefix")
        version, sealed = int(found[1]), base64.b64decode(found[2])
        if version > len(self.versions):
            raise Refused("invalid ciphertext: version is too new")
        if version < self.least:
            raise Refused("ciphertext or signature version is disallowed by policy (too old)")
        try:
            return base64.b64encode(self.versions[version - 1].decrypt(sealed[:12], sealed[12:], None)).decode()
        except InvalidTag:
            raise Refused("cipher: message authentication failed") from None


@dataclass
class Kms:
    """What a test sets and sees."""

    url: str = ""
    token: str = TOKEN
    keys: dict[str, TransitKey] = field(default_factory=dict)
    sealed: bool = False
    moved: bool = False
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[tuple[str, int]] = field(default_factory=list)
    """Verbs of batches that were served, and how many items each had."""
    requests: int = 0
    opened: set[str] = field(default_factory=set)
    """Everything that came or went in clear, as base64."""
    namespaces: set[str] = field(default_factory=set)

    def key(self, name: str = "aetherflow") -> TransitKey:
        made = self.keys.setdefault(name, TransitKey())
        if not made.versions:
            made.rotate()
        return made

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests += 1
        self.asked.set()
        await self.answering.wait()
        if self.sealed:
            return _errors(503, "Vault is sealed")
        if self.moved:
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/v1/transit"})
        if request.headers.get("X-Vault-Token") != self.token:
            return _errors(403, "permission denied")
        self.namespaces.add(request.headers.get("X-Vault-Namespace", ""))
        verb, name = request.match_info["verb"], request.match_info["name"]
        key = self.keys.get(name)
        if key is None:
            return _errors(400, "encryption key not found")
        if not body["batch_input"]:
            return _errors(400, "missing batch input to process")
        self.calls.append((verb, len(body["batch_input"])))
        results = [self._one(verb, key, each) for each in body["batch_input"]]
        return web.json_response({"data": {"batch_results": results}}, status=400 if any("error" in each for each in results) else 200)

    def _one(self, verb: str, key: TransitKey, item: dict[str, str]) -> dict[str, Any]:
        try:
            plaintext = item["plaintext"] if verb == "encrypt" else key.decrypt(item["ciphertext"])
        except Refused as refused:
            return {"error": str(refused), "reference": ""}
        if verb != "rewrap":
            self.opened.add(plaintext)
        if verb == "decrypt":
            return {"plaintext": plaintext, "reference": ""}
        return {"ciphertext": key.encrypt(plaintext), "key_version": len(key.versions), "reference": ""}


def _errors(status: int, text: str) -> web.Response:
    return web.json_response({"errors": [text]}, status=status)


@asynccontextmanager
async def standing_in(context: ssl.SSLContext | None = None, mount: str = "transit") -> AsyncIterator[Kms]:
    """A KMS with the key `aetherflow`; over TLS with `context`."""
    kms = Kms()
    kms.answering.set()
    kms.key()
    app = web.Application()
    app.add_routes([web.post(f"/v1/{mount}/{{verb:encrypt|decrypt|rewrap}}/{{name}}", kms.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    kms.url = f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield kms
    finally:
        kms.answering.set()
        await runner.cleanup()
