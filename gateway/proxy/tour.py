"""
The proxy's part of the tour.
"""

from __future__ import annotations

from gateway import ns
from gateway.interfaces import IGuide
from gateway.xml.write import tag


async def show(guide: IGuide, jid: str) -> None:
    """Send the built-in implementing client all that it answers, to each form of the component's address."""
    guide.say(
        f"{jid} is a component. Behind it is an ordinary account, whose client knows nothing of components: it is "
        "logged in and answers what it is asked. You write to the component, and the gateway hands the request to "
        "one of the account's resources. First: what is it?"
    )
    answer = await guide.ask(jid, tag("query", xmlns=ns.DISCO_INFO))
    guide.check(answer["type"] == "result", "the request was answered")
    guide.check(answer["from"] == jid, f"the answer comes from {jid}, not from the account behind it")
    found = {feature.getAttribute("var") for query in answer.elements() for feature in query.elements()}
    guide.check({ns.PING, ns.VERSION} <= found, "it offers ping and software version")

    guide.say(
        "Any address of the component is as good, and the answer comes from exactly the one that was written to: a "
        "localpart first, then a resource."
    )
    node = f"any.node@{jid}"
    answer = await guide.ask(node, tag("ping", xmlns=ns.PING))
    guide.check((answer["type"], answer["from"]) == ("result", node), f"the answer comes from {node}")
    resource = f"{jid}/some/resource"
    answer = await guide.ask(resource, tag("query", xmlns=ns.VERSION))
    guide.check((answer["type"], answer["from"]) == ("result", resource), f"the answer comes from {resource}")

    guide.say("What the implementing client refuses is an error, and it is handed on as well.")
    answer = await guide.ask(jid, tag("query", xmlns="urn:example:nobody-knows-this"), "set")
    guide.check(answer["type"] == "error", "the error has come")
    guide.say(
        "Your own service takes the built-in client's place: log in as the same account with any client library, "
        f"accept the subscription that {jid} asks for, and answer. Who asked is in the requester's address, sealed "
        "by the gateway: docs/proxy.md has the rest."
    )
