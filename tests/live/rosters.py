"""Rosters from a web application, on real servers: the common parts of their tests."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from tests.live.case import WITH_PRIVILEGED, LiveTests
from tests.live.clients import Client, local
from tests.live.gateway import Gateway
from tests.live.processes import Program, freePort, until
from tests.live.servers import DOMAIN, PRIVILEGED, ROSTER, Ejabberd, Server

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "contacts.py"


class Application(Program):
    """A web application in a process of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = freePort()

    async def ready(self) -> None:
        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            return True

        await until(answers, 10, "the application is ready")


class WebApplication(Application):
    """The web application of the documentation."""

    name = "contacts"

    def start(self) -> None:
        self._run([sys.executable, str(EXAMPLE), str(self.port)], {})

    def say(self, user: str, contacts: Any) -> None:
        """Set a user's contacts."""
        content = contacts if isinstance(contacts, str) else json.dumps(contacts)
        (self.directory / f"{user}.json").write_text(content)


AnyApplication = TypeVar("AnyApplication", bound=Application)


def applying(server: Server) -> dict[str, str]:
    """Return the options for setting the rosters of a server: ejabberd 23.01 needs its HTTP API."""
    if isinstance(server, Ejabberd):
        return {"apply": "ejabberd-api", "api": f"http://127.0.0.1:{server.apiPort}/api"}
    return {}


class RosterCase(LiveTests):
    """A mix-in: an application next to a gateway, and the pushes that clients get."""

    components = WITH_PRIVILEGED

    async def startApplication(self) -> WebApplication:
        return await self.running(WebApplication(self.folder("application-")))

    async def running(self, application: AnyApplication) -> AnyApplication:
        """Start it until the scenario ends."""
        self.stack.callback(application.stop)
        application.start()
        await application.ready()
        return application

    async def startRosters(self, application: Application, **more: Any) -> Gateway:
        table = {**self.table(application), **more, **self.applies()}
        return await self.startGateway({f'roster."{PRIVILEGED}"': table})

    def table(self, application: Application) -> dict[str, Any]:
        """Return the part of a configuration that is always needed."""
        return {"domain": DOMAIN, "url": f"http://127.0.0.1:{application.port}/contacts/%s"}

    def applies(self) -> dict[str, str]:
        """Return the options for setting rosters."""
        return applying(self.server)

    async def refresh(
        self, gateway: Gateway, *users: str, query: str = "", seconds: float = 30
    ) -> tuple[int, dict[str, Any]]:
        """POST; return status and answer, which is empty if the gateway ends meanwhile."""
        code, body = await gateway.post(f"/roster_admin/refresh{query}", json.dumps(users).encode(), seconds)
        return code, json.loads(body or "{}")

    async def online(self, name: str) -> Client:
        """Log in a client that has requested its roster, and so gets pushes."""
        client = await self.user(name)
        await client.request(None, f"<query xmlns='{ROSTER}'/>")
        client.received.clear()
        return client

    async def pushes(self, client: Client) -> list[tuple[str | None, ...]]:
        """Return new roster pushes (JID, name, subscription, groups) when no more come."""
        await asyncio.sleep(0.5)
        return self.pushed(client)

    def pushed(self, client: Client) -> list[tuple[str | None, ...]]:
        """Return them without waiting."""
        found = [
            (
                item.get("jid"),
                item.get("name"),
                item.get("subscription"),
                ",".join(sorted(group.text or "" for group in item)),
            )
            for element in client.received
            if local(element) == "iq" and element.get("type") == "set"
            for item in element.iter(f"{{{ROSTER}}}item")
        ]
        client.received.clear()
        return found

    def removed(self, jid: str) -> list[tuple[str, str]]:
        """Return the pushes for a contact that both sides got: JID and subscription."""
        # ejabberd would end the contact's own subscriptions with those of a removed contact.
        ended = [(jid, "none")] if isinstance(self.server, Ejabberd) else []
        return [*ended, (jid, "remove")]

    async def roster(self, client: Client) -> list[str | None]:
        reply: Element = await client.request(None, f"<query xmlns='{ROSTER}'/>")
        return sorted(item.get("jid") or "" for item in reply.iter(f"{{{ROSTER}}}item"))
