"""
Client mode of delegation (XEP-0355 section 5): the delegations that users grant, and the dialogue to obtain them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from attrs import frozen
from twisted.words.xish import domish
from wokkel.data_form import Error as FormError
from wokkel.data_form import Field, Form

from gateway import ns
from gateway.addresses import jids
from gateway.delegation.core import Request
from gateway.delegation.delegations import Delegation, delegationOf, isDelegable
from gateway.embedded.core import Router
from gateway.embedded.sessions import Account
from gateway.errors import (
    BadRequest,
    Forbidden,
    NoSuchAddress,
    NotAcceptable,
    NotAllowed,
    RecipientUnavailable,
    ResourceLimit,
)
from gateway.xml.write import escape, message, route, serialised, tag

# Node of the command with which a user lists and revokes their grants (section 6).
CONFIGURE = f"{ns.DELEGATION_2}#configure"

# Grants of one user; namespaces in one question, and characters of each; open questions; seconds to answer one.
_MAX_GRANTED = 100
_MAX_NAMESPACES = 20
_MAX_NAMESPACE = 200
_MAX_ASKED = 1_000
_TIMEOUT = 600.0

_NO, _YES = "0", "1"
# Fixed fields of the question's form; the other fields are named after the namespaces.
_CHALLENGE = "challenge"
_FIELDS = frozenset({_CHALLENGE, "FORM_TYPE"})
_REVOKE = "revoke"


@frozen(eq=False)
class _Asked:
    entity: str
    user: str
    namespaces: tuple[str, ...]
    until: float


class Consents:
    """
    The grants of each user. They end when the user's last resource disconnects.

    @param changed: called with the user and the managing entity whose grants have changed.
    @param seconds: the clock.
    """

    def __init__(self, router: Router, changed: Callable[[str, str], object], seconds: Callable[[], float]) -> None:
        self._router = router
        self._changed = changed
        self._seconds = seconds
        # Grants by user and namespace; open questions by challenge.
        self._granted: dict[str, dict[str, Delegation]] = {}
        self._asked: dict[str, _Asked] = {}

    def granted(self, user: str) -> list[Delegation]:
        return list(self._granted.get(user, {}).values())

    def entities(self) -> set[str]:
        """Return all managing entities to which a user has granted a namespace."""
        return {each.entities[0] for user in self._granted for each in self.granted(user)}

    def grantors(self, entity: str) -> list[str]:
        """Return the users who have granted a namespace to this entity."""
        return [user for user in self._granted if any(entity in each.entities for each in self.granted(user))]

    def find(self, request: Request, recipient: str, managed: bool) -> Delegation | None:
        """
        Return the grant that applies to a request (section 5.2). A user's grants apply to the user's own requests
        to the server, and to requests of anybody to the user's bare JID.

        @param managed: as in L{delegationOf}.
        """
        isToServer = request.recipient is None or recipient == self._router.domain
        user = jids.bare(request.requester) if isToServer else recipient
        return delegationOf(request, self._granted.get(user, {}), managed)

    # Asking.

    def request(self, entity: str, query: domish.Element) -> None:
        """
        Handle the request of a managing entity to manage namespaces of a user (section 5.1): ask the user, at every
        resource.

        @raise NotAcceptable: if it asks for too many namespaces, or for one that cannot be the name of a field.
        @raise Forbidden: if it asks for this XEP's own namespace (section 8, rule 5).
        @raise RecipientUnavailable: if the user is offline or does not exist.
        """
        namespaces = tuple(
            dict.fromkeys(
                each.getAttribute("namespace", "") for each in query.elements(ns.DELEGATION_2, "delegate")
            )
        )
        if not namespaces or "" in namespaces:
            raise BadRequest
        if not all(map(isDelegable, namespaces)):
            raise Forbidden
        # The namespaces are names of form fields, and must differ from the fixed ones.
        tooLong = any(len(each) > _MAX_NAMESPACE for each in namespaces)
        if tooLong or len(namespaces) > _MAX_NAMESPACES or not _FIELDS.isdisjoint(namespaces):
            raise NotAcceptable
        user = _bare(query.getAttribute("to", ""))
        if user == jids.bare(entity):
            raise NotAllowed
        account = self._router.accounts.get(user)
        there = [] if account is None else [each for each, _ in account.available() if each.priority >= 0]
        if not there:
            raise RecipientUnavailable
        now = self._seconds()
        self._asked = {challenge: asked for challenge, asked in self._asked.items() if asked.until > now}
        who = self._owner(entity)
        isBeingAsked = any((self._owner(asked.entity), asked.user) == (who, user) for asked in self._asked.values())
        if isBeingAsked or len(self._asked) >= _MAX_ASKED:
            raise ResourceLimit
        challenge = secrets.token_urlsafe()
        self._asked[challenge] = _Asked(entity, user, namespaces, now + _TIMEOUT)
        content = _question(entity, namespaces, challenge)
        for session in there:
            addresses = route(self._router.domain, session.jid)
            session.peer.write(message(addresses, content.encode(), secrets.token_urlsafe(6)))

    def _owner(self, entity: str) -> str:
        """Return the bare JID of an account, or the domain of a component, whose addresses are unlimited."""
        bare = jids.bare(entity)
        domain = jids.split(bare)[1]
        return bare if domain == self._router.domain else domain

    def onAnswer(self, user: str, message: domish.Element) -> bool:
        """
        Handle a message of a user to the host.

        @return: true if it contains an answer to a question.
        @raise NoSuchAddress: if this user has no such open question.
        """
        form = _submitted(message)
        if form is None:
            return False
        challenge = str(form.get(_CHALLENGE, ""))
        asked = self._asked.get(challenge)
        if asked is None or asked.user != user or asked.until <= self._seconds():
            raise NoSuchAddress
        del self._asked[challenge]
        mine = self._granted.setdefault(user, {})
        changed = []
        for namespace in asked.namespaces:
            if form.get(namespace) == _YES and (namespace in mine or len(mine) < _MAX_GRANTED):
                old = mine.get(namespace)
                mine[namespace] = Delegation(namespace, (asked.entity,))
                changed += [asked.entity] if old is None else [*old.entities, asked.entity]
        self._tell(user, changed)
        return True

    def revoke(self, user: str, namespaces: list[str]) -> None:
        """Revoke the user's grants of these namespaces."""
        mine = self._granted.get(user, {})
        revoked = [mine.pop(namespace) for namespace in namespaces if namespace in mine]
        self._tell(user, [entity for each in revoked for entity in each.entities])

    def forget(self, component: str) -> None:
        """Revoke all grants to managing entities at a component, and drop its open questions."""
        self._asked = {
            key: asked for key, asked in self._asked.items() if jids.split(asked.entity)[1] != component
        }
        for user in list(self._granted):
            granted = self.granted(user)
            self.revoke(user, [each.namespace for each in granted if jids.split(each.entities[0])[1] == component])

    def accountChanged(self, account: Account) -> None:
        """Handle a change of the account's resources."""
        if not account.sessions:
            self.revoke(account.jid, [each.namespace for each in self.granted(account.jid)])
            self._asked = {key: asked for key, asked in self._asked.items() if asked.user != account.jid}

    def _tell(self, user: str, entities: list[str]) -> None:
        for entity in dict.fromkeys(entities):
            self._changed(user, entity)
        if not self._granted.get(user):
            self._granted.pop(user, None)

    # The ad-hoc command (section 6, XEP-0050). It needs no state: the submitted form contains everything.

    def command(self, user: str, command: domish.Element) -> str:
        """
        Execute one step of the command.

        @return: the payload of the answer.
        """
        identifier = command.getAttribute("sessionid") or secrets.token_urlsafe(9)
        action = command.getAttribute("action", "execute")
        if action == "cancel":
            return _commanded(identifier, "canceled", "")
        if action not in ("execute", "complete", "next"):
            raise BadRequest
        form = _submitted(command)
        if form is None:
            granted = self.granted(user)
            if not granted:
                return _commanded(identifier, "completed", _note("You have delegated nothing."))
            actions = tag("actions", tag("complete"), execute="complete")
            return _commanded(identifier, "executing", actions + _list(granted))
        chosen = form.fields.get(_REVOKE)
        self.revoke(user, [str(value) for value in (chosen.values if chosen is not None else [])])
        left = ", ".join(each.namespace for each in self.granted(user)) or "nothing"
        return _commanded(identifier, "completed", _note(f"Still delegated: {left}."))


