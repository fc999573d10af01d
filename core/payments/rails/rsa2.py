"""RSA2, as Alipay calls SHA256withRSA (PKCS#1 v1.5) over sorted fields. https://opendocs.alipay.com/common/02khjm

Pure: what goes in comes out signed or judged; nothing is sent, stored or logged.
"""

import base64
import binascii
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MIN_BITS = 2048
"""Of an RSA2 key; Alipay takes no shorter one."""
MAX_SIGNATURE = 2048
"""Characters of a base64 signature; a key of 8192 bits makes 1368."""

_PEM = "-----BEGIN "


def read_private_key(text: str, setting: str) -> rsa.RSAPrivateKey:
    """The application's own key: PEM, or the bare base64 of PKCS#8 or PKCS#1 as Alipay's key tool writes it.

    Raises ValueError that names the setting and shows nothing of the value.
    """
    form = _form(text)
    key: object = None
    try:
        if form.startswith(_PEM):
            key = serialization.load_pem_private_key(form.encode(), password=None)
        else:
            key = serialization.load_der_private_key(base64.b64decode(form, validate=True), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # outside of the handler, so that no traceback holds what was tried
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_BITS:
        raise ValueError(
            f"{setting} is no RSA private key of {MIN_BITS} bits or more, without a password: PEM, or base64 of PKCS#8 or PKCS#1"
        )
    return key


def read_public_key(text: str, setting: str) -> rsa.RSAPublicKey:
    """The other side's key: PEM or bare base64. Raises ValueError that names the setting and shows nothing of the value."""
    form = _form(text)
    key: object = None
    try:
        if form.startswith(_PEM):
            key = serialization.load_pem_public_key(form.encode())
        else:
            key = serialization.load_der_public_key(base64.b64decode(form, validate=True))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_BITS:
        raise ValueError(f"{setting} is no RSA public key of {MIN_BITS} bits or more: PEM or base64")
    return key


def joined(fields: Mapping[str, str]) -> bytes:
    """What is signed: `name=value` of every field, sorted by name, joined with `&`, raw and not URL-encoded, as UTF-8."""
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields)).encode()


def sign(content: bytes, key: rsa.RSAPrivateKey) -> str:
    """The signature in base64."""
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(content: bytes, signature: str, key: rsa.RSAPublicKey) -> bool:
    """Whether the base64 signature is the key owner's over exactly this content."""
    if len(signature) > MAX_SIGNATURE:
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), content, padding.PKCS1v15(), hashes.SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def _form(text: str) -> str:
    """A key as people paste it: a PEM on one line with `\\n` for its line ends, base64 broken into lines."""
    plain = text.replace("\\n", "\n").strip()
    return plain if plain.startswith(_PEM) else re.sub(r"\s+", "", plain)
