"""A provider and a rail whose answers a test decides: first-class members beside the real ones, for tests that are not about HTTP."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.payments.rails.base import BadSignature, Checkout, Opened, RailEvent, RailRefused, Refunding, Returned, Said
from core.providers.base import Delivered, ImageRequest, Outcome, Picture, Probe
from core.vault.secret import Secret

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63104858000001940111"
    "f6a897e60000000049454e44ae426082"
)


@dataclass
class FakeProvider:
    """Delivers one pixel, unless `answer` says otherwise for a key and request, or `script` has answers left."""

    name: str = "stability"
    prefix: str = "sk-"
    costs: Mapping[str, int] = field(default_factory=lambda: {"core": 30_000})
    answer: Callable[[ImageRequest, str], Outcome] | None = None
    script: deque[Outcome] = field(default_factory=deque)
    probes: dict[str, Probe] = field(default_factory=dict)
    calls: list[tuple[str, ImageRequest]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0

    def looks_like_key(self, text: str) -> bool:
        return text.startswith(self.prefix)

    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:
        self.calls.append((key.reveal(), request))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.arrived.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            else:
                await asyncio.sleep(0)
            if self.script:
                return self.script.popleft()
            if self.answer is not None:
                return self.answer(request, key.reveal())
            return Delivered(Picture(PIXEL, "image/png", 1, 1), seed=7, cost=30_000)
        finally:
            self.in_flight -= 1

    async def probe(self, key: Secret) -> Probe:
        return self.probes.get(key.reveal(), Probe(balance=10_000_000))

    async def close(self) -> None:
        return None


@dataclass
class FakeRail:
    """Opens at once and knows what a test says was paid. Its callbacks are signed by the header `signature: good`."""

    name: str = "stripe"
    currency: str = "USD"
    trouble: deque[Exception] = field(default_factory=deque)
    opened: list[Checkout] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    said: dict[str, RailEvent] = field(default_factory=dict)
    refunds: list[Refunding] = field(default_factory=list)
    returns: Returned = Returned.DONE
    events: dict[bytes, RailEvent] = field(default_factory=dict)

    async def open(self, checkout: Checkout) -> Opened:
        if self.trouble:
            raise self.trouble.popleft()
        self.opened.append(checkout)
        return Opened(f"https://pay.example/{checkout.order}", reference=f"cs_{checkout.order}")

    def read(self, headers: Mapping[str, str], body: bytes, now: int) -> RailEvent | None:
        if headers.get("signature") != "good":
            raise BadSignature()
        return self.events.get(body)

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        if self.trouble:
            raise self.trouble.popleft()
        return self.said.get(order)

    async def refund(self, refunding: Refunding) -> Returned:
        if self.trouble:
            raise self.trouble.popleft()
        self.refunds.append(refunding)
        return self.returns

    async def close(self, order: str, reference: str | None) -> None:
        if order in self.said and self.said[order].said is Said.PAID:
            raise RailRefused(problem="paid")
        self.closed.append(order)
