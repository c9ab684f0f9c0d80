"""Steps of the users of a chain of nodes, and the messages that they should receive."""

from __future__ import annotations

import re
from typing import Generic, Protocol, TypeVar

from attrs import frozen

from tests.fmuc.chain import Client

AnyClient = TypeVar("AnyClient", bound=Client)
_Client_contra = TypeVar("_Client_contra", bound=Client, contravariant=True)


class Users(Protocol[_Client_contra]):
    """A chain, as its users see it."""

    def join(self, client: _Client_contra, nick: str) -> None: ...

    def leave(self, client: _Client_contra, nick: str) -> None: ...

    def say(self, client: _Client_contra, body: str) -> None: ...

    def status(self, client: _Client_contra, text: str) -> None: ...

    def kick(self, nick: str) -> None: ...

    def settle(self) -> None: ...


@frozen
class Spoken(Generic[AnyClient]):
    """A message, the sender's stay, and the stays of those who were occupants."""

    sender: AnyClient
    stay: int
    body: str
    audience: dict[AnyClient, int]


def steps(text: str) -> list[tuple[str, int, str]]:
    """Parse steps from their short form."""
    found = re.findall(r"([a-z]+?)(\d)([a-f]?)(?: |$)", text)
    return [(step, int(which), nick or "a") for step, which, nick in found]


def act(
    chain: Users[AnyClient],
    clients: list[AnyClient],
    number: int,
    step: tuple[str, int, str],
    spoken: list[Spoken[AnyClient]],
) -> bool:
    """
    Do one step; return False if it is none of users, but of nodes or of links.

    @param clients: all users.
    @param number: that of the step.
    @param spoken: gets the message.
    """
    name, which, nick = step
    inside = [each for each in clients if each.inside]
    chosen = inside if inside and name != "join" else clients
    client = chosen[which % len(chosen)]
    if name == "join":
        chain.join(client, nick)
    elif name == "leave":
        chain.leave(client, client.inside or nick)
    elif name == "kick":
        chain.kick(client.inside or nick)
    elif name == "settle":
        chain.settle()
    elif name not in ("say", "status"):
        return False
    elif client.inside and name == "say":
        spoken.append(Spoken(client, client.epoch, f"m{number}", {each: each.epoch for each in inside}))
        chain.say(client, f"m{number}")
    elif client.inside:
        chain.status(client, f"s{number}")
    return True
