"""The differences between two configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve, fields, frozen
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition.changes import Changes, compare, linkSettings
from gateway.composition.reader import Config, Service
from gateway.config import Bytes, ClientEndpoint, ComponentTable, Domain, LargeBytes
from gateway.config.tables import DatabaseUrl, EmbeddedTable, HttpTable, ServerTable, StateTable


@frozen(kw_only=True)
class Table(ComponentTable):
    """The table of a service."""

    word: str = ""


PLUGIN: Any = object()
SERVER = ServerTable(
    endpoint=ClientEndpoint("tcp:h:1"),
    secret="s",
    domain=Domain("h"),
    max_stanza_size=Bytes(1),
    max_outgoing_stanza_size=LargeBytes(2),
    answer_budget=Bytes(3),
)


def service(jid: str, kind: str = "x", **keys: Any) -> Service:
    """Return a service whose table has these keys."""
    return Service(kind=kind, jid=jid, table=Table(**keys), plugin=PLUGIN)


def config(*services: Service, **keys: Any) -> Config:
    """Return a configuration with these services and other keys."""
    found = {"state_dir": Path("/f/s"), "server": SERVER, "embedded": None, "http": None}
    return Config(**found | keys, services=services)


class CompareTests(SynchronousTestCase):
    """Comparing."""

    def test_services(self) -> None:
        """Services are removed, replaced and added; equal ones are in no list, whatever their order."""
        a, b, c = service("a"), service("b"), service("c")
        other = service("b", word="other")
        self.assertEqual(compare(config(a, b), config(b, a)), Changes())
        self.assertEqual(
            compare(config(a, b), config(c, other)), Changes(removed=("a",), replaced=(other,), added=(c,))
        )
        self.assertEqual(compare(config(a), config(service("a", "y"))).replaced, (service("a", "y"),))

    def test_server(self) -> None:
        """A change of [server] concerns the services that use the key."""
        plain = service("plain")
        elsewhere = service("elsewhere", endpoint="tcp:o:1")
        secretive = service("secretive", secret="own")
        everything = {"plain", "elsewhere", "secretive"}
        concerns: dict[str, tuple[object, set[str]]] = {
            "endpoint": ("tcp:h:2", {"plain", "secretive"}),
            "secret": ("t", {"plain", "elsewhere"}),
            # Read by the reader, into secret.
            "secret_file": ("x", set()),
            # Read by the reader, into the tables of services.
            "standby": (True, set()),
            "domain": ("i", {"plain", "secretive"}),
            "max_stanza_size": (9, everything),
            "max_outgoing_stanza_size": (9, everything),
            "answer_budget": (9, everything),
        }
        self.assertEqual({each.name for each in fields(ServerTable)}, set(concerns))
        for key, (value, concerned) in concerns.items():
            services = plain, elsewhere, secretive
            new = config(*services, server=evolve(SERVER, **{key: value}))
            changes = compare(config(*services), new)
            self.assertEqual({each.jid for each in changes.replaced}, concerned, key)
            self.assertEqual((changes.removed, changes.added, changes.restart), ((), (), ()))

    def test_restart(self) -> None:
        """A key that belongs to no service needs a restart; moving to a server is one change, not two."""
        embedded = EmbeddedTable()
        own = {"server": None, "embedded": embedded}
        for key, old, new in (
            ("state_dir", {}, {"state_dir": Path("/g")}),
            ("state", {}, {"state": StateTable(url=DatabaseUrl("postgresql:///g"))}),
            ("http", {}, {"http": HttpTable()}),
            ("embedded", own, {"server": None, "embedded": evolve(embedded, domain=Domain("i"))}),
            ("server", own, {}),
            ("server", {}, own),
        ):
            self.assertEqual(compare(config(**old), config(**new)), Changes(restart=(key,)))
        self.assertEqual(compare(config(**own), config(**own)), Changes())

    def test_settings(self) -> None:
        """On the embedded host a component has neither an endpoint nor a domain, unless its table has one."""
        found = linkSettings(None, ComponentTable())
        self.assertEqual((found.endpoint, found.secret, found.domain), (None, None, None))
        common = linkSettings(SERVER, ComponentTable())
        values = (common.endpoint, common.secret, common.domain)
        self.assertEqual(values, ("tcp:h:1", "s", "h"))
        self.assertEqual((common.stanzaSize, common.outgoingSize, common.answerBudget), (1, 2, 3))
