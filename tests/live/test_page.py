"""
The status page in a browser: Debian's Chromium, driven by Playwright, and judged by axe-core.

If the environment variable C{SCREENSHOTS} names a folder, pictures of the page are written there.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import Value, need
from tests.live.test_http import EmbeddedGateway

TOKEN = "s3cret"
DELEGATE, PRIVATE = '"delegate.localhost"', '"jabber:iq:private"'
VIEWS = {"desktop": {"width": 1100, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")

# Lines of the browser's console that are expected: the form is the answer 401, and there is no icon.
EXPECTED = re.compile(r"status of 401|favicon")


def finish(work: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine to its end. Playwright runs a loop in this thread, so that it needs another one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


class BrowserTests(SynchronousTestCase):
    """A browser with the page of a gateway on the embedded host."""

    def setUp(self) -> None:
        chromium = shutil.which("chromium")
        need(None if chromium else "chromium is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "token").write_text(TOKEN)
        playwright = sync_playwright().start()
        self.addCleanup(playwright.stop)
        # The sandbox does not work for root, in a container.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        self.addCleanup(browser.close)
        self.page: Any = browser.new_page(viewport=VIEWS["desktop"])
        self.console: list[str] = []
        self.page.on("console", lambda line: self.console.append(line.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))

    def gateway(self, tables: Mapping[str, Mapping[str, Value]]) -> EmbeddedGateway:
        """Start a gateway that needs a token."""
        gateway = EmbeddedGateway(self.folder, {"http": {"token_file": "token"}, **tables})
        self.addCleanup(gateway.stop)
        gateway.start()
        finish(gateway.ready())
        return gateway

    def open(self, gateway: EmbeddedGateway) -> None:
        """Open the page, and log in by keyboard: the field has the focus."""
        self.page.goto(f"http://127.0.0.1:{gateway.httpPort}/")
        expect(self.page.locator("#token")).to_be_focused()
        self.page.keyboard.type(TOKEN)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#verdict")).to_contain_text("components are connected")

    def look(self, name: str) -> None:
        """Judge the page in all its forms: nothing serious, nothing that scrolls sideways. Take pictures."""
        for form, size in VIEWS.items():
            self.page.set_viewport_size(size)
            for scheme in SCHEMES:
                self.page.emulate_media(color_scheme=scheme)
                if folder := os.environ.get("SCREENSHOTS"):
                    self.page.screenshot(path=Path(folder, f"{name}-{form}-{scheme}.png"), full_page=True)
                found = Axe().run(self.page).response["violations"]
                told = [(each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in found]
                self.assertEqual(told, [], (name, form, scheme))
                wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                self.assertEqual(self.page.evaluate(wide), 0, (name, form))

    def assertQuiet(self) -> None:
        """The browser has refused nothing, and the script has not failed."""
        self.assertEqual([line for line in self.console if not EXPECTED.search(line)], [])

    def test_login(self) -> None:
        """The form, with a wrong token, then with the right one; the end of the session."""
        gateway = self.gateway({})
        self.page.goto(f"http://127.0.0.1:{gateway.httpPort}/")
        self.look("login")
        self.page.get_by_label("Token").fill("wrong")
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("alert")).to_contain_text("This is not the token")
        self.look("wrong")
        self.page.keyboard.type(TOKEN)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#verdict")).to_contain_text("5 of 5 components are connected")
        self.assertEqual(self.page.evaluate("document.cookie"), "")
        self.page.get_by_role("button", name="Log out").click()
        expect(self.page.get_by_label("Token")).to_be_focused()
        self.assertQuiet()

    def test_live(self) -> None:
        """Events appear on the page without a request for it; elements that have not changed keep the focus."""
        gateway = self.gateway({})
        self.open(gateway)
        expect(self.page.locator("#live")).to_have_text("Live.")
        self.page.keyboard.press("Tab")
        expect(self.page.get_by_text("Skip to the components")).to_be_focused()
        link = self.page.get_by_role("link", name="roster.localhost")
        link.focus()
        finish(self.refresh(gateway))
        section = self.page.locator("[id='c-roster.localhost']")
        expect(section).to_contain_text("1 with changes", timeout=15_000)
        expect(link).to_be_focused()
        for kind in ("roster", "proxy"):
            plot = self.page.locator(f"[id='c-{kind}.localhost'] figure")
            expect(plot.first).to_be_visible(timeout=15_000)
        finish(self.refresh(gateway))
        # The plot of a component without latency is as wide as the others.
        expect(section.locator("figure")).to_have_count(2, timeout=15_000)
        expect(self.page.locator("[id='c-rooms.localhost'] figure")).to_have_count(1, timeout=15_000)
        widths = "[...document.querySelectorAll('figure')].map(each => each.getBoundingClientRect().width)"
        self.assertEqual(len(set(map(round, self.page.evaluate(widths)))), 1)
        self.look("busy")
        self.assertQuiet()
        gateway.kill9()
        expect(self.page.locator("#live")).to_contain_text("connection to the gateway is lost", timeout=20_000)

    async def refresh(self, gateway: EmbeddedGateway) -> None:
        """Change a roster, by the API of programs."""
        for method, path, body in (
            ("PUT", "/demo/contacts/alice", '{"bob@localhost": {"name": "Bob"}}'),
            ("POST", "/roster_admin/refresh", '["alice"]'),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.httpPort)
            head = f"{method} {path} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n"
            head += "Content-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = await asyncio.wait_for(reader.read(), 20)
            self.assertRegex(answer, b"^HTTP/1.. 20")
            writer.close()

    def test_troubled(self) -> None:
        """A gateway that lacks what it needs: the remedies are on the page."""
        gateway = self.gateway(
            {
                'proxy."proxy.localhost"': {"target": "nobody@localhost"},
                f"delegation.{DELEGATE}": {"servers": ["example.net"]},
                f"delegation.{DELEGATE}.namespaces.{PRIVATE}": {"handler": "private-storage"},
            }
        )
        self.open(gateway)
        expect(self.page.locator(".problem", has_text="does not delegate")).to_be_visible(timeout=30_000)
        expect(self.page.locator(".problem", has_text="nobody@localhost").first).to_be_visible(timeout=30_000)
        # The reload that is refused has its errors in a block.
        file = gateway.config
        file.write_text(file.read_text().replace("/state", "/other"))
        os.kill(gateway.child.pid, signal.SIGHUP)
        expect(self.page.locator("pre", has_text="requires a restart")).to_be_visible(timeout=30_000)
        self.page.locator("pre").first.focus()
        expect(self.page.locator("pre").first).to_be_focused()
        self.look("troubled")
        self.assertQuiet()
