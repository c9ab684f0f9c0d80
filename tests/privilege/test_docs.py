"""The service in docs/privilege.md."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from gateway.interfaces import IServicePlugin
from gateway.privilege.handler import PrivilegeHandler
from gateway.stream.link import Link
from gateway.testing import MemoryServer
from tests.documented import module
from tests.privilege import support as xep
from tests.privilege.support import ENTITY, JULIET, SERVER, privilege


class MemoryComposition:
    """A builder whose links are connected in memory."""

    def __init__(self) -> None:
        self.server = MemoryServer(ENTITY)

    def link(self, jid: str, table: object) -> Link:
        return self.server.link

    def privileges(self, link: Link, servers: list[str]) -> PrivilegeHandler:
        handler = PrivilegeHandler(servers)
        handler.setHandlerParent(link)
        return handler


class GreeterTests(TestCase):
    """The service works as documented."""

    def test_greets(self) -> None:
        """A user who comes online gets a message from the server and a contact; a contact of the user does not."""
        names: dict[str, Any] = {}
        exec(compile(module("privilege.md"), "greeter.py", "exec"), names)  # noqa: S102  # our own code
        plugin = names["greeter"]
        self.assertTrue(verifyObject(IServicePlugin, plugin))
        composition = MemoryComposition()
        server = composition.server
        plugin.makeService(ENTITY, plugin.table(server=SERVER), composition)
        self.addCleanup(server.stop)
        server.start()
        server.send(privilege(xep.ROSTER + xep.MESSAGE + xep.PRESENCE) + xep.EXAMPLE_16)
        self.assertEqual(server.taken(), [])
        server.send(xep.EXAMPLE_13)
        greeting, contact = server.taken()
        self.assertIn("Welcome back.", greeting)
        self.assertIn(f'jid="{ENTITY}" name="Greeter" subscription="to"', contact)
        self.assertIn(f'to="{JULIET}"', contact)
