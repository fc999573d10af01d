"""HashiCorp Vault and OpenBao as the KMS: the transit secrets engine over HTTP.

Sources: developer.hashicorp.com/vault/api-docs/secret/transit and openbao.org/api-docs/secret/transit (encrypt, decrypt, rewrap,
batch_input, min_decryption_version; `vault:v3:…` names the key version that encrypted), and openbao.org/api-docs (the header
`X-Vault-Token`, `errors` in answers; 403 denied, 503 sealed or in maintenance). Nothing that the server says in words is passed on.

Data keys alone go there, never a secret. Neither `associated_data` nor `context` is used: `rewrap` takes no associated data, so that
rotation would have to open what it re-wraps, and `context` wants a derived key. What a data key belongs to is bound where it encrypts
(service.py): one that is moved to another row opens nothing there.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from pydantic import SecretStr

from core.coalescer import Coalescer
from core.errors import AetherflowError, Misconfigured
from core.vault.errors import CannotOpen, VaultAway
from core.vault.secret import Secret
from core.vault.wrapping import BATCH, Wrapped, passed_on

TOO_OLD = "too_old"
PROBLEMS: Mapping[str, tuple[str, str]] = {
    "unreachable": (
        "VAULT_KMS_URL",
        "the KMS gives no answer there: look at address, network and certificate (VAULT_KMS_CA_FILE)",
    ),
    "sealed": ("VAULT_KMS_URL", "the KMS is sealed or in maintenance (503): unseal it, then start again"),
    "denied": (
        "VAULT_KMS_TOKEN",
        "the KMS denies it (403): the token is wrong or over, or its policy lacks update on encrypt, decrypt and rewrap of VAULT_KMS_KEY",
    ),
    "no_token": ("VAULT_KMS_TOKEN_FILE", "holds no token: it must be a readable file with nothing else in it"),
    "missing": (
        "VAULT_KMS_KEY",
        "the KMS has no such key, or no transit engine at VAULT_KMS_MOUNT: make it, of type aes256-gcm96",
    ),
    "unfit": ("VAULT_KMS_KEY", "the KMS cannot wrap with it: it must be of type aes256-gcm96 and not derived"),
    "elsewhere": ("VAULT_KMS_URL", "the KMS points to another address: name the active node, or let standby nodes forward requests"),
    TOO_OLD: (
        "VAULT_KMS_KEY",
        "the KMS does not decrypt {by} any more: lower its min_decryption_version, run `aetherflow vault rotate`, and raise it again",
    ),
    "busy": ("VAULT_KMS_URL", "the KMS limits requests (429): raise its quota"),
    "failing": ("VAULT_KMS_URL", "the KMS fails: look at its log"),
}
"""What the KMS may lack, and what the operator is told about it: the setting, and the sentence."""

_STATUS = {403: "denied", 404: "missing", 429: "busy", 503: "sealed"}
_BY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,23}:v[1-9][0-9]{0,4}")
"""A key and its version, as it is stored; ids of the ring hold no colon."""
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,4}):[A-Za-z0-9+/=]{1,4096}")
_VERSION_GONE = ("disallowed by policy", "version is too new")
"""How the engine says that it has a version no more, or not yet (sdk/helper/keysutil/policy.go): the operator's to mend."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,2000}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the KMS is and how it is asked. `seconds`: the longest that one request takes."""

    url: str
    mount: str
    key: str
    token: SecretStr
    token_file: Path | None = None
    namespace: str = ""
    seconds: float = 5.0


