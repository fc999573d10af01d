"""The `aetherflow` command: the composition root. It may import everything; nothing imports it."""

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

import demo as journey
from api.server import serve
from bots.chat.chat import SENTENCES, Chat
from bots.chat.delivery import Delivery
from bots.discord.runner import DiscordRunner
from bots.mail.outgoing import MailSender
from bots.mail.server import mail_from, mail_server
from bots.telegram.runner import TelegramRunner
from bots.telegram.store import InboxStore
from core.app import App, open_app
from core.config import Settings, load
from core.db import Database
from core.desk import Desk
from core.errors import AetherflowError, Misconfigured
from core.keys import open_keys
from core.money import parse_credits
from core.payments.models import CURRENCIES
from core.payments.rails.opened import open_rails
from core.payments.rails.stars import StarsRail
from core.providers.base import Provider
from core.providers.classifier import classifier_of
from core.providers.http import make_client
from core.providers.moderator import Moderator
from core.providers.openai import OpenAIProvider
from core.providers.stability import StabilityProvider
from core.pulse import SECOND, stuck
from core.users.models import Identity, Role
from core.vault.redact import Redactor, known
from core.vault.rotate import rotate
from core.vault.secret import Secret
from core.words import Words
from core.worker import Worker
from doctor import examine
from migrations.upgrade import upgrade
from sandbox.world import World, refuse_real_tokens

if sys.platform != "win32":
    import resource as limits

    from uvloop import run
else:
    from asyncio import run

app = typer.Typer(
    help="Aetherflow: a marketplace for AI image generation that lives in chats.", no_args_is_help=True, pretty_exceptions_enable=False
)
vault_app, admin_app = typer.Typer(help="The vault."), typer.Typer(help="The first admin, and Credits to begin with.")
app.add_typer(vault_app, name="vault")
app.add_typer(admin_app, name="admin")

ROLES = ("api", "worker", "telegram", "discord")
GARBAGE = 5_000
"""Objects that may come into being before the new ones are looked through. What the modules made stays for good and is not looked at:
both together take a fourteenth of a busy bot's time."""
OPEN_FILES = 8192
"""Sockets and files that a process may want: a thousand calls in flight, and the rest."""
console = Console(soft_wrap=True)
log = structlog.get_logger("aetherflow")


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[App]:
    """The App with the providers that the settings point to."""
    client = make_client()
    stability = StabilityProvider(settings.stability_api_url, client)
    providers: dict[str, Provider] = {"stability": stability, "openai": OpenAIProvider(settings.openai_api_url, client)}
    key = settings.moderation_key.get_secret_value()
    moderator = Moderator(settings.moderation_api_url, Secret(key), client) if key else None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stability.close)
        classifier = classifier_of(settings.moderation_classifier)
        if classifier is not None:
            stack.callback(classifier.close)
        rails = await stack.enter_async_context(open_rails(settings, client, App.now))
        yield await stack.enter_async_context(open_app(settings, providers, rails, moderator, classifier))


async def run_roles(settings: Settings, roles: Sequence[str], stop: asyncio.Event) -> None:
    """Runs the named roles in this process until `stop`. A platform without its token is off, and says so."""
    async with opened(settings) as core, asyncio.TaskGroup() as group:
        chat = Chat(core, Words(SENTENCES))
        if "worker" in roles:
            group.create_task(Worker(core).run(stop))
            _start(group, settings.smtp_url.get_secret_value(), "email", lambda: _mail(core, chat, stop))
        if "api" in roles:
            group.create_task(serve(core, stop))
        if "telegram" in roles:
            _start(group, settings.telegram_token.get_secret_value(), "telegram", lambda: _telegram(core, chat, stop))
        if "discord" in roles:
            _start(group, settings.discord_token.get_secret_value(), "discord", lambda: _discord(core, chat, stop))
        for rail in CURRENCIES.keys() - settings.rails:
            log.warning("rail_off", rail=rail, why="its settings are empty")
        log.info("started", roles=list(roles), database=core.database.dialect)
        await stop.wait()


