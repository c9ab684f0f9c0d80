"""The settings of a configuration, as the log shows them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from attrs import frozen
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition.checks import findPlugins
from gateway.composition.reader import load
from gateway.composition.shown import settings, tableSettings
from gateway.config.tables import ComponentTable, Filename

TEXT = """
[server]
endpoint = "tcp:127.0.0.1:5347"
secret = "hidden"
domain = "example.com"
max_stanza_size = 4194304
[state]
url = "postgresql://g:hidden@db/x?password=hidden"
[log]
level = "warn"
[proxy."proxy.example.com"]
target = "implementation@example.com"
secret = "hidden"
forward = ["message", "iq"]
[delegation."delegate.example.com"]
servers = ["example.com"]
[delegation."delegate.example.com".namespaces]
"jabber:iq:private" = { handler = "private-storage" }
"urn:xmpp:mam:2" = { jid = ["one.example.com", "two.example.com"], filtering = ["node"] }
[roster."roster.example.com"]
domain = "example.com"
url = "https://localhost/%s?key=hidden"
signature_secret = "hidden"
[rooms."rooms.example.com"]
"""


class ShownTests(SynchronousTestCase):
    """Names and settings of tables."""

    maxDiff = None

    def settings(self, text: str) -> dict[str, str]:
        path = Path(self.mktemp())
        path.write_text(text)
        return dict(settings(load(path, findPlugins(), MemoryReactorClock())))

    def test_server(self) -> None:
        """Each table has its settings, except the defaults and secrets."""
        found = self.settings(TEXT)
        expected = {
            "state": 'url = "postgresql://...@db/x?..."',
            "server": 'endpoint = "tcp:127.0.0.1:5347", secret = (not shown), domain = "example.com"',
            "log": 'level = "warn"',
            'proxy."proxy.example.com"': 'secret = (not shown), target = "implementation@example.com", '
            'forward = ["iq", "message"]',
            'delegation."delegate.example.com"': 'servers = ["example.com"], namespaces = { "jabber:iq:private" = '
            '{ handler = "private-storage" }, "urn:xmpp:mam:2" = { jid = ["one.example.com", "two.example.com"], '
            'filtering = ["node"] } }',
            'roster."roster.example.com"': 'domain = "example.com", url = "https://localhost/%s?...", '
            "signature_secret = (not shown)",
            'rooms."rooms.example.com"': "the defaults",
        }
        self.assertEqual(found, expected)

    def test_embedded(self) -> None:
        """The embedded host's passwords and secrets are not shown."""
        self.patch(sys, "stdout", io.StringIO())
        tables = '[embedded.accounts]\nalice = "hidden"\n[embedded.components]\n"echo.localhost" = "hidden"\n'
        found = self.settings(tables + '[http]\n[rooms."rooms.localhost"]\n')
        self.assertEqual(found["embedded"], "accounts = (not shown), components = (not shown)")
        self.assertEqual(found["http"], "the defaults")

    def test_others(self) -> None:
        """A secret of another software's table is not shown either, if its name says that it is one."""

        @frozen(kw_only=True)
        class Table(ComponentTable):
            api_token: str
            password: str | None = None
            word: str = "x"

        table = Table(api_token="hidden", password="hidden", word="y", secret_file=Filename("/x"))
        expected = 'secret_file = "/x", api_token = (not shown), password = (not shown), word = "y"'
        self.assertEqual(tableSettings(table), expected)
