"""
The composition of a client proxy: its key, its store and its link.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from pathlib import Path

from twisted.application.service import IService

from gateway.config.tables import ConfigError
from gateway.interfaces import IServiceBuilder, IServiceEnvironment
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.settings import Gateway, settingsOf
from gateway.proxy.store import MIGRATIONS, ExchangeFile, ExchangeStore
from gateway.proxy.tables import ProxyTable
from gateway.state import files

_KEY_BYTES = 32


def keyProblems(jid: str, table: ProxyTable, stateDir: str) -> list[str]:
    """Return the reasons why the seal key can be neither read nor created."""
    keyFile = _keyFile(jid, table, stateDir)
    try:
        readKey(keyFile)
    except ConfigError as error:
        return error.problems
    except FileNotFoundError:
        # The state folder and its parents are created, other folders are not.
        folder = keyFile.parent
        if str(folder) != stateDir:
            problem = files.folderProblem(folder) if folder.exists() else "its folder does not exist; create it"
            if problem:
                return [f"key_file: {keyFile} does not exist and cannot be created: {problem}"]
    return []


def storeWarnings(jid: str, table: ProxyTable, environment: IServiceEnvironment) -> list[str]:
    """Return the reasons why open exchanges cannot be shared, or kept over a restart."""
    if hasCommonTables(table, environment):
        from gateway.proxy import common_store

        problem = environment.storeProblem(_commonName(jid), common_store.MIGRATIONS)
        return [problem] if problem else []
    old = ExchangeFile(_oldFile(jid, environment.stateDir)).problem()
    return [each for each in (old, environment.storeProblem(_storeName(jid), MIGRATIONS)) if each]


def makeService(jid: str, table: ProxyTable, composition: IServiceBuilder) -> IService:
    """See L{gateway.interfaces.IServicePlugin.makeService}."""
    rules = Rules(
        forward=frozenset(table.forward),
        outbound=table.outbound,
        timeout=table.timeout,
        shared=table.shared and not hasCommonTables(table, composition),
    )
    pool = Pool(table.target, table.resources, table.balance, random.random)
    key = loadKey(_keyFile(jid, table, composition.stateDir))
    sealer = Sealer(jid, key)
    if hasCommonTables(table, composition):
        handler = _sharing(jid, sealer, pool, rules, composition, settingsOf(table, key))
    else:
        store = composition.store(_storeName(jid), MIGRATIONS)
        exchanges = ExchangeStore(store, ExchangeFile(_oldFile(jid, composition.stateDir)))
        handler = ProxyHandler(Translator(sealer, pool, rules), exchanges, composition.wallClock)
    link = composition.link(jid, table)
    link.shared = table.shared
    handler.setHandlerParent(link)
    return link


def hasCommonTables(table: ProxyTable, environment: IServiceEnvironment) -> bool:
    """True if the gateways that share a component share its open exchanges as well."""
    return table.shared and environment.stateKey == "state.url"


def _sharing(
    jid: str, sealer: Sealer, pool: Pool, rules: Rules, composition: IServiceBuilder, settings: dict[str, str]
) -> ProxyHandler:
    # Imported here: most proxies do not need it.
    from gateway.proxy import common_core, common_store, common_tables, sharing

    store = composition.store(_commonName(jid), common_store.MIGRATIONS)
    own = Gateway(f"{socket.gethostname()}, {composition.stateDir}", settings)
    tables = common_tables.CommonTables(store, composition.reactor, own)
    translator = common_core.CommonTranslator(sealer, pool, rules, tables.members, common_tables.numbers())
    return sharing.SharingHandler(translator, tables, composition.wallClock)


def _storeName(jid: str) -> str:
    """Name of the store of a component's open exchanges."""
    return f"{jid}.proxy"


def _commonName(jid: str) -> str:
    """Name of the store that the gateways of a component share."""
    return f"{jid}.shared"


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
