"""The HTTP application."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import (
    account_pages,
    admin,
    auth,
    checkouts,
    disputes,
    docs,
    errors,
    generations,
    handover,
    health,
    html,
    joining,
    leaving,
    models,
    office,
    openai,
    pictures,
    pools,
    presets,
    receipts,
    resources,
    topups,
    wallet,
    wallet_page,
    webhooks,
)
from api.frame import BodyLimit, Frame
from api.limits import AddressLimit
from api.waiting import Waiting
from core.accounts import Accounts
from core.app import App

METHODS = ("GET", "POST", "PATCH", "DELETE")
EXPOSED = (
    "Location", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id", "Idempotency-Replayed", "Aetherflow-Credits",
    "Aetherflow-Generations",
)  # fmt: skip
"""What a page of another origin may read of an answer."""
PREFLIGHT_SECONDS = 600


def make_api(app: App) -> FastAPI:
    """Every route, over an open App. `state.waiting` is to be closed by whoever stops serving."""
    api = FastAPI(title="Aetherflow", version="0.1.0", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    api.state.core = app
    api.state.accounts = Accounts(app)
    api.state.waiting = Waiting(app)
    errors.install(api)
    orders, money = (models, generations, disputes, presets, pools, pictures), (wallet, topups, receipts)
    programs = (auth, joining, leaving, *orders, *money, resources, openai, admin)
    for module in (*programs, health, handover, docs):
        api.include_router(module.router)
    api.include_router(webhooks.router, include_in_schema=False)
    for pages in (html, checkouts, account_pages, wallet_page, office):
        api.include_router(pages.router)
    office.mount_office(api, app)
    # The last one added is the outermost.
    api.add_middleware(BodyLimit)
    api.add_middleware(AddressLimit, app=app)
    origins = [origin.strip().rstrip("/") for origin in app.settings.cors_origins.split(",") if origin.strip()]
    if origins:
        api.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=METHODS, allow_headers=["*"], expose_headers=EXPOSED,
            max_age=PREFLIGHT_SECONDS,
        )  # fmt: skip
    api.add_middleware(Frame, https=app.settings.public_url.startswith("https://"))
    return api
