"""wokkel on a current Twisted, with `gateway._compat`. Imports happen once, so each test starts a Python."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent


class CompatTests(SynchronousTestCase):
    """The effects of `import gateway` on wokkel, on warnings, and on the rest of the process."""

    def python(self, code: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the code with `gateway` importable; fail unless it exits with 0 within a minute."""
        command = [sys.executable, *options, "-c", code]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_everyModuleImports(self) -> None:
        """After `import gateway` each module of wokkel can be imported, even if every warning is an error."""
        done = self.python(
            "import gateway, importlib, pkgutil, wokkel\n"
            "names = {module.name for module in pkgutil.iter_modules(wokkel.__path__)} - {'test'}\n"
            "for name in names:\n"
            "    importlib.import_module('wokkel.' + name)\n"
            "print(*names)",
            "-W",
            "error",
        )
        self.assertLessEqual({"data_form", "disco", "muc", "ping", "pubsub"}, set(done.stdout.split()))

    def test_warningsOfImportsOnly(self) -> None:
        """Only warnings of wokkel's own imports are hidden, not those about its API or our use of Twisted."""
        done = self.python(
            "import gateway\n"
            "from twisted.words.protocols.jabber.jid import JID\n"
            "from wokkel.xmppim import RosterItem\n"
            "RosterItem(JID('alice@localhost')).jid\n"
            "from twisted.python.compat import unicode\n",
            "-W",
            "always",
        )
        self.assertIn("RosterItem.jid was deprecated", done.stderr)
        self.assertEqual(done.stderr.count("twisted.python.compat."), 1, done.stderr)
        self.assertIn("twisted.python.compat.unicode was deprecated", done.stderr)

    def test_addresses(self) -> None:
        """Twisted's JIDs are prepared as the gateway's, with Twisted's exceptions; parts stay separate."""
        self.python(
            "import gateway\n"
            "from twisted.words.protocols.jabber.jid import JID, InvalidFormat, internJID\n"
            "for jid in ('max@chat_srv.lan', 'u@[2001:db8::1]/x', 'u@h/\\U0001f44d', 'h/a@b'):\n"
            "    assert JID(jid).full() == internJID(jid).full() == jid\n"
            "assert JID('U@H./R') == JID(tuple=('u', 'h', 'R'))\n"
            "assert JID(tuple=('', 'h', '')).full() == JID('@h/').full() == 'h'\n"
            "for parts in (('a/b', 'h', None), ('a', '', None), ('a', 'h/b', None), ('a', 'h', 'b\\0')):\n"
            "    try:\n"
            "        print(JID(tuple=parts))\n"
            "    except InvalidFormat:\n"
            "        continue\n"
            "    raise SystemExit(parts)\n"
        )

    def test_interned(self) -> None:
        """The number of interned JIDs is limited: wokkel interns the sender of each request."""
        self.python(
            "import gateway, gc\n"
            "from twisted.words.protocols.jabber.jid import JID, internJID\n"
            "from wokkel.generic import Request\n"
            "from twisted.words.xish.domish import Element\n"
            "assert internJID('U@h') is internJID('U@h') and internJID('U@h') == JID('u@h')\n"
            "assert internJID('u@h/r').userhostJID() is internJID('u@h')\n"
            "for number in range(10_000):\n"
            "    iq = Element((None, 'iq'), attribs={'from': f'u{number}@h/r', 'id': '1', 'type': 'get'})\n"
            "    assert Request.fromElement(iq).sender.userhost() == f'u{number}@h'\n"
            "gc.collect()\n"
            "count = sum(isinstance(each, JID) for each in gc.get_objects())\n"
            "assert 1 < count < 5_000, count\n"
        )

    def test_twice(self) -> None:
        """A second import changes nothing: neither the two names nor the number of warning filters."""
        self.python(
            "import gateway, importlib, warnings\n"
            "from gateway import _compat\n"
            "def state():\n"
            "    from twisted.python import compat, constants\n"
            "    return compat._PY3, constants, list(warnings.filters)\n"
            "before = state()\n"
            "importlib.reload(_compat)\n"
            "assert state() == before, state()"
        )

    def test_noReactor(self) -> None:
        """`import gateway` does not install a reactor."""
        self.python("import gateway, sys; assert 'twisted.internet.reactor' not in sys.modules")
