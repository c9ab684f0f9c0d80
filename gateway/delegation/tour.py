"""
The tour of a managing entity to which the embedded host delegates private storage.
"""

from __future__ import annotations

from gateway import ns
from gateway.addresses import jids
from gateway.interfaces import IGuide
from gateway.xml.write import escape, tag

_NOTE = "urn:example:tour"


async def show(guide: IGuide, jid: str) -> None:
    """Store and read private data, through the server."""
    server = jids.split(guide.jid)[1]
    own = jids.bare(guide.jid)
    guide.say(
        f"The server has delegated a namespace, {ns.PRIVATE}, to {jid}: what clients ask {server} in it is "
        "answered outside of the server, and clients cannot tell. The server's disco#info shows it as its own."
    )
    answer = await guide.ask(server, tag("query", xmlns=ns.DISCO_INFO))
    found = {feature.getAttribute("var") for query in answer.elements() for feature in query.elements()}
    if ns.PRIVATE not in found:
        guide.say(
            "It does not, and the tour shows private storage alone. Was it connected in time? With a configuration "
            f"of your own, {ns.PRIVATE} has to be in [embedded.delegations] and among the namespaces of {jid}."
        )
    guide.check(ns.PRIVATE in found, f"{server} offers private storage")

    guide.say("So you store a note, as with any server that can do it: in your own account.")
    note = tag("note", escape(f"{own} was here"), xmlns=_NOTE)
    answer = await guide.ask(own, tag("query", note, xmlns=ns.PRIVATE), "set")
    guide.check(answer["type"] == "result", "it is stored")
    guide.check(answer.getAttribute("from") in (None, own), f"the answer comes from the account, not from {jid}")
    guide.say("And you read it. It is in a file under state_dir, and is there after a restart.")
    wanted = tag("query", tag("note", xmlns=_NOTE), xmlns=ns.PRIVATE)
    answer = await guide.ask(own, wanted)
    guide.check(f"{own} was here" in answer.toXml(), "the note is what was stored")
    guide.say("What is another's is not to be had; the error is the handler's, and the server hands it on.")
    other = f"nobody@{server}"
    answer = await guide.ask(other, wanted)
    guide.check(answer["type"] == "error", f"what belongs to {other} is refused")
