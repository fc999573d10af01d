"""The switches that a person may want to play with, in one place: GET and POST /hands/faults, for the page's fault panel.

The stand-ins have many more, each under its own /hands/{name}/faults; what is switched there shows here as the mode "other".
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from sandbox.discord import DiscordSandbox
from sandbox.image_api import Account, Faults, ImageApi
from sandbox.telegram import TelegramSandbox

MODES: Mapping[str, str] = {
    "normal": "",
    "slow": "",
    "down": "unavailable",
    "rate_limited": "rate_limited",
    "empty": "empty",
    "filter": "filtered",
    "blank": "blank",
}
"""What a provider can be told to do -> the `fail_kind` of all its calls."""
DEFAULT_SECONDS = {"slow": 8.0, "rate_limited": 20.0}
FLOOD_SECONDS = 5
LONGEST_SECONDS = 3_600


@dataclass(frozen=True)
class FaultSwitches:
    """Reads and sets the switches of the stand-ins that it is given."""

    providers: Mapping[str, ImageApi]
    telegram: TelegramSandbox
    discord: DiscordSandbox

    def routes(self) -> list[web.RouteDef]:
        """What an application has to add. A mistake is answered with 400 and {"error": …}."""
        return [web.get("/hands/faults", self._on_get), web.post("/hands/faults", self._on_post)]

    def shown(self) -> dict[str, Any]:
        """{"modes", "providers": [{id, mode, latency, retry_after, calls, keys}], "platforms": [{id, flood}]}.

        `flood`: seconds of the 429 that waits for the next message, None when none does. Balances are in the vendor's own credits.
        """
        platforms = [{"id": "telegram", "flood": self.telegram.flood.refuse_next}, {"id": "discord", "flood": _discord_flood(self.discord)}]
        providers = [_provider(name, provider) for name, provider in self.providers.items()]
        return {"modes": [*MODES], "providers": providers, "platforms": platforms}

    def set_provider(self, name: str, mode: str, seconds: float | None = None) -> None:
        """Every call of a provider goes this way from now on. `seconds`: the latency of "slow", the Retry-After of "rate_limited".

        Raises ValueError for an unknown name or mode, and for seconds out of range.
        """
        if name not in self.providers:
            raise ValueError(f"provider: one of {', '.join(self.providers)}")
        if mode not in MODES:
            raise ValueError(f"mode: one of {', '.join(MODES)}")
        wanted = Faults()
        if mode in DEFAULT_SECONDS:
            length = _seconds(DEFAULT_SECONDS[mode] if seconds is None else seconds)
            setattr(wanted, "latency" if mode == "slow" else "retry_after", length)
        if kind := MODES[mode]:
            wanted.fail_kind, wanted.fail_rate = kind, 1.0
        self.providers[name].faults.set(**asdict(wanted))
        self.providers[name].release()

    def set_flood(self, platform: str, seconds: float | None) -> None:
        """The next message or edit of the bot is refused once with this `retry_after`, in whole seconds; None takes that back.

        In Discord the answer to an interaction is left alone: the platform does not count it either.
        Raises ValueError for an unknown platform, and for seconds out of range.
        """
        length = None if seconds is None else max(1, round(_seconds(seconds)))
        if platform == "telegram":
            self.telegram.flood.refuse_next = length
        elif platform == "discord":
            self.discord.faults.set(too_many=0 if length is None else 1, too_many_seconds=length or FLOOD_SECONDS, only="/messages")
        else:
            raise ValueError("platform: one of telegram, discord")

    async def _on_get(self, _request: web.Request) -> web.Response:
        return web.json_response(self.shown())

    async def _on_post(self, request: web.Request) -> web.Response:
        """{"provider", "mode", "seconds"?} or {"platform", "flood", "seconds"?}; answers like GET."""
        try:
            wanted = await request.json()
            if not isinstance(wanted, dict):
                raise TypeError("a JSON object is needed")
            if "platform" in wanted:
                self.set_flood(str(wanted["platform"]), wanted.get("seconds", FLOOD_SECONDS) if wanted.get("flood", True) else None)
            else:
                self.set_provider(str(wanted.get("provider")), str(wanted.get("mode")), wanted.get("seconds"))
        except (TypeError, ValueError) as problem:
            return web.json_response({"error": str(problem)}, status=400)
        return await self._on_get(request)


def _provider(name: str, provider: ImageApi) -> dict[str, Any]:
    faults = provider.faults
    keys = [_key(provider, account) for account in provider.accounts.values()]
    shown = {"id": name, "mode": _mode(provider), "latency": faults.latency, "retry_after": faults.retry_after}
    return shown | {"calls": provider.calls, "keys": keys}


def _key(provider: ImageApi, account: Account) -> dict[str, Any]:
    balance = float(provider.balance(account))
    return {"key": account.key, "credits": balance, "pictures": account.pictures, "own_faults": account.faults is not None}


def _mode(provider: ImageApi) -> str:
    faults = provider.faults
    if not provider.gate.is_set():
        return "other"
    if faults.fail_rate == 0:
        return "slow" if faults.latency else "normal"
    return next((mode for mode, kind in MODES.items() if kind == faults.fail_kind and faults.fail_rate == 1), "other")


def _discord_flood(discord: DiscordSandbox) -> int | None:
    return max(1, round(discord.faults.too_many_seconds)) if discord.faults.too_many else None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_SECONDS:
        raise ValueError(f"seconds: a number above 0, at most {LONGEST_SECONDS}")
    return float(value)
