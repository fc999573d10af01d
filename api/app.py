"""The HTTP application."""

from fastapi import FastAPI

from api import errors, handover, health, webhooks
from core.app import App


def make_api(app: App) -> FastAPI:
    """Every route, over an open App."""
    api = FastAPI(title="Aetherflow", version="0.1.0", docs_url=None, redoc_url=None)
    api.state.core = app
    errors.install(api)
    for module in (health, handover, webhooks):
        api.include_router(module.router)
    return api
