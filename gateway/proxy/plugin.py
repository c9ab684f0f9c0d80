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

from gateway import jids
from gateway.interfaces import IComposition, IDemonstration, IGuide, IServicePlugin
from gateway.proxy import tour
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.store import ExchangeFile
from gateway.stream.link import Link
from gateway.tables import BareJid, ComponentTable, ConfigError, Filename, Seconds

_KEY_BYTES = 32
_TIMEOUT = Seconds(30.0)


@frozen(kw_only=True)
class ProxyTable(ComponentTable):
    """The keys of C{[proxy."component JID"]}; see docs/proxy.md."""

    target: BareJid
    balance: Literal["random", "round-robin", "least-pending", "sticky"] = "random"
    resources: str = "*"
    forward: frozenset[Literal["iq", "message", "presence"]] = field(default=frozenset({"iq"}))
    outbound: bool = False
    timeout: Seconds = _TIMEOUT
    key_file: Filename | None = None
    shared: bool = False


@implementer(IPlugin, IServicePlugin, IDemonstration)
class ProxyPlugin:
    """Composes a client proxy."""

    kind = "proxy"
    table = ProxyTable

    def makeService(self, jid: str, table: ProxyTable, composition: IComposition) -> IService:
        if jids.split(table.target)[1] == jid:
            raise ConfigError([f'target: found "{table.target}", on the component itself; allowed: a real account'])
        keyFile = Path(table.key_file or os.path.join(composition.stateDir, f"{jid}.key"))
        rules = Rules(
            forward=frozenset(table.forward),
            outbound=table.outbound,
            timeout=table.timeout,
            shared=table.shared,
        )
        pool = Pool(table.target, table.resources, table.balance, random.random)
        translator = Translator(Sealer(jid, loadKey(keyFile)), pool, rules)
        exchanges = ExchangeFile(Path(composition.stateDir, f"{jid}.exchanges"))
        link: Link = composition.link(jid, table)
        ProxyHandler(translator, exchanges).setHandlerParent(link)
        return link

    def demoTables(self, domain: str) -> dict[str, dict[str, str]]:
        return {f"proxy.{domain}": {"target": f"implementation@{domain}"}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.show(guide, jid)


def loadKey(path: Path) -> bytes:
    """
    The seal key in C{path}, which is made, for its owner's eyes only, if it is not there.

    @raise ConfigError: if that is not possible, or what is there is no key.
    """
    try:
        try:
            key = bytes.fromhex(path.read_text("ascii"))
        except FileNotFoundError:
            key = secrets.token_bytes(_KEY_BYTES)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key.hex() + "\n")
    except OSError as error:
        raise ConfigError([f"key_file: {path} cannot be used: {error.strerror}"]) from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError([f"key_file: {path} is not a seal key: {_KEY_BYTES} bytes in hexadecimal"])
    return key
