"""Headless Chromium, driven by Playwright, for tests of pages."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.explorer_client import ExplorerClient

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
NEEDS_BROWSER = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped if Playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A browser tab, logged in to an explorer if one is given; errors on its console fail the test."""

    def __init__(self, browser: Any, client: ExplorerClient | None = None, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        if client is not None:
            name, _, value = client.cookie.partition("=")
            self.context.add_cookies([{"name": name, "value": value, "url": client.home}])
        self.page = self.context.new_page()
        self.console_errors: list[str] = []
        self.page.on(
            "console", lambda message: self.console_errors.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.console_errors == []


def until(page: Any, condition: str, argument: Any = None) -> None:
    """Wait for a condition. Playwright's own function needs eval, which the pages' policies forbid."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)
