"""What tests of pages may ask for: a page in a real, headless Chromium."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from bots.chat.chart import FONT

PATH = "AETHERFLOW_TEST_CHROMIUM"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",  # root may not have one, and the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FONTS = FONT.parent
"""A font of ours with Chinese: many a machine for tests has none, and a picture for docs/ would show boxes."""
FONTCONFIG = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>"""


@pytest.fixture
async def page(_chromium: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A page of a browser of its own."""
    known = tmp_path / "fonts.conf"
    known.write_text(FONTCONFIG.format(fonts=FONTS, cache=tmp_path / "fontconfig"), encoding="utf-8")
    env: dict[str, str | float | bool] = {**os.environ, "FONTCONFIG_FILE": str(known)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium, args=QUIET, env=env)
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