def _start(group: asyncio.TaskGroup, token: str, name: str, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if token:
        group.create_task(begin())
    else:
        log.warning("platform_off", platform=name, why=f"{'SMTP_URL' if name == 'email' else f'{name.upper()}_TOKEN'} is not set")


async def _telegram(core: App, chat: Chat, stop: asyncio.Event) -> None:
    settings = core.settings
    runner = TelegramRunner(
        chat, InboxStore(core), token=settings.telegram_token.get_secret_value(), api_url=settings.telegram_api_url,
        mode=settings.telegram_mode, webhook_url=f"{settings.public_url.rstrip('/')}/webhooks/telegram",
        webhook_secret=settings.telegram_webhook_secret.get_secret_value(),
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        group.create_task(Delivery(core, chat.words, {"telegram": runner.sender}, {"telegram": runner.throttle}).run(stop))
        desk = group.create_task(Desk(core, {"stars": StarsRail(runner.stars)}).run())
        await stop.wait()
        desk.cancel()
        runner.stop()


async def _discord(core: App, chat: Chat, stop: asyncio.Event) -> None:
    settings = core.settings
    runner = DiscordRunner(
        chat, settings.discord_token.get_secret_value(), settings.discord_api_url, settings.discord_gateway_url, settings.discord_shards
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run(stop))
        await runner.ready()
        group.create_task(Delivery(core, chat.words, {"discord": runner.sender}).run(stop))


async def _mail(core: App, chat: Chat, stop: asyncio.Event) -> None:
    server = mail_server(core.settings)
    sender = MailSender(server, mail_from(core.settings, server), name_of=lambda nonce: core.vault.pseudonym(f"mail:{nonce}"), now=App.now)
    await Delivery(core, chat.words, {"email": sender}).run(stop)


def _read() -> Settings:
    """Raises SystemExit with one sentence when a setting is wrong."""
    try:
        return load()
    except Misconfigured as error:
        console.print(f"[red]{error.facts['setting']}[/]: {error.facts['problem']}")
        raise SystemExit(2) from None


def _settings() -> Settings:
    """The same, with the folder and the logs of a process that works with them."""
    settings = _read()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    set_up_logs(settings.log_level, Redactor(known(settings)))
    return settings


def set_up_logs(level: str, redactor: Redactor) -> None:
    """Plain lines on standard error; tracebacks without local values, which may be what people typed; no secrets in either."""
    number = getattr(logging, level.upper())
    logging.basicConfig(level=number, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    redactor.install()
    for name in ("httpx", "httpcore", "aiohttp", "discord", "telegram"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
            redactor.line,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows has no such handlers; Ctrl-C raises there
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await work(stop)

    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):
            limits.setrlimit(limits.RLIMIT_NOFILE, (OPEN_FILES, max(OPEN_FILES, limits.getrlimit(limits.RLIMIT_NOFILE)[1])))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)
    _guarded(main)


def _guarded(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs to the end; a setting that is wrong becomes one sentence and exit code 2."""
    try:
        run(main())
    except* Misconfigured as group:
        for error in group.exceptions:
            facts = getattr(error, "facts", {})
            console.print(f"[red]{facts.get('setting', 'settings')}[/]: {facts.get('problem', error)}")
        raise SystemExit(2) from None
    except* KeyboardInterrupt:
        pass


@app.command()
def up() -> None:
    """Everything in one process; migrates first."""
    settings = _settings()
    upgrade(settings.sqlalchemy_url)
    _until_stopped(lambda stop: run_roles(settings, ROLES, stop))


@app.command()
def api() -> None:
    """The HTTP API."""
    _until_stopped(lambda stop: run_roles(_settings(), ("api",), stop))


@app.command()
def worker() -> None:
    """Generations, sweeps and probes."""
    _until_stopped(lambda stop: run_roles(_settings(), ("worker",), stop))


@app.command()
def telegram() -> None:
    """The Telegram bot."""
    _until_stopped(lambda stop: run_roles(_settings(), ("telegram",), stop))


@app.command()
def discord() -> None:
    """The Discord bot."""
    _until_stopped(lambda stop: run_roles(_settings(), ("discord",), stop))


@app.command()
def migrate() -> None:
    """Schema to head."""
    upgrade(_settings().sqlalchemy_url)
    console.print("The schema is at head.")


@app.command()
def demo() -> None:
    """The whole journey against the sandbox, printed step by step; exit code 0 when every step worked."""
    refuse_real_tokens(os.environ)
    set_up_logs("error", Redactor())
    _guarded(lambda: journey.play(run_roles, opened, upgrade, console))


@app.command()
def sandbox(port: Annotated[int, typer.Option(help="Where the chat page is served, on 127.0.0.1.")] = 8765) -> None:
    """The outside world on this machine with the product in it, and a chat page to try it by hand."""

    async def play(stop: asyncio.Event) -> None:
        world = World()
        await world.start(port=port)
        try:
            folder = Path("var/sandbox")
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # the outside world starts anew too
            moderated = {"moderation_key": SecretStr("sk-proj-demo-operator"), "moderation_api_url": f"{world.url}/openai"}
            settings = journey.settings_for(world, folder).model_copy(update=moderated)
            await asyncio.to_thread(upgrade, settings.sqlalchemy_url)
            await journey.give_everyone(opened, settings)
            console.print(f"Open [bold]{world.url}/[/] in a browser. Ctrl-C ends it.")
            await run_roles(settings, ROLES, stop)
        finally:
            await world.stop()

    set_up_logs("warning", Redactor())
    _until_stopped(play)


@app.command()
def audit() -> None:
    """Proves the ledger; exit code 1 on any breach."""

    async def main() -> None:
        async with opened(_settings()) as core:
            result = await core.audit()
        for finding in result.findings:
            console.print(f"{'[red]BREACH[/]' if finding.breaches else '[green]ok[/]'} {finding.name} {' '.join(finding.breaches)}")
        for name, value in result.figures.items():
            console.print(f"{name}: {value:,}")
        if not result.clean:
            raise SystemExit(1)

    _guarded(main)


@app.command()
def doctor() -> None:
    """Looks at everything that the settings name and says what to do; exit code 1 when something fails."""

    async def main() -> None:
        failed = False
        async for finding in examine(_settings()):
            colour = {"ok": "green", "off": "yellow", "failed": "red"}[finding.state]
            console.print(f"[{colour}]{finding.state}[/] {finding.name}: {escape(finding.words)}", soft_wrap=True, highlight=False)
            failed |= finding.state == "failed"
        if failed:
            raise SystemExit(1)

    _guarded(main)


@app.command()
def alive(role: str) -> None:
    """Whether the loops of a role turn: worker, telegram or discord; exit code 1 when not."""
    problem = stuck(_read().pulse_dir, role, App.now() / SECOND)
    console.print(f"[red]{escape(problem)}[/]" if problem else f"[green]ok[/] {role}", soft_wrap=True, highlight=False)
    raise SystemExit(1 if problem else 0)


@vault_app.command("rotate")
def vault_rotate() -> None:
    """Re-wraps every data key with the newest key-encryption key, of the ring or of the KMS."""

    async def main() -> None:
        settings = _settings()
        database = Database(settings.sqlalchemy_url)
        try:
            async with open_keys(settings) as keys:
                console.print(f"{await rotate(database, keys)} data keys re-wrapped.")
        finally:
            await database.close()

    _guarded(main)


@admin_app.command("grant")
def admin_grant(
    identity: str, credits: str, key: Annotated[str, typer.Option(help="The same key grants once.")] = ""
) -> None:  # the word that the operator types
    """Gives Credits to a user: `aetherflow admin grant telegram:1001 100`."""

    async def main() -> None:
        try:
            amount = parse_credits(credits)
        except ValueError:
            raise Misconfigured(setting="credits", problem=f"{credits!r} is no number of Credits") from None
        async with opened(_settings()) as core:
            user = await core.run(lambda work: work.users.resolve(_identity(identity)))
            await core.grant(user.id, amount, f"grant:{key or core.now()}")
            console.print(f"{identity} (user {user.id}) got {credits} Credits.")

    _guarded(main)


@admin_app.command("role")
def admin_role(identity: str, role: str, take: Annotated[bool, typer.Option("--take", help="Takes it away instead.")] = False) -> None:
    """Gives a role: `aetherflow admin role discord:2 admin`; with `--take` it is taken away at once."""

    async def main() -> None:
        if role.upper() not in Role.__members__:
            raise Misconfigured(setting="role", problem=f"{role!r} is none of {', '.join(Role.__members__).lower()}")
        async with opened(_settings()) as core:
            user = await core.run(lambda work: work.users.resolve(_identity(identity)))
            await core.run(lambda work: (work.users.take_role if take else work.users.add_role)(user.id, Role[role.upper()]))
            console.print(f"{identity} (user {user.id}) is {'no ' if take else ''}{role} now.")

    _guarded(main)


def _identity(text: str) -> Identity:
    platform, _, person = text.partition(":")
    if platform not in ("telegram", "discord") or not person:
        raise Misconfigured(setting="identity", problem=f"{text!r} is not platform:id, such as telegram:1001")
    return Identity(platform, person, person, f"dm:{person}" if platform == "discord" else person)


if __name__ == "__main__":
    try:
        app()
    except AetherflowError as error:
        console.print(f"[red]{error}[/]")
        raise SystemExit(2) from None
