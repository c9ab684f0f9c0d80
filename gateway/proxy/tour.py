"""
The proxy's part of the tour.
"""

from __future__ import annotations

from gateway import ns
from gateway.interfaces import IGuide
from gateway.xml.write import tag


async def show(guide: IGuide, jid: str) -> None:
    """Send each kind of request that the built-in implementing client answers, to each form of address."""
    guide.say(
        f"{jid} is a component. Behind it is an ordinary account. A client is logged in to that account and "
        "answers requests; it does not need to know about components. You send a request to the component, and the "
        "gateway forwards it to one of the account's resources. The first request is a disco#info query."
    )
    answer = await guide.ask(jid, tag("query", xmlns=ns.DISCO_INFO))
    guide.check(answer["type"] == "result", "the request was answered")
    guide.check(answer["from"] == jid, f"the answer comes from {jid}, not from the account behind it")
    found = {feature.getAttribute("var") for query in answer.elements() for feature in query.elements()}
    guide.check({ns.PING, ns.VERSION} <= found, "it offers ping and software version")

    guide.say(
        "Every address of the component can be used. The answer comes from exactly the address that the request "
        "was sent to. First an address with a localpart, then one with a resource."
    )
    node = f"any.node@{jid}"
    answer = await guide.ask(node, tag("ping", xmlns=ns.PING))
    guide.check((answer["type"], answer["from"]) == ("result", node), f"the answer comes from {node}")
    resource = f"{jid}/some/resource"
    answer = await guide.ask(resource, tag("query", xmlns=ns.VERSION))
    guide.check((answer["type"], answer["from"]) == ("result", resource), f"the answer comes from {resource}")

    guide.say("If the implementing client answers with an error, the gateway forwards that as well.")
    answer = await guide.ask(jid, tag("query", xmlns="urn:example:nobody-knows-this"), "set")
    guide.check(answer["type"] == "error", "the error was received")
    guide.say(
        "To replace the built-in client by a service of your own, log in to the same account with any client "
        f"library, accept the subscription request of {jid}, and answer the requests. The sender's address, sealed "
        "by the gateway, contains the original requester. See docs/proxy.md."
    )
