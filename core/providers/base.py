"""What every image provider looks like to the worker: one request in, one outcome out.

A provider never raises for what the outside world does: refusals, outages and nonsense come back as outcomes.
It opens no transaction, retries nothing, logs no secret and passes on no text or address of the outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from core.vault.secret import Secret

MAX_PICTURE_BYTES = 32 * 1024 * 1024
"""A larger answer is not read to its end; it counts as a bad answer."""


class Operation(StrEnum):
    """What is done: from words alone, from words and a picture, or a picture made larger."""

    GENERATE = "generate"
    EDIT = "edit"
    UPSCALE = "upscale"


class Fault(StrEnum):
    """Why there is no picture. The scheduler and the resource's health judge by this word alone."""

    BAD_KEY = "bad_key"  # 401: the key is wrong, revoked or not allowed here: out until a probe succeeds
    EMPTY = "empty"  # 402 and its cousins: the account has no credit: out until a probe succeeds
    UNVERIFIED = "unverified"  # the account may not use image models (yet)
    RATE_LIMITED = "rate_limited"  # 429 that means wait: retry_after says how long
    MODEL_MISSING = "model_missing"  # the account lacks the model, or it is shut down
    BAD_REQUEST = "bad_request"  # the provider does not accept the parameters: nobody's key is to blame
    MODERATED = "moderated"  # the prompt or the picture was refused for its content
    WITHHELD = "withheld"  # our own moderation refused the picture: the provider was paid, nobody saw it
    FORBIDDEN = "forbidden"  # our own moderation refused the prompt: nobody was called
    UNCHECKED = "unchecked"  # our own moderation gave no answer while there was time: nobody was called
    UNOPENED = "unopened"  # the KMS of our vault gave no answer while there was time: nobody was called
    SERVER = "server"  # 5xx
    NETWORK = "network"  # no connection was made, so nothing can have been charged
    TIMEOUT = "timeout"  # the request left us and no answer came
    BAD_ANSWER = "bad_answer"  # an answer that is not what the provider promises


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture: `media_type` is image/png, image/jpeg or image/webp; width and height in pixels."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to be made. `model` is the provider's own model id (from the catalog).

    `aspect_ratio` such as "16:9"; `style`, `quality` are the provider's own words; `strength` 0–100 says how far an edit may move away
    from `image`; `end_user` is a pseudonym that stays the same for one person. A provider leaves out what its model does not take.
    """

    operation: Operation
    model: str
    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str = "1:1"
    seed: int | None = None
    style: str | None = None
    quality: str | None = None
    image: bytes | None = field(default=None, repr=False)
    strength: int | None = None
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A picture that fits the request. `cost` in micro-dollars as far as the provider tells or its price list says, else None."""

    picture: Picture
    seed: int | None = None
    cost: int | None = None
    reference: str = ""  # the provider's request id, for support


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider refused the content. Another key would refuse it too: no retry, no blame on the resource."""

    fault: Fault = Fault.MODERATED
    charged: bool = False  # True where the provider bills refused content all the same (a filtered picture)
    cost: int | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class FailedFree:
    """No picture and nothing charged. `retry_after` in seconds, where the provider said so."""

    fault: Fault
    retry_after: float | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class FailedCost:
    """No usable picture, yet the owner of the key was charged."""

    fault: Fault
    cost: int | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request left us and we do not know what became of it; it may have been charged."""

    fault: Fault = Fault.TIMEOUT
    reference: str = ""


Outcome = Delivered | Rejected | FailedFree | FailedCost | Unknown


@dataclass(frozen=True, slots=True)
class Probe:
    """What a free call says about a key. `fault` None means that it works.

    `balance` in micro-dollars (None: the provider does not tell); `models` are provider model ids (None: not told, assume the catalog's).
    """

    fault: Fault | None = None
    balance: int | None = None
    models: frozenset[str] | None = None
    retry_after: float | None = None


class Provider(Protocol):
    """One vendor. Instances are shared by all calls of a process and are safe under concurrency."""

    name: str
    costs: Mapping[str, int]
    """Micro-dollars that a call of a model costs at most; empty where the vendor tells no balance to compare with."""

    def looks_like_key(self, text: str) -> bool:
        """Whether the text has the shape of one of this vendor's keys; no call is made."""

    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:  # noqa: ASYNC109  # vendors' clients time out by themselves
        """Makes one picture within `timeout` seconds. Exactly one billable call."""

    async def probe(self, key: Secret) -> Probe:
        """Free of charge: is the key valid, what is left, which models may it use."""

    async def close(self) -> None:
        """Closes connections."""