def _note(text: str) -> str:
    return tag("note", escape(text), type="info")


def _bare(jid: str) -> str:
    try:
        found = jids.prepared(jid)
    except ValueError as error:
        raise BadRequest from error
    if "/" in found:
        raise BadRequest
    return found


def _question(entity: str, namespaces: tuple[str, ...], challenge: str) -> str:
    """Return the body and the form of the question (section 5.1); the default answer is no."""
    names = ", ".join(namespaces)
    body = (
        f"{entity} asks to manage these namespaces of your account: {names}. It would get all requests by you and "
        "others in them, and answer in your server's name. Allow this only if you trust it fully."
    )
    fields = [
        Field("hidden", _CHALLENGE, challenge),
        *(
            Field("list-single", namespace, _NO, options={_NO: "No", _YES: "Yes"}, label=f"Manage {namespace}")
            for namespace in namespaces
        ),
    ]
    form = Form("form", "Delegation request", [f"Do you allow {entity} to manage this?"], ns.DELEGATION_2, fields)
    return tag("body", escape(body)) + _formXml(form)


def _list(granted: list[Delegation]) -> str:
    options = {each.namespace: f"{each.namespace}, managed by {each.entities[0]}" for each in granted}
    fields = [Field("list-multi", _REVOKE, options=options, label="Revoke")]
    words = ["These namespaces of your account are managed by other entities. Choose those to revoke."]
    return _formXml(Form("form", "Delegations", words, ns.DELEGATION_2, fields))


def _formXml(form: Form) -> str:
    return serialised(form.toElement(), ns.CLIENT)


def _submitted(element: domish.Element) -> Form | None:
    """Return the submitted form in an element. FORM_TYPE is ignored: it is empty in the XEP's own example."""
    for child in element.elements(ns.DATA, "x"):
        if child.getAttribute("type") == "submit":
            try:
                return Form.fromElement(child)
            except (FormError, ValueError) as error:
                raise BadRequest from error
    return None


def _commanded(identifier: str, status: str, content: str) -> str:
    return tag("command", content, xmlns=ns.COMMANDS, node=CONFIGURE, sessionid=identifier, status=status)
