"""Plugins of other software: modules in a C{gateway/plugins/} folder of their own on the Python path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.documented import module

ROOT = Path(__file__).resolve().parent.parent

# The example of the documentation, unchanged: an ordinary Wokkel handler as a plugin.
EXAMPLE = module("architecture.md")

FILE = """
[server]
endpoint = "tcp:127.0.0.1:9"
secret = "hidden"
[version."v.example.com"]
software = "Strange"
[proxy."proxy.example.com"]
target = "implementation@example.com"
"""

# Composes the file's services, connects the plugin's one in memory, and queries its version.
RUN = """
import json, sys
from pathlib import Path
from twisted.internet.testing import MemoryReactorClock, StringTransport
from gateway.composition import service
from gateway.composition.reader import load
from gateway.config.tables import ConfigError

reactor = MemoryReactorClock()
try:
    config = load(Path("gateway.toml"), service.findPlugins(), reactor)
except ConfigError as error:
    print(json.dumps({"problems": error.problems}))
    sys.exit()
gateway = service.makeService(config, reactor)
link = gateway.getServiceNamed("version:v.example.com")
link.startService()
[client] = reactor.tcpClients
transport = StringTransport()
protocol = client[2].buildProtocol(None)
protocol.makeConnection(transport)
protocol.dataReceived(
    b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s'>"
    b"<handshake/><iq type='get' id='1' from='u@d/r' to='v.example.com'><query xmlns='jabber:iq:version'/></iq>"
)
print(json.dumps({"names": [each.name for each in gateway], "sent": transport.value().decode()}))
"""


class OtherPluginTests(SynchronousTestCase):
    """The use of a plugin of other software."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.plugins = self.folder / "path" / "gateway" / "plugins"
        self.plugins.mkdir(parents=True)
        (self.plugins / "example.py").write_text(EXAMPLE)

    def run_(self, text: str = FILE) -> tuple[dict[str, Any], str]:
        """Return the output of the process, and its standard error."""
        (self.folder / "gateway.toml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder / "path")])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def test_found(self) -> None:
        """It is found, gets its own table, is composed and connected, and its ordinary handler answers."""
        found, said = self.run_()
        self.assertEqual(set(found["names"]), {"version:v.example.com", "proxy:proxy.example.com", "http"})
        self.assertIn("<name>Strange</name><version>1</version>", found["sent"])
        self.assertEqual(said, "")

    def test_itsTable(self) -> None:
        """Its keys are checked like those of shipped services."""
        found, _ = self.run_(FILE.replace("software", "sofware"))
        self.assertEqual(
            sorted(problem.partition(";")[0] for problem in found["problems"]),
            [
                'version."v.example.com".software: found nothing',
                'version."v.example.com".sofware: found an unknown key',
            ],
        )

    def test_faulty(self) -> None:
        """
        These are logged and affect no other one: a module that cannot be imported, or is not valid Python; an
        object that is not a valid plugin; a second plugin of one kind.
        """
        (self.plugins / "broken.py").write_text("import nothing_of_this_name\n")
        (self.plugins / "worse.py").write_text("def (\n")
        (self.plugins / "another.py").write_text(
            EXAMPLE
            + "class Another(VersionPlugin):\\n    kind = 'proxy'\\nanother = Another()\\n".replace("\\n", "\n")
        )
        (self.plugins / "hollow.py").write_text(
            "from twisted.plugin import IPlugin\n"
            "from zope.interface import implementer\n"
            "from gateway.interfaces import IServicePlugin\n"
            "@implementer(IPlugin, IServicePlugin)\n"
            "class Hollow:\n    pass\n"
            "hollow = Hollow()\n"
        )
        found, said = self.run_()
        self.assertEqual(set(found["names"]), {"version:v.example.com", "proxy:proxy.example.com", "http"})
        for each in ("nothing_of_this_name", "SyntaxError", "Hollow", "Another"):
            self.assertIn(each, said)
