"""The configuration file is reloaded while services run, on a reactor in memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from twisted.application.service import IService
from twisted.logger import LogLevel, capturedLogs, eventAsText, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from gateway.composition.reader import Config
from gateway.composition.reload import Reloader, logStart
from gateway.errors import Stopping
from gateway.interfaces import IServiceBuilder
from gateway.proxy.plugin import ProxyPlugin
from gateway.proxy.tables import ProxyTable
from tests.effects.connections import SERVER
from tests.effects.world import USER, Gateway, proved, told

LOGGER = "gateway.composition.reload"
COMPONENT = "c.example.com"
BYSTANDER = "by.example.com"
OWN = '[server]\nendpoint = "tcp:xmpp.example:5347"\nsecret_file = "first.secret"\n'
PROXY = f'[proxy."{COMPONENT}"]\ntarget = "target@example.com"\n'
BASE = f'{SERVER}[proxy."{BYSTANDER}"]\ntarget = "by@example.com"\ntimeout = 3600\n'


class ReloadTests(SynchronousTestCase):
    """Reloads of one gateway. Its first service has an open exchange that no reload affects."""

    def setUp(self) -> None:
        self.begin(BASE + PROXY)

    def begin(self, text: str) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.gateway = Gateway(self.folder, text)
        self.addCleanup(self.gateway.stop)
        self.applied: list[Config] = []
        self.reloader = Reloader(
            self.folder / "gateway.toml", self.gateway.reactor, self.gateway.service, self.applied.append
        )
        self.server = self.gateway.server(COMPONENT)
        if BYSTANDER in text:
            self.bystander = self.gateway.server(BYSTANDER)
            self.bystander.ask(f"<presence from='by@example.com/a' to='{BYSTANDER}'/>")
            request = f"<iq from='{USER}' to='{BYSTANDER}' id='b' type='get'><q xmlns='urn:q'/></iq>"
            [relayed] = self.bystander.ask(request)
            self.relayed = relayed.get("from")

    def write(self, text: str, name: str = "gateway.toml") -> None:
        (self.folder / name).write_text(text)

    def reload(self, text: str = "") -> list[str]:
        """Reload the file, after it is replaced by this text; return the lines that are logged by the reloader."""
        if text:
            self.write(text)
        with capturedLogs() as logged:
            done = self.reloader.reload()
            self.gateway.wait(8)
        self.successResultOf(done)
        return [formatEvent(each) for each in logged if each["log_namespace"].startswith(LOGGER)]

    def assertUndisturbed(self) -> None:
        """The first service has been connected all the time, and its exchange is answered once."""
        self.assertEqual([each for each in self.bystander.received() if each.get("to") != BYSTANDER], [])
        self.assertIs(self.gateway.server(BYSTANDER), self.bystander)
        answered = told(self.bystander, f"<iq from='by@example.com/a' to='{self.relayed}' id='b' type='result'/>")
        self.assertEqual(answered, [f"iq result b {BYSTANDER} > {USER}"])

    def assertRefused(self, why: str) -> None:
        """The report for C{/status} is that the last reload was refused for this reason."""
        [item] = self.gateway.service.reports
        self.assertTrue(item.isProblem)
        self.assertEqual((item.values["outcome"], item.values["problems"]), ("refused", (why,)))

    def test_changes(self) -> None:
        """Services that differ are changed, and the log names them; others are not touched."""
        new = BASE + PROXY.replace("target@", "other@") + '[rooms."r.example.com"]\n'
        line, first, second = self.reload(new)
        self.assertEqual(first, '[rooms."r.example.com"] the defaults')
        self.assertEqual(second, f'[proxy."{COMPONENT}"] target = "other@example.com"')
        path = self.folder / "gateway.toml"
        self.assertEqual(line, f"{path} was reloaded: added: r.example.com; replaced: {COMPONENT}.")
        self.assertTrue(self.server.isGone)
        self.assertFalse(self.gateway.server(COMPONENT).isGone)
        [line] = self.reload(BASE)
        self.assertEqual(line, f"{path} was reloaded: removed: {COMPONENT}, r.example.com.")
        self.assertEqual([len(each.services) for each in self.applied], [3, 1])
        self.assertUndisturbed()

    def test_same(self) -> None:
        """Without a difference in meaning nothing is changed."""
        [line] = self.reload("# A comment.\n" + BASE + PROXY)
        self.assertTrue(line.endswith(" was reloaded: no service differs."), line)
        self.assertIs(self.gateway.server(COMPONENT), self.server)
        self.assertUndisturbed()

    def test_wrong(self) -> None:
        """A file with errors changes nothing. All errors are logged at once, without a traceback or a secret."""
        wrong = BASE + PROXY.replace("target@", "") + 'secret = ["hidden"]\n[rooms."r.example.com"]\npears = []\n'
        self.write(wrong)
        with capturedLogs() as logged:
            self.successResultOf(self.reloader.reload())
        [event] = logged
        text = eventAsText(event)
        self.assertIs(event["log_level"], LogLevel.error)
        self.assertIn("gateway.toml: 3 errors; nothing was changed:\n", text)
        for key in (f'proxy."{COMPONENT}".target', f'proxy."{COMPONENT}".secret', 'rooms."r.example.com".pears'):
            self.assertIn(f"\n{key}: ", text)
        self.assertNotIn("Traceback", text)
        self.assertNotIn("hidden", text)
        self.assertIs(self.gateway.server(COMPONENT), self.server)
        self.assertEqual(self.applied, [])
        self.assertUndisturbed()
        self.reload(BASE)
        self.assertTrue(self.server.isGone)

    def test_otherFiles(self) -> None:
        """A file that is not TOML, that is missing, or that needs a restart changes nothing either."""
        self.assertIn("is not TOML", self.reload("[proxy")[0])
        (self.folder / "gateway.toml").unlink()
        self.assertIn("cannot be read: No such file", self.reload()[0])
        found = self.reload('state_dir = "other"\n' + BASE + PROXY.replace("target@", "other@"))[0]
        self.assertIn("1 error; nothing was changed:\nstate_dir: has changed, which requires a restart", found)
        self.assertIs(self.gateway.server(COMPONENT), self.server)
        self.assertFalse((self.folder / "other").exists())
        self.assertUndisturbed()

    def test_partly(self) -> None:
        """If a service cannot be made although its check has found no problem, the log says that others were."""
        make = ProxyPlugin.makeService

        def fail(plugin: ProxyPlugin, jid: str, table: ProxyTable, composition: IServiceBuilder) -> IService:
            if table.target.startswith("other@"):
                raise ZeroDivisionError
            return make(plugin, jid, table, composition)

        self.patch(ProxyPlugin, "makeService", fail)
        found = self.reload(BASE + PROXY.replace("target@", "other@"))[0]
        self.assertIn("1 error; the rest of the file is in use:\n", found)
        [item] = self.gateway.service.reports
        self.assertEqual((item.values["outcome"], item.isProblem), ("partly", True))
        self.assertEqual(len(item.values["problems"]), 1)
        self.assertEqual(len(self.applied), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.gateway.server(COMPONENT).isGone)
        self.assertUndisturbed()

    def test_secretFile(self) -> None:
        """A secret file is read anew: the component connects with the new secret, also if only the file differs."""
        self.begin(OWN + PROXY)
        self.assertEqual(proved(self.server, "first", "second"), ["first"])
        self.write("second\n", "first.secret")
        self.reload()
        self.assertTrue(self.server.isGone)
        self.assertEqual(proved(self.gateway.server(COMPONENT), "first", "second"), ["second"])

    def test_keyFile(self) -> None:
        """A key file is read anew as well; one that the gateway has created at the start is the same one."""
        self.begin(OWN + PROXY + 'key_file = "new.key"\n')
        self.assertIn("no service differs", self.reload()[0])
        self.write("33" * 32, "new.key")
        self.assertIn(f"replaced: {COMPONENT}", self.reload()[0])
        self.assertIn("no service differs", self.reload()[0])
        self.write("not a key", "new.key")
        self.assertIn(".key_file: ", self.reload()[0])

    def test_keyFileOfAnother(self) -> None:
        """A change of one service does not replace another one whose key file has changed."""
        self.begin(OWN + PROXY + 'key_file = "first.key"\n')
        self.write("33" * 32, "first.key")
        self.gateway.service.remove("none.example.com")
        self.gateway.wait(8)
        self.assertIs(self.gateway.server(COMPONENT), self.server)

    def test_token(self) -> None:
        """The HTTP token is read anew; the gateway's own requests use it."""
        text = OWN + '[http]\ntoken_file = "first.secret"\n' + PROXY

        def status(token: str) -> int | None:
            return self.gateway.request("GET", "/status", Authorization=f"Bearer {token}").status

        self.begin(text)
        self.assertEqual((status("first"), status("second")), (200, 401))
        self.write("second\n", "first.secret")
        self.reload()
        self.assertEqual((status("first"), status("second")), (401, 200))
        self.assertEqual(self.gateway.service._ownAgent()._token(), "second")
        (self.folder / "first.secret").write_text("")
        self.assertIn("http.token_file: ", self.reload()[0])
        self.assertEqual((status("first"), status("second")), (401, 200))

    def test_again(self) -> None:
        """Any number of calls during a reload cause one more, which reads the newest file."""
        self.write(BASE)
        with capturedLogs() as logged:
            first = self.reloader.reload()
            self.write(BASE + PROXY)
            others = [self.reloader.reload() for _ in range(10)]
            self.gateway.wait(16)
        for each in (first, *others):
            self.successResultOf(each)
        lines = [formatEvent(each) for each in logged if each["log_namespace"].startswith(LOGGER)]
        results = [line.partition("reloaded: ")[2] for line in lines if "reloaded: " in line]
        self.assertEqual(results, [f"removed: {COMPONENT}.", f"added: {COMPONENT}."])

    def test_stopping(self) -> None:
        """While the gateway stops, nothing is reloaded."""
        self.gateway.stop()
        self.assertEqual(self.reload(BASE), ["The configuration is not reloaded: the gateway is stopping."])
        self.assertRefused("the gateway is stopping")
        self.assertEqual(self.flushLoggedErrors(Stopping), [])

    def test_fault(self) -> None:
        """An unforeseen exception is logged; the next reload works."""
        self.patch(self.gateway.service, "apply", lambda config: 1 / 0)
        self.assertEqual(self.reload(), ["The configuration could not be reloaded."])
        self.assertRefused("it has raised ZeroDivisionError: see the log")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.gateway.service.apply
        self.assertIn("was reloaded", self.reload()[0])

    def test_start(self) -> None:
        """At the start the version and the configuration are logged, without secrets."""
        path = self.folder / "gateway.toml"
        with capturedLogs() as logged:
            logStart(path, self.gateway.service.config)
            logStart(None, self.gateway.service.config)
        lines = [formatEvent(each) for each in logged]
        version = re.escape(f"xmpp-gateway {__version__} starts, with {path} (Python 3.")
        self.assertRegex(lines[0], rf"^{version}[0-9.]+, Twisted [0-9.a-z]+\)\.$")
        self.assertIn(f'[proxy."{COMPONENT}"] target = "target@example.com"', lines)
        self.assertIn("[server] ", " ".join(lines))
        self.assertNotIn('"common"', " ".join(lines))
        embedded = f"the embedded default, because {os.getcwd()} has no gateway.toml"
        self.assertIn(f"starts, with {embedded} (", " ".join(lines))

    def test_noFile(self) -> None:
        """Without a file there is nothing to reload."""
        self.reloader = Reloader(None, self.gateway.reactor, self.gateway.service)
        self.assertIn("There is no configuration file", self.reload()[0])
        self.assertRefused("the gateway was started without a configuration file")
