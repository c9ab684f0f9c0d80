"""
Usual mistakes in the configuration file: the source of the first part of docs/mistakes.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen
from twisted.internet.testing import MemoryReactorClock

from gateway.composition import service
from gateway.config.tables import ConfigError
from gateway.log.printable import printable
from gateway.tap import errorsIn

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n'
PROXY = '[proxy."proxy.example.com"]\ntarget = "bot@example.com"\n'
MIRROR = '[mirror."mirror.example.com"]\nallow = ["rooms.example.net"]\nusers = ["example.com"]\n'
PEER = '[peers."rooms.example.net"]\n'
FINGERPRINT = f'fingerprint = "sha256:{"1b5a" * 16}"\n'

# The folder and the user in the messages.
FOLDER = "/etc/gateway"
USER = 990


@frozen
class Mistake:
    """
    One mistake.

    @ivar lines: the lines with the mistake.
    @ivar before: lines above these.
    @ivar after: lines below these.
    @ivar files: other files in the folder.
    @ivar mode: the mode of the configuration file; C{None} if it does not exist.
    @ivar environment: variables of the process.
    """

    title: str
    lines: str
    before: str = SERVER
    after: str = ""
    files: Mapping[str, str] = field(factory=dict)
    mode: int | None = 0o600
    environment: Mapping[str, str] = field(factory=dict)


def messageOf(mistake: Mistake, folder: Path) -> str:
    """Return everything that C{--check} writes to standard error, for a configuration in an empty folder."""
    path = folder / "gateway.toml"
    for name, content in mistake.files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    if mistake.mode is not None:
        text = mistake.before + mistake.lines + mistake.after
        path.write_bytes(text.encode(errors="surrogateescape"))
        path.chmod(mistake.mode)
    try:
        config = service.read(path, MemoryReactorClock(), mistake.environment)
    except ConfigError as error:
        found = errorsIn(path, error)
    else:
        found = "".join(f"warning: {printable(each)}\n" for each in service.warnings(config))
    return found.replace(str(folder), FOLDER).replace(f"uid {os.geteuid()}", f"uid {USER}")


MISTAKES: dict[str, tuple[Mistake, ...]] = {
    "The file itself": (
        Mistake("There is no such file", "", mode=None),
        Mistake("A text without quotes", '[proxy."proxy.example.com"]\ntarget = bot@example.com\n'),
        Mistake("Typographic quotes", '[proxy."proxy.example.com"]\ntarget = “bot@example.com”\n'),
        Mistake("A quote that is not closed", '[proxy."proxy.example.com"]\ntarget = "bot@example.com\n'),
        Mistake("A colon in place of =", '[proxy."proxy.example.com"]\ntarget: "bot@example.com"\n'),
        Mistake("True in place of true", PROXY + "shared = True\n"),
        Mistake("A backslash", PROXY + 'key_file = "C:\\keys\\proxy"\n'),
        Mistake("A comment after //", PROXY + "timeout = 60 // seconds\n"),
        Mistake("The same key twice", PROXY + 'target = "other@example.com"\n'),
        Mistake("The same table twice", PROXY + '[proxy."proxy.example.com"]\ntarget = "other@example.com"\n'),
        Mistake("A table's name without the dot", '[proxy "proxy.example.com"]\ntarget = "bot@example.com"\n'),
        Mistake("Another encoding than UTF-8", PROXY + "# Caf\udce9\n"),
        Mistake("No service", ""),
    ),
    "Names of tables and keys": (
        Mistake("A key with a typing error", PROXY + "time_out = 60\n"),
        Mistake("A table with a typing error", '[poxy."proxy.example.com"]\ntarget = "bot@example.com"\n'),
        Mistake("A table's name without quotes", '[proxy.proxy.example.com]\ntarget = "bot@example.com"\n'),
        Mistake("A table without the component's JID", '[proxy]\ntarget = "bot@example.com"\n'),
        Mistake("state_dir below a table", PROXY + 'state_dir = "/var/lib/gateway"\n'),
        Mistake("A key of another table", PROXY + 'domain = "example.com"\n'),
        Mistake("A required key is missing", '[proxy."proxy.example.com"]\n'),
        Mistake("[server] and [embedded]", "[embedded]\n" + PROXY),
    ),
    "Values": (
        Mistake("A number in quotes", PROXY + 'timeout = "60"\n'),
        Mistake(
            "A text in place of a list",
            '[delegation."delegate.example.com"]\n'
            'servers = "example.com"\n'
            'namespaces."jabber:iq:private".handler = "private-storage"\n',
        ),
        Mistake("A value that does not exist", PROXY + 'balance = "roundrobin"\n'),
        Mistake("A number out of range", PROXY + "timeout = 0\n"),
        Mistake(
            "A size with a unit",
            '[server]\nmax_stanza_size = "4 MB"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n' + PROXY,
        ),
        Mistake("An empty list", '[mirror."mirror.example.com"]\nallow = []\nusers = ["example.com"]\n'),
    ),
    "The server, secrets and files": (
        Mistake(
            "An endpoint without its kind",
            '[server]\nendpoint = "127.0.0.1:5347"\n',
            before="",
            after='secret = "s3cret"\n' + PROXY,
        ),
        Mistake(
            "An endpoint like a URL",
            '[server]\nendpoint = "tcp://127.0.0.1:5347"\n',
            before="",
            after='secret = "s3cret"\n' + PROXY,
        ),
        Mistake(
            "An endpoint without a port",
            '[server]\nendpoint = "tcp:127.0.0.1"\n',
            before="",
            after='secret = "s3cret"\n' + PROXY,
        ),
        Mistake(
            "The port of clients",
            '[server]\nendpoint = "tcp:127.0.0.1:5222"\n',
            before="",
            after='secret = "s3cret"\n' + PROXY,
        ),
        Mistake(
            "ssl: in place of tls:",
            '[server]\nendpoint = "ssl:xmpp.example.com:5347"\n',
            before="",
            after='secret = "s3cret"\n' + PROXY,
        ),
        Mistake(
            "A JID in place of a domain",
            '[server]\ndomain = "admin@example.com"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n' + PROXY,
        ),
        Mistake("No secret", '[server]\nendpoint = "tcp:127.0.0.1:5347"\n', before="", after=PROXY),
        Mistake(
            "A secret without quotes",
            "[server]\nsecret = 123456\n",
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\n' + PROXY,
        ),
        Mistake(
            "The file of a secret is missing",
            '[server]\nsecret_file = "component.secret"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\n' + PROXY,
        ),
        Mistake(
            "The file of a secret has two lines",
            '[server]\nsecret_file = "component.secret"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\n' + PROXY,
            files={"component.secret": "# secret\ns3cret\n"},
        ),
        Mistake(
            "A variable of the environment with a wrong name",
            "",
            after=PROXY,
            environment={"GATEWAY_SERVER__SECERT_FILE": "/run/secrets/component"},
        ),
        Mistake(
            "A variable of the environment that names a missing file",
            "",
            after=PROXY,
            environment={"GATEWAY_SERVER__SECRET_FILE": "/run/secrets/component"},
        ),
        Mistake(
            "secret and secret_file",
            '[server]\nsecret = "s3cret"\nsecret_file = "component.secret"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\n' + PROXY,
            files={"component.secret": "s3cret\n"},
        ),
        Mistake(
            "Other users can read the secret",
            '[server]\nsecret = "s3cret"\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\n' + PROXY,
            mode=0o644,
        ),
        Mistake(
            "A database of another kind",
            '[state]\nurl = "mysql://gateway@localhost/gateway"\n',
            after=PROXY,
        ),
        Mistake(
            "PostgreSQL does not run",
            '[state]\nurl = "postgresql://gateway@127.0.0.1:1/gateway"\n',
            after=PROXY,
        ),
        Mistake(
            "standby without a database",
            '[rooms."rooms.example.com"]\nstandby = true\n',
        ),
        Mistake(
            "state_dir is a file",
            'state_dir = "state"\n',
            before="",
            after='[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n[rooms."rooms.example.com"]\n',
            files={"state": ""},
        ),
    ),
    "The services": (
        Mistake(
            "A service with the server's own domain",
            '[server]\ndomain = "example.com"\n[rooms."example.com"]\n',
            before="",
            after='endpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n',
        ),
        Mistake(
            "A JID in place of the component's domain",
            '[proxy."bot@proxy.example.com"]\ntarget = "bot@example.com"\n',
        ),
        Mistake("Two services with the same JID", PROXY + '[rooms."proxy.example.com"]\n'),
        Mistake("A target without a user", '[proxy."proxy.example.com"]\ntarget = "example.com"\n'),
        Mistake("A target with a resource", '[proxy."proxy.example.com"]\ntarget = "bot@example.com/office"\n'),
        Mistake(
            "A target on a component of the gateway",
            '[proxy."proxy.example.com"]\ntarget = "bot@proxy.example.com"\n',
        ),
        Mistake(
            "A seal key of the wrong form", PROXY + 'key_file = "proxy.key"\n', files={"proxy.key": "s3cret\n"}
        ),
        Mistake(
            "A delegation without servers",
            '[delegation."delegate.example.com"]\nnamespaces."jabber:iq:private".handler = "private-storage"\n',
        ),
        Mistake(
            "A handler that does not exist",
            '[delegation."delegate.example.com"]\n'
            'servers = ["example.com"]\n'
            'namespaces."jabber:iq:private".handler = "private"\n',
        ),
        Mistake(
            "A namespace with a typing error",
            '[delegation."delegate.example.com"]\n'
            'servers = ["example.com"]\n'
            'namespaces."jabber:iq:privat".handler = "private-storage"\n',
        ),
        Mistake(
            "Delegation of the namespace of delegation",
            '[delegation."delegate.example.com"]\n'
            'servers = ["example.com"]\n'
            'namespaces."urn:xmpp:delegation:2".jid = "pubsub.example.com"\n',
        ),
        Mistake(
            "Namespaces as a list",
            '[delegation."delegate.example.com"]\nservers = ["example.com"]\nnamespaces = ["jabber:iq:private"]\n',
        ),
        Mistake(
            "Privileges lent to another component",
            '[delegation."delegate.example.com"]\n'
            'servers = ["example.com"]\n'
            'lend_privileges = ["pubsub.example.com"]\n'
            'namespaces."urn:xmpp:mam:2".jid = "mam.example.com"\n',
        ),
        Mistake("A roster without a URL", '[roster."roster.example.com"]\ndomain = "example.com"\n'),
        Mistake(
            "A URL without http://",
            '[roster."roster.example.com"]\ndomain = "example.com"\nurl = "localhost/contacts/%s"\n',
        ),
        Mistake(
            "A URL without the user's place",
            '[roster."roster.example.com"]\ndomain = "example.com"\nurl = "http://localhost/contacts"\n',
        ),
        Mistake(
            "A URL with a password",
            '[roster."roster.example.com"]\n'
            'domain = "example.com"\n'
            'url = "http://me:s3cret@localhost/contacts/%s"\n',
        ),
        Mistake(
            "ejabberd's API without its address",
            '[roster."roster.example.com"]\n'
            'domain = "example.com"\n'
            'url = "http://localhost/contacts/%s"\n'
            'apply = "ejabberd-api"\n',
        ),
        Mistake(
            "Two rosters of one domain",
            '[roster."r1.example.com"]\n'
            'domain = "example.com"\n'
            'url = "http://localhost/1/%s"\n'
            '[roster."r2.example.com"]\n'
            'domain = "example.com"\n'
            'url = "http://localhost/2/%s"\n',
        ),
        Mistake(
            "The JID of a room in place of its domain",
            '[mirror."mirror.example.com"]\nallow = ["lobby@rooms.example.net"]\nusers = ["example.com"]\n',
        ),
        Mistake(
            "A mirror of itself",
            '[mirror."mirror.example.com"]\nallow = ["mirror.example.com"]\nusers = ["example.com"]\n',
        ),
        Mistake(
            "A mirror of the users' domain",
            '[mirror."mirror.example.com"]\nallow = ["example.com"]\nusers = ["example.com"]\n',
        ),
    ),
    "Mirrors and direct links": (
        Mistake("A profile that does not exist", f'{MIRROR}profile = "HF"\n'),
        Mistake("A negative time", f'{MIRROR}keep = "-5m"\n'),
        Mistake("A time without a unit", f"{MIRROR}keep = 300\n"),
        Mistake(
            "A profile for a domain that is not mirrored", f'{MIRROR}profiles = {{"rooms.example.org" = "hf"}}\n'
        ),
        Mistake("A time that is too short", f"{MIRROR}gone_after = 5\n"),
        Mistake("A peer without a fingerprint", f'{MIRROR}{PEER}endpoint = "tls:gateway.example.net:5299"\n'),
        Mistake("A peer that neither listens nor connects", f"{MIRROR}{PEER}{FINGERPRINT}"),
        Mistake(
            "A peer's endpoint without a port",
            f'{MIRROR}{PEER}{FINGERPRINT}endpoint = "tls:gateway.example.net"\n',
        ),
        Mistake(
            "A peer with the name of a component of this gateway",
            f'{MIRROR}[peers."mirror.example.com"]\n{FINGERPRINT}listen = "tls:5299"\n',
        ),
    ),
    "HTTP": (
        Mistake("A listener for everyone without a token", PROXY + '[http]\nlisten = "tcp:5290"\n'),
        Mistake("A listener like a host with a port", PROXY + '[http]\nlisten = "127.0.0.1:5290"\n'),
        Mistake("The file of the token is missing", PROXY + '[http]\ntoken_file = "gateway.token"\n'),
        Mistake("A URL in place of a host", PROXY + '[http]\nhosts = ["https://gateway.example.com/"]\n'),
    ),
}
