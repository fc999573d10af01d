"""Signed tokens of a session (JWT, RFC 7519, HS256): one for asking, of 24 hours, and one to be renewed with, of 30 days."""

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

import jwt

from core.access.errors import Unauthenticated
from core.db import DAY, SECOND
from core.errors import Misconfigured

ACCESS = DAY
REFRESH = 30 * DAY
ISSUER = "aetherflow"
ALGORITHM = "HS256"
MIN_SECRET = 32
"""Bytes of a signing key (RFC 7518, 3.2: at least the size of the hash)."""
MAX_TOKEN = 2000
PLAIN = "plain"
"""The id of a key that was given without one."""

Kind = Literal["access", "refresh"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token of ours says."""

    user_id: int
    session_id: int
    serial: int


class Signer:
    """A ring of keys, `id:base64,id:base64`, newest first: the newest signs, all of them are recognised until they are taken out.

    A single secret without an id is taken as it is.
    """

    def __init__(self, text: str) -> None:
        """Raises Misconfigured for a malformed ring, without showing any of it."""
        self._keys: dict[str, bytes] = {}
        for number, item in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            name, colon, encoded = item.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True) if colon else item.encode()
            except (binascii.Error, ValueError):
                key = b""
            name = name if colon else PLAIN
            if not name or name in self._keys or len(key) < MIN_SECRET:
                problem = f"key {number} is neither id:base64 of at least {MIN_SECRET} bytes, with an id of its own, nor a secret as long"
                raise Misconfigured(setting="JWT_SECRET", problem=problem)
            self._keys[name] = key
        if not self._keys:
            raise Misconfigured(setting="JWT_SECRET", problem="is empty")

    def sign(self, kind: Kind, claim: Claim, now: int) -> str:
        """A token that is good for ACCESS or REFRESH from `now` (microseconds) on."""
        name, key = next(iter(self._keys.items()))
        lifetime = ACCESS if kind == "access" else REFRESH
        payload = {
            "iss": ISSUER,
            "aud": kind,
            "sub": str(claim.user_id),
            "sid": claim.session_id,
            "ser": claim.serial,
            "iat": now // SECOND,
            "exp": (now + lifetime) // SECOND,
        }
        return jwt.encode(payload, key, ALGORITHM, headers={"kid": name})

    def read(self, kind: Kind, token: str, now: int) -> Claim:
        """What a token says. Raises Unauthenticated for one that is not ours, of another kind, or too old."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated()
        try:
            key = self._keys[str(jwt.get_unverified_header(token).get("kid"))]
            # Its end is compared with our own clock below: one clock for everything.
            options = {"require": ["exp", "iat", "sub"], "verify_exp": False, "verify_iat": False}
            found = jwt.decode(token, key, [ALGORITHM], audience=kind, issuer=ISSUER, options=options)  # type: ignore[arg-type]
            claim = Claim(int(found["sub"]), int(found["sid"]), int(found["ser"]))
            fresh = int(found["exp"]) * SECOND > now
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise Unauthenticated() from None
        if not fresh:
            raise Unauthenticated()
        return claim
