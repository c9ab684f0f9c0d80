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
        f"The server has delegated a namespace, {ns.PRIVATE}, to {jid}: requests of clients to {server} in this "
        "namespace are answered outside of the server, which clients cannot notice. The server lists the feature "
        "in its own disco#info."
    )
    answer = await guide.ask(server, tag("query", xmlns=ns.DISCO_INFO))
    found = {feature.getAttribute("var") for query in answer.elements() for feature in query.elements()}
    if ns.PRIVATE not in found:
        guide.say(
            "The feature is missing, and the tour only knows private storage. Was the component connected in time? "
            f"In a configuration of your own, add {ns.PRIVATE} to [embedded.delegations] and to the namespaces "
            f"of {jid}."
        )
    guide.check(ns.PRIVATE in found, f"{server} offers private storage")

    guide.say("Now you store a note in your own account, as on any server with private storage.")
    note = tag("note", escape(f"{own} was here"), xmlns=_NOTE)
    answer = await guide.ask(own, tag("query", note, xmlns=ns.PRIVATE), "set")
    guide.check(answer["type"] == "result", "it is stored")
    guide.check(answer.getAttribute("from") in (None, own), f"the answer comes from the account, not from {jid}")
    guide.say("Then you read it. It is in a file under state_dir, so it survives a restart.")
    wanted = tag("query", tag("note", xmlns=_NOTE), xmlns=ns.PRIVATE)
    answer = await guide.ask(own, wanted)
    guide.check(f"{own} was here" in answer.toXml(), "the note is what was stored")
    guide.say("Data of other users cannot be read; the handler answers with an error, which the server forwards.")
    other = f"nobody@{server}"
    answer = await guide.ask(other, wanted)
    guide.check(answer["type"] == "error", f"a request for the data of {other} is refused")