class Transit:
    """The keys of one transit engine: its `place.key` wraps, in its newest version; every other one there still unwraps what it wrapped."""

    def __init__(self, place: Place, client: httpx.AsyncClient) -> None:  # noqa: TID251  # the type alone: core/providers/http.py makes it
        self._place = place
        self._client = client
        self._singles: Coalescer[Wrapped, bytes] = Coalescer(self._unwrap, BATCH)

    def knows(self, by: str) -> bool:
        """See KeyEncryption."""
        return _BY.fullmatch(by) is not None

    async def newest(self) -> str:
        """See KeyEncryption. It is read off something wrapped, so that the token needs no right to read keys."""
        return (await self.wrap([b"which version wraps"]))[0].by

    async def wrap(self, data_keys: Sequence[bytes]) -> list[Wrapped]:
        """See KeyEncryption."""
        items = [{"plaintext": base64.b64encode(each).decode()} for each in data_keys]
        results = await self._ask("encrypt", self._place.key, items)
        wrapped = [_wrapped(self._place.key, each) for each in results]
        if any(each is None for each in wrapped):
            raise VaultAway(problem="unfit")
        return [each for each in wrapped if each is not None]

    async def unwrap(self, wrapped: Sequence[Wrapped]) -> list[bytes | Exception]:
        """See KeyEncryption. Those who want one each at the same time share a request."""
        if len(wrapped) != 1:
            return await self._unwrap(wrapped)
        try:
            return [await self._singles(wrapped[0])]
        except AetherflowError as error:
            return [error]

    async def close(self) -> None:
        """Waits for what is under way."""
        await self._singles.close()

    async def _unwrap(self, wrapped: Sequence[Wrapped]) -> list[bytes | Exception]:
        found: dict[Wrapped, bytes | Exception] = {}
        for key in dict.fromkeys(_name_of(each.by) for each in wrapped):
            mine = [each for each in wrapped if _name_of(each.by) == key]
            try:
                results = await self._ask("decrypt", key, [{"ciphertext": _text(each)} for each in mine])
            except VaultAway as error:  # to each of them, and not one by one again
                found.update(dict.fromkeys(mine, error))
            else:
                found.update((each, _plaintext(each, result)) for each, result in zip(mine, results, strict=True))
        return [found[each] for each in wrapped]

    async def rewrap(self, wrapped: Sequence[Wrapped]) -> list[Wrapped | Exception]:
        """See KeyEncryption. Within one key the KMS does it alone, and no data key comes out."""
        mine = [each for each in wrapped if _name_of(each.by) == self._place.key]
        results = await self._ask("rewrap", self._place.key, [{"ciphertext": _text(each)} for each in mine])
        found: dict[Wrapped, Wrapped | Exception] = {}
        for each, result in zip(mine, results, strict=True):
            found[each] = _wrapped(self._place.key, result) or _refused(each, result)
        others = [each for each in wrapped if each not in found]
        found.update(zip(others, await passed_on(others, self, self), strict=True))
        return [found[each] for each in wrapped]

    async def _ask(self, verb: str, key: str, items: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        """One batch; as many results as items. Raises VaultAway."""
        if not items:
            return []
        url = f"{self._place.url.rstrip('/')}/v1/{self._place.mount}/{verb}/{key}"
        return _results(await self._post(url, {"batch_input": items}), len(items))

    async def _post(self, url: str, body: Mapping[str, Any]) -> httpx.Response:
        headers = {"X-Vault-Token": (await self._token()).reveal(), "X-Vault-Request": "true"}
        if self._place.namespace:
            headers["X-Vault-Namespace"] = self._place.namespace
        try:
            async with asyncio.timeout(self._place.seconds):
                return await self._client.post(url, json=body, headers=headers, timeout=self._place.seconds)
        except (TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError, ValueError):
            raise VaultAway(problem="unreachable") from None

    async def _token(self) -> Secret:
        """The token; from its file it is read anew each time, since whoever keeps it there renews it."""
        text = self._place.token.get_secret_value()
        if self._place.token_file is not None:
            try:
                text = (await asyncio.to_thread(self._place.token_file.read_text)).strip()
            except (OSError, ValueError):
                text = ""
        if not _TOKEN.fullmatch(text):
            raise VaultAway(problem="no_token")
        return Secret(text)


def misconfigured(away: VaultAway) -> Misconfigured:
    """What the operator has to change before the process starts."""
    setting, problem = PROBLEMS[away.facts["problem"]]
    return Misconfigured(setting=setting, problem=problem.format(by=away.facts.get("by", "a version")))


def _results(answer: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The results of a batch, which come with 400 (some servers: 200) where an item failed. Raises VaultAway for everything else."""
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        body = {}
    data = body.get("data") if isinstance(body, dict) else None
    results = data.get("batch_results") if isinstance(data, dict) else None
    if answer.status_code in (200, 400) and isinstance(results, list) and len(results) == count:
        return [each if isinstance(each, dict) else {} for each in results]
    if answer.status_code == 400 and "not found" in answer.text:  # "encryption key not found"
        raise VaultAway(problem="missing")
    if answer.is_redirect:
        raise VaultAway(problem="elsewhere")
    raise VaultAway(problem=_STATUS.get(answer.status_code, "unfit" if answer.status_code == 400 else "failing"))


def _name_of(by: str) -> str:
    return by.rpartition(":v")[0]


def _text(wrapped: Wrapped) -> str:
    return f"vault:{wrapped.by.rpartition(':')[2]}:{base64.b64encode(wrapped.data).decode()}"


def _wrapped(key: str, result: Mapping[str, Any]) -> Wrapped | None:
    """A ciphertext of the KMS as it is stored: its version beside, its bytes decoded. None when there is none."""
    found = _CIPHERTEXT.fullmatch(str(result.get("ciphertext") or ""))
    if found is None or result.get("error"):
        return None
    return Wrapped(f"{key}:v{found[1]}", base64.b64decode(found[0].rpartition(":")[2]))


def _plaintext(wrapped: Wrapped, result: Mapping[str, Any]) -> bytes | Exception:
    try:
        opened = base64.b64decode(str(result.get("plaintext") or ""), validate=True)
    except (binascii.Error, ValueError):
        opened = b""
    return opened if opened and not result.get("error") else _refused(wrapped, result)


def _refused(wrapped: Wrapped, result: Mapping[str, Any]) -> Exception:
    if any(words in str(result.get("error")) for words in _VERSION_GONE):
        return VaultAway(problem=TOO_OLD, by=wrapped.by)
    return CannotOpen(wrapping=wrapped.by)
