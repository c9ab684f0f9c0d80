"""
C{[proxy."component JID"]}: the table, and how the service is composed.
"""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path
from typing import Literal

from attrs import field, frozen
from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.addresses import jids
from gateway.config.tables import BareJid, ComponentTable, ConfigError, Filename, Seconds
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IGuide,
    IServerConfiguration,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
)
from gateway.proxy import tour
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.store import MIGRATIONS, ExchangeFile, ExchangeStore
from gateway.requirements import Remark
from gateway.state import files

_KEY_BYTES = 32
_TIMEOUT = Seconds(30.0)


@frozen(kw_only=True)
class ProxyTable(ComponentTable):
    """
    The keys of C{[proxy."component JID"]}; see docs/proxy.md.

    @ivar target: the account that implements the service.
    @ivar balance: selection of the resource that gets a request.
    @ivar resources: resources that may be selected, as a glob on the resource's name.
    @ivar forward: kinds of stanzas that are forwarded.
    @ivar outbound: true if the implementing client may start exchanges.
    @ivar timeout: seconds until a request without an answer gets an error.
    @ivar key_file: file with the seal's key, which is created if it does not exist; C{None} for
        C{COMPONENT.key} in C{state_dir}.
    @ivar shared: true if several gateways serve this component.
    """

    target: BareJid
    balance: Literal["random", "round-robin", "least-pending", "sticky"] = "random"
    resources: str = "*"
    forward: frozenset[Literal["iq", "message", "presence"]] = field(default=frozenset({"iq"}))
    outbound: bool = False
    timeout: Seconds = _TIMEOUT
    key_file: Filename | None = None
    shared: bool = False


@implementer(IPlugin, IServicePlugin, IConfigCheck, IConfigWarnings, IServerConfiguration, ITourStop)
class ProxyPlugin:
    """Composes a client proxy."""

    kind = "proxy"
    table = ProxyTable

    def check(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[str]:
        problems = []
        stateDir = environment.stateDir
        if jids.split(table.target)[1] in environment.components:
            problems.append(
                f'target: found "{table.target}", on a component of this file; allowed: an account on a server, '
                "to which the implementing client logs in"
            )
        # Another gateway may get the answer, so this one has no table of open exchanges.
        if table.shared and table.outbound:
            problems.append("outbound: found true with shared = true; allowed: one of them; set one to false")
        if table.shared and table.balance == "least-pending":
            problems.append(
                'balance: found "least-pending" with shared = true; allowed: "random", "round-robin", "sticky"'
            )
        if table.shared and table.standby:
            problems.append(
                "shared: found true with standby = true; allowed: one of them; shared lets all gateways serve the "
                "component, standby one of them"
            )
        if table.standby and table.key_file is None:
            problems.append(
                "key_file: found nothing with standby = true; allowed: a file with the same content on all "
                "gateways, or requesters would get other addresses after a takeover"
            )
        keyFile = _keyFile(jid, table, stateDir)
        try:
            readKey(keyFile)
        except ConfigError as error:
            problems += error.problems
        except FileNotFoundError:
            # The state folder and its parents are created, other folders are not.
            folder = keyFile.parent
            if str(folder) != stateDir:
                problem = files.folderProblem(folder) if folder.exists() else "its folder does not exist; create it"
                if problem:
                    problems.append(f"key_file: {keyFile} does not exist and cannot be created: {problem}")
        return problems

    def warnings(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[str]:
        old = ExchangeFile(_oldFile(jid, environment.stateDir)).problem()
        return [each for each in (old, environment.storeProblem(_storeName(jid), MIGRATIONS)) if each]

    def requirements(self, jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[Remark]:
        accept = f"in a client of {table.target}, accept its subscription request, as for any contact"
        return [Remark(f"when the component has connected, {accept}")]

    def makeService(self, jid: str, table: ProxyTable, composition: IServiceBuilder) -> IService:
        rules = Rules(
            forward=frozenset(table.forward),
            outbound=table.outbound,
            timeout=table.timeout,
            shared=table.shared,
        )
        pool = Pool(table.target, table.resources, table.balance, random.random)
        translator = Translator(Sealer(jid, loadKey(_keyFile(jid, table, composition.stateDir))), pool, rules)
        store = composition.store(_storeName(jid), MIGRATIONS)
        exchanges = ExchangeStore(store, ExchangeFile(_oldFile(jid, composition.stateDir)))
        link = composition.link(jid, table)
        link.shared = table.shared
        ProxyHandler(translator, exchanges, composition.wallClock).setHandlerParent(link)
        return link

    def demoTables(self, domain: str) -> dict[str, dict[str, str]]:
        return {f"proxy.{domain}": {"target": f"implementation@{domain}"}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.show(guide, jid)


def _storeName(jid: str) -> str:
    """Name of the store of a component's open exchanges."""
    return f"{jid}.proxy"


def _oldFile(jid: str, stateDir: str) -> Path:
    """Path of the file in which older releases keep a component's open exchanges."""
    return Path(stateDir, f"{jid}.exchanges")


def _keyFile(jid: str, table: ProxyTable, stateDir: str) -> Path:
    return Path(table.key_file or os.path.join(stateDir, f"{jid}.key"))


def loadKey(path: Path) -> bytes:
    """
    Read the seal key in C{path}; create it with mode 0600 if it does not exist.

    @raise ConfigError: if that is not possible, or if the file has no valid key.
    """
    try:
        return readKey(path)
    except FileNotFoundError:
        key = secrets.token_bytes(_KEY_BYTES)
    try:
        files.write(path, f"{key.hex()}\n".encode(), replace=False)
    except FileExistsError:
        # Another gateway has just created it.
        return readKey(path)
    except OSError as error:
        raise ConfigError([f"key_file: {path} cannot be created: {error.strerror}{files.remedy(error)}"]) from error
    return key


def readKey(path: Path) -> bytes:
    """
    Read the seal key in C{path}.

    @raise FileNotFoundError: if it does not exist.
    @raise ConfigError: if it cannot be read, or if it has no valid key.
    """
    try:
        key = bytes.fromhex(files.readLine(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError([f"key_file: {path} cannot be read: {error.strerror}{files.remedy(error)}"]) from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        advice = "restore it from a backup, or move it away: the gateway then creates a new one"
        raise ConfigError([f"key_file: {path} is not a seal key: {_KEY_BYTES} bytes in hexadecimal; {advice}"])
    return key
