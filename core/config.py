"""Settings, from the environment or `.env`, prefix `AETHERFLOW_`. An unknown name is an error, and so is a half-configured part.

Everything that may be limited by choice is named here or beside its only user; docs/reference.md lists all of it and a test compares.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.errors import Misconfigured

PREFIX = "AETHERFLOW_"
_WEB = ("http", "https")
ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "database_url": ("sqlite", "sqlite+aiosqlite", "postgres", "postgresql", "postgresql+asyncpg"),
    "redis_url": ("redis", "rediss"),
    "blob_url": ("file", "s3", "gs", "az", "memory"),
    "public_url": _WEB,
    "telegram_api_url": _WEB,
    "discord_api_url": _WEB,
    "discord_gateway_url": ("ws", "wss"),
    "stripe_api_url": _WEB,
    "alipay_gateway_url": _WEB,
    "stability_api_url": _WEB,
    "openai_api_url": _WEB,
    "moderation_api_url": _WEB,
    "vault_kms_url": _WEB,
}
"""Settings that are addresses, and how each may begin."""
_WITHOUT_HOST = ("sqlite", "sqlite+aiosqlite", "file", "memory")
_HOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")
"""What Telegram takes (core.telegram.org/bots/api#setwebhook), and not so short that it could be guessed."""


class Settings(BaseSettings):
    """All settings. Secrets are `SecretStr`: their values do not show in a repr, a log or a traceback."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", hide_input_in_errors=True)

    data_dir: Path = Path("var")
    database_url: str = ""
    redis_url: str = ""
    blob_url: str = ""
    public_url: str = "http://127.0.0.1:8000"
    catalog_file: Path | None = None
    pulse_dir: Path | None = None
    pulse_seconds: float = Field(60.0, gt=0, le=3600)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    vault_keys: SecretStr = SecretStr("")
    vault_kms_url: str = ""
    vault_kms_mode: Literal["wrap", "open"] = "wrap"
    vault_kms_mount: str = Field("transit", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=100)
    vault_kms_key: str = Field("aetherflow", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=24)
    vault_kms_token: SecretStr = SecretStr("")
    vault_kms_token_file: Path | None = None
    vault_kms_namespace: str = Field("", pattern=r"^[A-Za-z0-9/_.-]*$", max_length=100)
    vault_kms_ca_file: Path | None = None
    vault_kms_seconds: float = Field(5.0, gt=0, le=60)
    jwt_secret: SecretStr = SecretStr("")
    admins: str = ""

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    cors_origins: str = ""
    trusted_proxies: str = ""
    requests_per_address: int = Field(600, ge=1, le=1_000_000)
    requests_per_user: int = Field(300, ge=1, le=1_000_000)
    openai_wait_seconds: float = Field(120.0, gt=0, le=3600)
    openai_pictures: int = Field(10, ge=1, le=10)

    telegram_token: SecretStr = SecretStr("")
    telegram_api_url: str = "https://api.telegram.org"
    telegram_mode: Literal["polling", "webhook"] = "polling"
    telegram_webhook_secret: SecretStr = SecretStr("")
    discord_token: SecretStr = SecretStr("")
    discord_api_url: str = "https://discord.com/api/v10"
    discord_gateway_url: str = ""
    discord_shards: int = Field(0, ge=0, le=10_000)

    stripe_secret_key: SecretStr = SecretStr("")
    stripe_webhook_secret: SecretStr = SecretStr("")
    stripe_api_url: str = "https://api.stripe.com"
    alipay_app_id: str = ""
    alipay_seller_id: str = ""
    alipay_private_key: SecretStr = SecretStr("")
    alipay_public_key: SecretStr = SecretStr("")
    alipay_gateway_url: str = "https://openapi.alipay.com/gateway.do"
    packages_file: Path | None = None
    moderation_file: Path | None = None
    moderation_key: SecretStr = SecretStr("")
    moderation_api_url: str = "https://api.openai.com"
    moderation_outage: Literal["go_on", "wait"] = "go_on"
    moderation_seconds: float = Field(10.0, gt=0, le=300)
    moderation_classifier: Literal["off", "on"] = "off"
    strikes_per_user: int = Field(10, ge=1, le=1000)
    support_contact: str = Field("", max_length=200)
    payment_minutes: int = Field(60, ge=31, le=24 * 60)
    unpaid_payments: int = Field(5, ge=1, le=100)
    payments_per_day: int = Field(20, ge=1, le=1000)

    smtp_url: SecretStr = SecretStr("")
    mail_from: str = Field("", max_length=200)
    tokens_per_user: int = Field(20, ge=1, le=1000)
    logins_per_account: int = Field(5, ge=1, le=1000)
    logins_per_address: int = Field(20, ge=1, le=100_000)

    stability_api_url: str = "https://api.stability.ai"
    openai_api_url: str = "https://api.openai.com"

    commission_percent: int = Field(15, ge=0, le=100)
    miner_percent: int = Field(85, ge=0, le=100)
    royalty_percent: int = Field(5, ge=0, le=100)
    payout_least: int = Field(50, ge=1, le=1_000_000)
    payout_confirm_above: int = Field(1_000, ge=0, le=1_000_000_000)
    audit_hours: int = Field(24, ge=0, le=24 * 365)
    grant_most: int = Field(1000, ge=1, le=1_000_000)
    royalties_per_day: int = Field(20, ge=0, le=1_000_000)
    presets_per_author: int = Field(20, ge=1, le=10_000)
    verdict_confirm_above: int = Field(20, ge=0, le=1_000_000)
    dispute_hours: int = Field(24, ge=1, le=24 * 365)
    vote_hours: int = Field(24, ge=1, le=24 * 30)
    rejected_disputes: int = Field(3, ge=0, le=1000)
    earnings_hold_hours: int = Field(72, ge=0, le=24 * 365)

    worker_slots: int = Field(1000, ge=1, le=10_000)
    lease_seconds: float = Field(60.0, gt=0, le=3600)
    sweep_seconds: float = Field(5.0, gt=0, le=600)
    call_seconds: float = Field(120.0, gt=0, le=3600)
    generation_minutes: int = Field(15, ge=1, le=24 * 60)
    tries_per_generation: int = Field(4, ge=1, le=20)
    running_per_user: int = Field(4, ge=1, le=1000)
    queued_per_user: int = Field(500, ge=1, le=100_000)
    resources_per_miner: int = Field(20, ge=1, le=1000)
    handover_minutes: int = Field(10, ge=1, le=24 * 60)
    events_per_minute: int = Field(60, ge=1, le=100_000)
    membership_seconds: int = Field(60, ge=0, le=3600)
    sync_minutes: int = Field(15, ge=1, le=24 * 60)

    @field_validator(*ADDRESSES)
    @classmethod
    def _is_address(cls, value: str, info: ValidationInfo) -> str:
        schemes = ADDRESSES[str(info.field_name)]
        try:
            parts = urlsplit(value)
            scheme, host, _ = parts.scheme, parts.netloc, parts.port
        except ValueError:  # a port that is none, or half a pair of brackets
            scheme = host = ""
        if value and (scheme not in schemes or not (host or scheme in _WITHOUT_HOST)):
            raise ValueError(f"is not an address that begins with {' or '.join(f'{each}://' for each in schemes)}")
        return value

    @field_validator("telegram_webhook_secret")
    @classmethod
    def _is_hook_secret(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not _HOOK_SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 16 to 256 of A-Z, a-z, 0-9, _ and -")
        return value

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.commission_percent + self.miner_percent != 100:
            raise ValueError(f"{PREFIX}MINER_PERCENT and {PREFIX}COMMISSION_PERCENT must add up to 100")
        if self.royalty_percent > self.commission_percent:
            raise ValueError(f"{PREFIX}ROYALTY_PERCENT comes out of the commission and must not exceed {PREFIX}COMMISSION_PERCENT")
        if self.telegram_mode == "webhook" and not self.telegram_webhook_secret.get_secret_value():
            raise ValueError(f"{PREFIX}TELEGRAM_MODE=webhook needs {PREFIX}TELEGRAM_WEBHOOK_SECRET")
        self._check_kms()
        for rail, parts in self._rail_parts().items():
            if any(parts) and not all(parts):
                raise ValueError(f"{PREFIX}{rail.upper()}_… is set in part: a rail needs all of its settings, or none")
        return self

    def _check_kms(self) -> None:
        tokens = [bool(self.vault_kms_token.get_secret_value()), self.vault_kms_token_file is not None]
        if sum(tokens) != (1 if self.vault_kms_url else 0):
            raise ValueError(f"{PREFIX}VAULT_KMS_URL and one of {PREFIX}VAULT_KMS_TOKEN and {PREFIX}VAULT_KMS_TOKEN_FILE belong together")
        if urlsplit(self.vault_kms_url).scheme == "http" and not self.is_loopback(self.vault_kms_url):
            raise ValueError(f"{PREFIX}VAULT_KMS_URL must begin with https:// where it is not this machine: data keys go there")

    def _rail_parts(self) -> dict[str, list[str]]:
        secret = {name: getattr(self, name).get_secret_value() for name in ("stripe_secret_key", "stripe_webhook_secret")}
        keys = [self.alipay_private_key.get_secret_value(), self.alipay_public_key.get_secret_value()]
        return {"stripe": list(secret.values()), "alipay": [self.alipay_app_id, self.alipay_seller_id, *keys]}

    @property
    def rails(self) -> list[str]:
        """The rails that are on: those with all of their settings, and Stars where there is a Telegram bot."""
        on = [rail for rail, parts in self._rail_parts().items() if all(parts)]
        return on + (["stars"] if self.telegram_token.get_secret_value() else [])

    @property
    def embedded(self) -> bool:
        """Everything in one process on one machine: no Redis, and the database is the SQLite file."""
        return not self.redis_url and self.sqlalchemy_url.startswith("sqlite")

    @property
    def sqlalchemy_url(self) -> str:
        """`DATABASE_URL` with the asynchronous driver named; the SQLite file in `DATA_DIR` when nothing is set."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'aetherflow.sqlite3'}"
        scheme, _, rest = url.partition("://")
        drivers = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg"}
        return f"{drivers.get(scheme, scheme)}://{rest}"

    @property
    def blob_location(self) -> str:
        """`BLOB_URL`, or the folder `blobs` in `DATA_DIR`."""
        return self.blob_url or (self.data_dir.absolute() / "blobs").as_uri()

    @property
    def admin_identities(self) -> list[tuple[str, str]]:
        """`ADMINS` as (platform, id). Raises Misconfigured for a malformed list."""
        pairs = []
        for item in filter(None, (part.strip() for part in self.admins.split(","))):
            platform, _, person = item.partition(":")
            if platform not in ("telegram", "discord", "email") or not person:
                raise Misconfigured(setting="ADMINS", problem=f"{item!r} is not platform:id")
            pairs.append((platform, person))
        return pairs

    def is_loopback(self, url: str) -> bool:
        """Whether an address of the outside world is on this machine, as the sandbox's are."""
        return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def load(environment: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Reads the settings once, at start-up. The environment wins over the file.

    Raises Misconfigured with one problem per line, without values.
    """
    values: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        values |= {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    values |= os.environ if environment is None else environment
    ours = {name[len(PREFIX) :].lower(): value for name, value in values.items() if name.startswith(PREFIX) and value != ""}
    arguments: dict[str, Any] = {name: value for name, value in ours.items() if not name.startswith("test_")}
    try:
        return _FromMapping(**arguments)
    except ValidationError as error:
        raise Misconfigured(setting="settings", problem="; ".join(_sentence(each) for each in error.errors())) from None


_SENTENCES = {
    "extra_forbidden": "is not a setting",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not such a long one",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be a number above {gt}",
    "greater_than_equal": "must be a number of at least {ge}",
    "less_than": "must be a number below {lt}",
    "less_than_equal": "must be a number of at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must look like {pattern}",
    "string_too_long": "must have at most {max_length} characters",
}
"""What the library found, in our words, by its name for it (docs.pydantic.dev/latest/errors/validation_errors)."""


def _sentence(found: Mapping[str, Any]) -> str:
    """One problem for the operator: the setting by its name, never by its value."""
    kind = str(found["type"])
    bounds = {key: int(bound) if isinstance(bound, float) else bound for key, bound in found.get("ctx", {}).items()}
    if kind in _SENTENCES:
        told = _SENTENCES[kind].format(**bounds)
    else:
        told = str(found["msg"]).removeprefix("Value error, ")
    name = ".".join(map(str, found["loc"])).upper()
    return f"{PREFIX}{name}: {told}" if name else told


class _FromMapping(Settings):
    """Takes its values from the arguments alone: what is read and what wins is decided in `load`, in plain sight."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
