"""Who may do what: every route of the application against everybody who may ask. A route without a line here fails."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from core.access.models import Scope
from core.presets.models import Draft
from core.users.models import Role, User
from tests.api.stage import Served, served_stage

SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Rule:
    """What a route answers to whom: `owner` is the creator, or the miner for what is lent. Rows of others are not there for anybody.

    `scope` None: a public route, which answers everybody alike.
    """

    owner: int
    scope: str | None = None
    others: int | None = None
    admins: int | None = None
    frozen: int | None = None
    body: dict[str, Any] | None = None
    as_miner: bool = False

    def expected(self) -> dict[str, int]:
        """The status for each of the actors."""
        if self.scope is None:
            return dict.fromkeys(("anonymous", "owner", "other", "scopeless", "admin", "frozen"), self.owner)
        others = self.others or self.owner
        frozen = self.frozen or self.owner
        scopeless = self.owner if self.scope == ANY else 403
        return {
            "anonymous": 401,
            "owner": self.owner,
            "other": others,
            "scopeless": scopeless,
            "admin": self.admins or others,
            "frozen": frozen,
        }


WHO = {"email": "ada@example.org", "password": "a long sentence"}
SESSION, ANY = "a session", "any token"
PRESET: dict[str, Any] = {"name": "neon-shoe", "title": "Neon", "template": "neon {subject}"}
PROMPT, LEND = {"prompt": "a fox"}, {"provider": "stability", "attested_rule": "2025-07-31"}
RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): Rule(200),
    ("GET", "/readyz"): Rule(200),
    ("GET", "/metrics"): Rule(200),
    ("GET", "/docs"): Rule(200),
    ("GET", "/openapi.json"): Rule(200),
    ("GET", "/static/docs.css"): Rule(200),
    ("GET", "/static/page.css"): Rule(200),
    ("GET", "/static/app.js"): Rule(200),
    ("GET", "/app"): Rule(200),
    ("POST", "/app/login"): Rule(401),
    ("POST", "/app/telegram"): Rule(401),
    ("POST", "/app/logout"): Rule(303),
    ("POST", "/app/topup"): Rule(401),  # a session in a cookie, which nobody here has
    ("GET", "/auth/verify"): Rule(410),
    ("POST", "/auth/verify/form"): Rule(410),
    ("GET", "/auth/reset"): Rule(410),
    ("POST", "/auth/reset/form"): Rule(422),
    ("GET", "/models"): Rule(200),
    ("GET", "/pictures/{signed}"): Rule(404),
    ("GET", "/covers/{signed}"): Rule(404),
    ("GET", "/pay/{order}"): Rule(404),
    ("GET", "/payments/{order}"): Rule(404),
    ("GET", "/handover/{token}"): Rule(410),
    ("POST", "/handover/{token}"): Rule(410),
    ("POST", "/webhooks/telegram"): Rule(404),
    ("POST", "/webhooks/stripe"): Rule(403),  # the stage has this rail, and nobody here signs
    ("POST", "/webhooks/alipay"): Rule(404),
    ("POST", "/auth/register"): Rule(202, body=WHO),
    ("POST", "/auth/verify"): Rule(410, body={"code": "unknown"}),
    ("POST", "/auth/login"): Rule(401, body=WHO),
    ("POST", "/auth/refresh"): Rule(401, body={"refresh_token": "unknown"}),
    ("POST", "/auth/forgot"): Rule(202, body={"email": WHO["email"]}),
    ("POST", "/auth/reset"): Rule(410, body={"code": "unknown", "password": WHO["password"]}),
    ("POST", "/auth/logout"): Rule(204, SESSION, body={}),
    ("POST", "/auth/password"): Rule(401, SESSION, body={"old_password": "x", "new_password": WHO["password"]}),
    ("GET", "/me"): Rule(200, ANY),
    ("PATCH", "/me"): Rule(200, SESSION, body={"locale": "zh"}),
    ("POST", "/me/link"): Rule(410, SESSION, body={"code": "unknown"}),
    ("GET", "/me/export"): Rule(200, SESSION),
    ("GET", "/exports/{token}"): Rule(404),
    ("GET", "/me/tokens"): Rule(200, SESSION),
    ("POST", "/me/tokens"): Rule(201, SESSION, frozen=403, body={"name": "mine", "scopes": ["generate"]}),
    ("DELETE", "/me/tokens/{number}"): Rule(204, SESSION, others=404, frozen=404),
    ("GET", "/wallet/packages"): Rule(200, "wallet:topup"),
    ("POST", "/wallet/topups"): Rule(404, "wallet:topup", body={"package": "unknown", "rail": "stripe"}),
    ("GET", "/wallet/topups"): Rule(200, "wallet:topup"),
    ("GET", "/wallet/topups/{number}"): Rule(404, "wallet:topup"),
    ("GET", "/wallet"): Rule(200, "wallet:read"),
    ("GET", "/wallet/transactions"): Rule(200, "wallet:read"),
    ("POST", "/generations"): Rule(202, "generate", others=402, frozen=403, body=PROMPT),
    ("GET", "/generations"): Rule(200, "generations:read"),
    ("GET", "/generations/{number}"): Rule(200, "generations:read", others=404),
    ("GET", "/generations/{number}/image"): Rule(409, "generations:read", others=404),
    ("POST", "/generations/{number}/cancel"): Rule(200, "generate", others=404),
    ("POST", "/disputes"): Rule(409, "disputes", others=404, frozen=403, body={"generation": 1, "kind": "other"}),
    ("GET", "/disputes"): Rule(200, "disputes"),
    ("GET", "/disputes/{number}"): Rule(404, "disputes"),
    ("GET", "/admin/disputes"): Rule(403, "admin", admins=200),
    ("POST", "/admin/disputes/{number}/resolve"): Rule(403, "admin", admins=404, body={"verdict": "refund", "reason": "blank"}),
    ("GET", "/admin"): Rule(307),
    ("GET", "/admin/users"): Rule(403, "admin", admins=422),
    ("GET", "/admin/users/{number}/transactions"): Rule(403, "admin", admins=200),
    ("GET", "/admin/transactions"): Rule(403, "admin", admins=200),
    ("GET", "/admin/statistics"): Rule(403, "admin", admins=200),
    ("GET", "/presets"): Rule(200, "generate"),
    ("GET", "/presets/{name}"): Rule(404, "generate"),
    ("POST", "/presets"): Rule(409, "presets", frozen=403, body=PRESET),  # an admin took it down
    ("POST", "/presets/{name}/withdraw"): Rule(404, "presets"),
    ("GET", "/resources"): Rule(200, "resources", as_miner=True),
    ("POST", "/resources"): Rule(201, "resources", frozen=403, body=LEND, as_miner=True),
    ("POST", "/resources/{number}/handover"): Rule(201, "resources", others=404, frozen=403, as_miner=True),
    ("PATCH", "/resources/{number}"): Rule(200, "resources", others=404, frozen=403, body={"label": "mine"}, as_miner=True),
    ("DELETE", "/resources/{number}"): Rule(204, "resources", others=404, as_miner=True),
    ("GET", "/resources/{number}/stats"): Rule(200, "resources", others=404, as_miner=True),
    ("GET", "/v1/models"): Rule(200, "generate"),
    ("GET", "/v1/models/{model}"): Rule(200, "generate"),
    ("POST", "/v1/images/generations"): Rule(504, "generate", others=429, frozen=403, body=PROMPT),
}

READING = sorted(route for route, rule in RULES.items() if route[0] == "GET" or rule.scope is None)
"""Routes that change nothing, or nothing that another of them sees: asked one after the other on one stage."""
WRITING = sorted(RULES.keys() - set(READING))


def routes_of(api: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that the application answers."""
    return {(method, str(route.path)) for route in iter_route_contexts(api.routes) for method in route.methods or ()}


