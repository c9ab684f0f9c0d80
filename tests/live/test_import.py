"""Private data that users had stored on a real server before it delegated the namespace: fetched and imported."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import SECRET, LiveTests, scenario
from tests.live.clients import Client, canonical
from tests.live.delegations import tables
from tests.live.gateway import Gateway
from tests.live.processes import holds
from tests.live.servers import DOMAIN, IMPORTING, PRIVATE, Ejabberd, Prosody

STORAGE = tables(IMPORTING, {PRIVATE: {"handler": "private-storage", "import": True}})
BOOKMARKS = "<storage xmlns='storage:bookmarks'/>"
NOTE = "<note xmlns='urn:xmpp:test:note'/>"
# Difficult cases: attributes in namespaces, text between elements, other namespaces, special characters.
STORED = (
    "<storage xmlns='storage:bookmarks'><conference xmlns:p='urn:p' name='A &amp; \"B\"' jid='a@rooms.example.com' "
    "xml:lang='de' p:z='1'><nick>\u20ac \U0001f600 &lt;</nick> tail <x xmlns='urn:x' y=''><z/></x></conference>"
    "</storage>"
)
OLD = "<note xmlns='urn:xmpp:test:note'>old</note>"
NEW = "<note xmlns='urn:xmpp:test:note'>new</note>"


def query(content: str) -> str:
    """Return private data."""
    return f"<query xmlns='{PRIVATE}'>{content}</query>"


def stored(reply: Element) -> str:
    """Return the element in a result, in canonical form."""
    [found] = reply.iter(f"{{{PRIVATE}}}query")
    [element] = found
    return canonical(element)


def written(xml: str) -> str:
    """Return an element in canonical form."""
    return canonical(ElementTree.fromstring(xml))


def _ejabberdCommand(port: int, name: str, **arguments: Any) -> object:
    """Return the result of one of ejabberd's commands, as ejabberdctl runs them."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{name}",
        json.dumps(arguments).encode(),
        {"Content-Type": "application/json", "Host": DOMAIN},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # http, to this machine
        return json.load(answer)


class ImportTests(LiveTests):
    """
    A mix-in: the scenario, for one kind of server. Once for each: it begins with a server that has delegated
    nothing.
    """

    components = {IMPORTING: SECRET}
    delegations = {PRIVATE: {"jid": IMPORTING}}

    @scenario(90)
    async def test_import(self) -> None:
        """
        Users have stored data on the server; then it delegates. A server that can be asked is asked for missing
        elements; for others the operator is told what to do. The command imports the rest, while the gateway runs.
        Data that a user has stored since then stays.
        """
        before = await self.storeBefore()
        gateway = await self.startGateway(STORAGE)
        alice, bob = await self.user("alice"), await self.user("bob")
        # Until then ejabberd itself answers.
        await holds(lambda: f"{DOMAIN} delegates {PRIVATE}" in gateway.log(), 20, "the server delegates")
        empty = await self.granted(bob, query("<x xmlns='urn:xmpp:test:none'/>"))
        self.assertEqual(stored(empty), written("<x xmlns='urn:xmpp:test:none'/>"))
        self.assertEqual((await alice.request(None, query(NEW), "set")).get("type"), "result")
        found = stored(await alice.request(alice.bare, query(BOOKMARKS)))
        if self.server.answersItself:
            self.assertEqual(found, before)
            self.assertNotIn('"import = true" has no effect', gateway.log())
        else:
            self.assertEqual(found, written(BOOKMARKS))
            told = '"import = true" has no effect'
            await holds(lambda: told in gateway.log(), 10, "the log says that it cannot be asked")
        await self._command(gateway, before)
        for user in (alice, bob):
            self.assertEqual(stored(await user.request(None, query(BOOKMARKS))), before)
        self.assertEqual(stored(await alice.request(None, query(NOTE))), written(NEW))
        self.assertEqual(stored(await bob.request(None, query(NOTE))), written(OLD))
        self.assertNotIn("Traceback", gateway.log(10_000))

    async def _command(self, gateway: Gateway, before: str) -> None:
        """Run the command twice."""
        source = await self.source()
        read = 1 if self.server.answersItself else 0
        self.assertEqual(
            await self.imported(gateway, source),
            [
                f"alice@{DOMAIN}: note in urn:xmpp:test:note: the user has stored a different one, which is kept",
                f"imported: {3 - read}; already stored: {read}; different one kept: 1; skipped: 0",
            ],
        )
        self.assertEqual(
            (await self.imported(gateway, source))[-1],
            "imported: 0; already stored: 3; different one kept: 1; skipped: 0",
        )

    async def imported(self, gateway: Gateway, source: Path) -> list[str]:
        """Return the lines that the command prints."""
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.delegation.importer"),
            *(str(gateway.directory / "state" / f"{IMPORTING}.private"), DOMAIN, str(source)),
            cwd=Path(__file__).resolve().parents[2],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await command.communicate()
        self.assertEqual(command.returncode, 0, output)
        return output.decode().splitlines()

    async def storeBefore(self) -> str:
        """
        Store the same for two users on the server itself; return its answer to the request for it, in canonical
        form.
        """
        users = [await self.login(Client(self.server, name, "before")) for name in ("alice", "bob")]
        for user in users:
            for content in (STORED, OLD):
                self.assertEqual((await user.request(None, query(content), "set")).get("type"), "result")
        found = stored(await users[0].request(None, query(BOOKMARKS)))
        self.assertEqual(found, written(STORED))
        for user in users:
            await user.close()
        return found

    async def source(self) -> Path:
        """Return the file or folder that the command reads."""
        raise NotImplementedError


class ProsodyImportTests(ImportTests, SynchronousTestCase):
    """On Prosody: its mod_private, and its data folder."""

    serverClass = Prosody

    async def storeBefore(self) -> str:
        await self._delegate({})
        found = await super().storeBefore()
        await self._delegate(self.delegations)
        return found

    async def _delegate(self, delegations: Any) -> None:
        """Make the server delegate only this."""
        self.server.stop()
        self.server.delegations = delegations
        self.server.configure()
        self.server.start()
        await self.server.ready()

    async def source(self) -> Path:
        return self.server.directory / "data"


class EjabberdImportTests(ImportTests, SynchronousTestCase):
    """On ejabberd: its mod_private, which answers until the gateway connects, and its export."""

    serverClass = Ejabberd

    async def source(self) -> Path:
        assert isinstance(self.server, Ejabberd)
        folder = self.folder("export-")
        done = await asyncio.to_thread(
            _ejabberdCommand, self.server.apiPort, "export_piefxis_host", dir=str(folder), host=DOMAIN
        )
        self.assertEqual(done, 0)
        [exported] = folder.glob(f"*_{DOMAIN}.xml")
        return exported
