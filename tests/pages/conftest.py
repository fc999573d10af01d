"""What tests of pages may ask for: a page in a real, headless Chromium."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

import sandbox.pictures

PATH = "AETHERFLOW_TEST_CHROMIUM"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FONTS: dict[str, str | float | bool] = {"XDG_DATA_HOME": str(Path(sandbox.pictures.__file__).parent)}
"""Where the browser looks for fonts too: Chinese is drawn, also on a machine that has no letters for it."""
QUIET = [
    "--no-sandbox",  # root may not have one, and the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page(_chromium: str) -> AsyncIterator[Page]:
    """A page of a browser of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium, args=QUIET, env={**os.environ, **FONTS})
        yield await browser.new_page()
        await browser.close()


@pytest.fixture(scope="session")
def _chromium() -> str:
    """`make test` finds or installs one. Where there is none pages go untested, which CI does not accept."""
    path = os.environ.get(PATH) or next(filter(None, map(shutil.which, BROWSERS)), "")
    if not path and "CI" in os.environ:
        pytest.fail("CI needs a Chromium")
    if not path:
        pytest.skip(f"NO PAGE IS TESTED: there is no Chromium. Install one, or set {PATH} to its path")
    return path