@dataclass
class Cast:
    """Everybody who asks, and a client without a token."""

    served: Served
    client: httpx.AsyncClient
    people: dict[str, User] = field(default_factory=dict)

    async def ask(self, method: str, path: str, rule: Rule, actor: str) -> int:
        """The status that an actor gets. Numbers: 1 is the owner's; 2 is too, for when they are frozen."""
        owner = self.served.stage.miner if rule.as_miner else self.served.stage.creator
        user = {"owner": owner, "frozen": owner, "scopeless": owner}.get(actor) or self.people.get(actor)
        scopes = sorted(SCOPES - {rule.scope or ""}) if actor == "scopeless" else sorted(SCOPES)
        headers = {} if user is None else {"Authorization": f"Bearer {await self._token(user, rule, actor, scopes)}"}
        filled = path.format(
            number=2 if actor == "frozen" else 1, token="unknown", signed="unknown", order="unknown", model="core", name="unknown"
        )
        return (await self.client.request(method, filled, headers=headers, json=rule.body)).status_code

    async def _token(self, user: User, rule: Rule, actor: str, scopes: list[Scope]) -> str:
        """A session's where one is needed; the "scopeless" actor has an API token that does not suffice."""
        if rule.scope == SESSION and actor != "scopeless":
            return (await self.served.session(user)).access
        return await self.served.token(user, *scopes)


@pytest.fixture
async def cast(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Cast]:
    async with (
        served_stage(
            sqlite_url, tmp_path, openai_wait_seconds=0.01, smtp_url="smtp://127.0.0.1:1", logins_per_account=1000, logins_per_address=1000
        ) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        stage = served.stage
        await stage.lend("sk-another")
        await stage.submit("one", "two")
        other, admin = await stage.person("other"), await stage.person("admin")
        await stage.app.run(lambda work: work.users.add_role(admin.id, Role.ADMIN))
        await stage.app.run(lambda work: work.presets.publish(Draft(**PRESET), other.id, 20))
        await stage.app.run(lambda work: work.presets.freeze("neon-shoe"))
        yield Cast(served, client, {"other": other, "admin": admin})


async def test_every_route_has_its_rule(served_once: Served) -> None:
    routes = routes_of(served_once.api)
    assert len(routes) > 20
    assert routes - RULES.keys() == set(), "say who may ask it"
    assert RULES.keys() - routes == set(), "there is no such route"


async def _answers(cast: Cast, routes: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, int]]:
    """What each of the actors gets of each of the routes."""
    stage = cast.served.stage
    actors = ("anonymous", "scopeless", "other", "admin", "owner")
    found = {(method, path): {each: await cast.ask(method, path, RULES[method, path], each) for each in actors} for method, path in routes}
    for user in (stage.creator, stage.miner):
        await stage.app.run(lambda work, user=user: work.users.freeze(user.id, True))  # type: ignore[misc]  # bound by default
    for method, path in routes:
        found[method, path]["frozen"] = await cast.ask(method, path, RULES[method, path], "frozen")
    return found


async def test_what_only_reads_answers_whom_it_should(cast: Cast) -> None:
    found = await _answers(cast, READING)
    assert {route: each for route, each in found.items() if each != RULES[route].expected()} == {}


@pytest.mark.parametrize(("method", "path"), WRITING, ids=lambda part: part)
async def test_a_route_answers_whom_it_should(cast: Cast, method: str, path: str) -> None:
    found = await _answers(cast, [(method, path)])
    assert found[method, path] == RULES[method, path].expected()
