"""The pictures in docs/pictures that show pages: tests make them anew when AETHERFLOW_TEST_PICTURES is set, all in this way."""

import os
from pathlib import Path

from playwright.async_api import Page

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WANTED = "AETHERFLOW_TEST_PICTURES" in os.environ


async def keep(page: Page, name: str) -> None:
    """The page as it stands, to its end, as docs/pictures/<name>.png; nothing unless pictures are wanted."""
    if WANTED:
        await page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
