"""Exchanges through a private Prosody, one by one: the gateway, and mod_client_proxy inside the server."""

import re
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

import contestants
import prosody
import rosters
import rounds
from fakeserver import Broken

NAMES = ("module", "gateway")
MODULE = "mod_client_proxy"
_PROXY = f"proxy.{rosters.SERVER}"
_ASKING, _ANSWERING = "asking", "answering"
_TARGET = f"{_ANSWERING}@{rosters.SERVER}"
_COMPONENTS = {
    "module": f'Component "{_PROXY}" "client_proxy"\n  target_address = "{_TARGET}"\n',
    "gateway": f'Component "{_PROXY}"\n  component_secret = "secret"\n',
}
_IQ = re.compile(rb"<iq\s([^>]*)>")
_ATTRIBUTE = re.compile(rb"""([\w:]+)=["']([^"']*)["']""")
_PAYLOAD = b"<query xmlns='urn:example:exchange'>%d</query>"


def missing(name: str, paths: Sequence[str]) -> str | None:
    """Return the reason for which a contestant is left out, or None; C{paths} are as for L{prosody.hasModule}."""
    if shutil.which("prosody") is None:
        return "prosody is not installed"
    if name == "module" and not prosody.hasModule(MODULE, paths):
        return f"{MODULE} is not among Prosody's modules; --modules names a folder with it"
    return None


def measure(name: str, exchanges: int, warmup: int, paths: Sequence[str]) -> rounds.Figures:
    """
    Measure one round of a contestant.

    @raise Broken: if an answer is lost or wrong.
    """
    with ExitStack() as stack:
        server = prosody.Prosody(
            rosters.SERVER, (_ASKING, _ANSWERING), ["roster"], _COMPONENTS[name], paths
        )
        processes: list[contestants.Contestant] = [stack.enter_context(server)]
        isUp = (server.c2s, server.component) if name == "gateway" else (server.c2s,)
        prosody.until(lambda: all(map(prosody.listens, isUp)), "Prosody listens")
        if name == "gateway":
            processes.append(stack.enter_context(contestants.proxy(server.component, _PROXY, _TARGET)))
        exchange = _Exchange(server.c2s)
        stack.callback(exchange.close)
        exchange.begin(name)
        for _ in range(warmup):
            exchange.once()
        cpu = [process.cpu() for process in processes]
        times = [exchange.once() * 1e6 for _ in range(exchanges)]
        spent = [(process.cpu() - before) / exchanges * 1e6 for process, before in zip(processes, cpu, strict=True)]
    return {
        "cpu": sum(spent),
        "server": spent[0],
        "gateway": sum(spent[1:]),
        "median": statistics.median(times),
        "slow": sorted(times)[len(times) * 99 // 100],
    }


class _Exchange:
    """A client that asks the proxy, and the account's client, which answers."""

    def __init__(self, port: int) -> None:
        self._asking, self._answering = (
            prosody.Client(port, rosters.SERVER, account) for account in (_ASKING, _ANSWERING)
        )
        self._number = 0

    def close(self) -> None:
        """End the connections."""
        self._asking.close()
        self._answering.close()

    def begin(self, name: str) -> None:
        """
        Show the proxy the account's presence, and wait until it answers.

        @raise Broken: if that takes too long.
        """
        self._send(self._answering, b"<presence/>")
        if name == "module":
            # It asks for a subscription only once, maybe before the server has loaded the accounts.
            self._send(self._answering, b"<presence to='%b'/>" % _PROXY.encode())
        else:
            self._answering.readUntil(b"type='subscribe'", 20)
            self._send(self._answering, b"<presence to='%b' type='subscribed'/>" % _PROXY.encode())
        deadline = time.monotonic() + 20
        while not self._isKnown():
            if time.monotonic() > deadline:
                raise Broken("the proxy does not know the account's client")
            time.sleep(0.2)

    def _isKnown(self) -> bool:
        """True if a request is not refused."""
        self._send(self._asking, self._request())
        seen = b""
        for _ in range(20):
            seen += self._asking.step(0.05)
            if b"service-unavailable" in seen:
                return False
            found = self._answering.step(0.05)
            if b"urn:example:exchange" in found:
                self._answer(found)
                self._asking.readUntil(b"</iq>", 5)
                return True
        return False

    def once(self) -> float:
        """
        Make one exchange; return the seconds that it took.

        @raise Broken: if the request or the answer is lost or wrong.
        """
        started = time.perf_counter()
        self._send(self._asking, self._request())
        self._answer(self._answering.readUntil(b"</iq>", 5))
        answer = self._asking.readUntil(b"</iq>", 5)
        took = time.perf_counter() - started
        attributes = self._attributes(answer)
        isRight = (attributes.get(b"type"), attributes.get(b"from"), attributes.get(b"id")) == (
            b"result",
            _PROXY.encode(),
            b"e%d" % self._number,
        )
        if not isRight or b">%d</query>" % self._number not in answer:
            raise Broken(f"a wrong answer: {answer!r:.500}")
        return took

    def _send(self, client: prosody.Client, data: bytes) -> None:
        client.send(data)
        client.step(0, reading=False)

    def _request(self) -> bytes:
        self._number += 1
        payload = _PAYLOAD % self._number
        return b"<iq type='get' id='e%d' to='%b'>%b</iq>" % (self._number, _PROXY.encode(), payload)

    def _answer(self, request: bytes) -> None:
        attributes = self._attributes(request)
        answer = b"<iq type='result' id='%b' to='%b'>%b</iq>"
        answered = answer % (attributes[b"id"], attributes[b"from"], _PAYLOAD % self._number)
        self._send(self._answering, answered)

    def _attributes(self, data: bytes) -> dict[bytes, bytes]:
        found = _IQ.search(data)
        if found is None or b">%d</query>" % self._number not in data:
            raise Broken(f"not the stanza that was expected: {data!r:.500}")
        return dict(_ATTRIBUTE.findall(found[1]))
