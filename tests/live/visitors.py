"""Users of all services but rooms: each sends one request at a time, and notes how it was answered."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any
from xml.etree.ElementTree import Element

from tests.live.clients import Client, Implementation, condition, echo, local, payload
from tests.live.gateway import Gateway
from tests.live.rosters import WebApplication
from tests.live.servers import PRIVATE, ROSTER, Server

# Seconds: until a request is answered, also while a server is halted; until a server accepts logins again.
_ANSWERED_WITHIN, _BACK_WITHIN = 60.0, 60.0
# A user's contacts are among so many.
_CONTACTS = 30
CUT_OFF = "cut off"


class Visitor(Client):
    """
    A user who sends requests.

    @cvar kind: of the requests.
    @ivar answers: number of answers by id.
    @ivar outcomes: number of requests by outcome: C{result}, the condition of an error, or L{CUT_OFF}.
    @ivar isIn: False while the user's server is away.
    """

    kind = "other requests"

    def __init__(self, server: Server, user: str) -> None:
        super().__init__(server, user, "soak")
        self.user = user
        self.random = Random(self.jid)
        self.answers: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.isIn = True

    def onStanza(self, element: Element) -> None:
        # All of it would be too much for a long run.
        self.received.clear()
        if local(element) == "iq" and element.get("type") in ("result", "error"):
            self.answers[element.get("id", "")] += 1

    async def act(self) -> None:
        """
        Send a request, and wait for its answer.

        @raise AssertionError: it has no answer, or a wrong one.
        """
        raise NotImplementedError

    async def check(self) -> None:
        """Check, at the end, that nothing that was accepted is lost."""

    async def ask(self, to: str | None, inner: str, type_: str = "get") -> Element | None:
        """
        Send a request, and note its outcome.

        @return: the result; C{None} for an error, or if the user was cut off.
        @raise AssertionError: there is no answer.
        """
        try:
            answer = await self.request(to, inner, type_, seconds=_ANSWERED_WITHIN)
        except ConnectionError:
            self.outcomes[CUT_OFF] += 1
            return None
        self.outcomes[condition(answer) or "result"] += 1
        return answer if answer.get("type") == "result" else None

    def cut(self) -> None:
        """Cut the connection; nobody waits for answers any longer."""
        self.isIn = False
        for each in self._replies.values():
            if not each.done():
                each.set_exception(ConnectionError(CUT_OFF))
        self.drop()

    async def returns(self) -> None:
        """Log in again."""
        await self.loginAgain(_BACK_WITHIN)
        self.isIn = True


class Asker(Visitor):
    """Asks the client behind a proxy, which echoes."""

    kind = "proxy"

    async def act(self) -> None:
        inner = f"<query xmlns='urn:soak' number='{self.random.getrandbits(64)}'/>"
        answer = await self.ask(f"proxy.{self.server.domain}", inner)
        if answer is not None:
            assert [each.get("number", "") for each in answer] == [inner.split("'")[3]], payload(answer)


class Storer(Visitor):
    """
    Stores a note, and reads it.

    @ivar allowed: numbers that the note may have: the last one that was acknowledged, and later ones that were not.
    """

    kind = "private storage"

    def __init__(self, server: Server, user: str) -> None:
        super().__init__(server, user)
        self.allowed = [0]
        self._number = 0

    async def act(self) -> None:
        self._number += 1
        self.allowed.append(self._number)
        note = f"<query xmlns='{PRIVATE}'><note xmlns='urn:soak' number='{self._number}'/></query>"
        if await self.ask(None, note, "set") is not None:
            self.allowed = [self._number]
        if self.isIn:
            await self._read()

    async def _read(self) -> bool:
        """Return true if the note could be read."""
        answer = await self.ask(None, f"<query xmlns='{PRIVATE}'><note xmlns='urn:soak'/></query>")
        if answer is None:
            return False
        found = next((int(each.get("number", "0")) for each in answer.iter("{urn:soak}note")), -1)
        assert found in self.allowed, f"{self.jid} reads {found}, not one of {self.allowed}"
        return True

    async def check(self) -> None:
        assert await self._read(), f"{self.jid} cannot read the note"


class Contact(Visitor):
    """A user whose contacts the web application changes, and then asks the gateway to refresh."""

    kind = "rosters"

    def __init__(self, server: Server, user: str, application: WebApplication) -> None:
        super().__init__(server, user)
        self._application = application
        self._contacts: dict[str, Any] = {}
        self.gateway: Gateway
        self.change()

    def change(self) -> None:
        """Give the user other contacts."""
        numbers = self.random.sample(range(_CONTACTS), _CONTACTS // 2)
        self._contacts = {
            f"friend{each}@{self.server.domain}": {"name": str(self.random.getrandbits(32))} for each in numbers
        }
        self._application.say(self.user, self._contacts)

    async def act(self) -> None:
        self.change()
        await self._refresh()

    async def _refresh(self) -> bool:
        """Return true if the gateway has refreshed the roster."""
        body = json.dumps([self.user]).encode()
        code, answer = await self.gateway.post("/roster_admin/refresh", body, _ANSWERED_WITHIN)
        assert code in (200, 500), f"{self.jid}: the gateway answers {code} {answer}"
        found = json.loads(answer)
        assert found["updated"] + found["errors"] == 1, answer
        self.outcomes["failed" if found["errors"] else "result"] += 1
        return not found["errors"]

    async def check(self) -> None:
        assert await self._refresh(), f"the roster of {self.jid} cannot be refreshed"
        answer = await self.request(None, f"<query xmlns='{ROSTER}'/>")
        found = {each.get("jid"): {"name": each.get("name")} for each in answer.iter(f"{{{ROSTER}}}item")}
        assert found == self._contacts, f"{self.jid} has {found}, not {self._contacts}"


def answer(client: Implementation, request: Element) -> None:
    """Echo a request, and keep nothing."""
    echo(client, request)
    client.requests.clear()
    client.received.clear()
