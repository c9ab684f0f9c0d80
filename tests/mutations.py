"""
The chosen mutations: faults in the way of options to their effects, and in the rules of security and protocol.

C{make mutants} tries each of them; a test should fail for each. A text must occur once in its file. If the code
changes, its mutation changes with it.
"""

from __future__ import annotations

# Options: a table's key does not reach what it is for.
OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "gateway/composition/builder.py": (
        ("            domain=domain,", "            domain=None,"),
        ("stanzaSize=settings.stanzaSize, ", ""),
        (", outgoingSize=settings.outgoingSize", ""),
        ("Budget(settings.answerBudget)", "Budget()"),
        ("        self.metrics.close()\n", ""),
    ),
    "gateway/composition/changes.py": (("secret=table.secret or common.secret", "secret=common.secret"),),
    "gateway/composition/service.py": (
        ("Gate(token, table.hosts, _FREE)", "Gate(None, table.hosts, _FREE)"),
        ("Gate(token, table.hosts, _FREE)", "Gate(token, frozenset(), _FREE)"),
        ("self._renewed() if isAnew else ()", "()"),
        ("self._renewed() if isAnew else ()", "self._renewed()"),
        ("            self._readToken(config)\n", "            pass\n"),
    ),
    "gateway/tap.py": (
        ("time, PrometheusMetrics())", "time)"),
        ('self.output.use(table.format == "json", ', "self.output.use(False, "),
        ("table.level, levels, table.file", '"info", levels, table.file'),
        ("table.level, levels, table.file", "table.level, {}, table.file"),
        ("table.level, levels, table.file", "table.level, levels, None"),
    ),
    "gateway/proxy/plugin.py": (
        ("forward=frozenset(table.forward)", 'forward=frozenset(("iq",))'),
        ("outbound=table.outbound", "outbound=True"),
        ("timeout=table.timeout", "timeout=30.0"),
        ("shared=table.shared", "shared=False"),
        ("table.resources, table.balance", '"*", table.balance'),
        ("table.resources, table.balance", 'table.resources, "sticky"'),
        ("link.shared = table.shared", "link.shared = False"),
    ),
    "gateway/delegation/plugin.py": (
        ("manage(link, routes, table.servers, table.users,", "manage(link, routes, table.servers, frozenset(),"),
        ("table.lend_privileges)\n        ", "())\n        "),
        ("composition.privileges(link, table.servers)", "composition.privileges(link, ())"),
        ("for each in table.namespaces.values() if each.import_}", "for each in ()}"),
    ),
    "gateway/roster/plugin.py": (
        ("pieces, table.max_removals)", "pieces, 10**6)"),
        ("table.min_interval", "0.0"),
        ("None if table.signature_secret is None else table.signature_secret.encode()", "None"),
        ("if table.lock:", "if False:"),
        ("survey, table.probes)", "survey, False)"),
        ("[table.offline]", '["apply"]'),
        ("application, applier, table.concurrency,", "application, applier, 10,"),
        ("(table.url, client, reactor, table.timeout, tags)", "(table.url, client, reactor, 10.0, tags)"),
    ),
    "gateway/fmuc/plugin.py": (
        ("Rooms(jid, mirroring, _prepared(table.peers), ", "Rooms(jid, mirroring, frozenset(), "),
        ("Rooms(jid, None, _prepared(table.peers), ", "Rooms(jid, None, frozenset(), "),
        ("allow=_prepared(table.allow)", 'allow=frozenset(("*",))'),
        ("users=_prepared(table.users)", 'users=frozenset(("*",))'),
        ("mode=Mode(table.mode)", "mode=Mode.REPLICA"),
        ("bounds = Bounds(made=table.max_rooms_per_user)", "bounds = Bounds()"),
    ),
    "gateway/embedded/host.py": (
        ("self.secrets = dict(table.components)", "self.secrets = {}"),
        ("delegated = table.delegations", "delegated = None"),
        ("        return table.privileges\n", "        return {}\n"),
    ),
}

# Rules: a check of trust, of rights or of the protocol is missing or wrong.
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "gateway/http/access.py": (
        ('uri.partition(b"?")[0] in self.free', 'uri.count(b"/") > 1 or uri.partition(b"?")[0] in self.free'),
        ("if len(found) > 1 or not (found or isOld):", "if False:"),
        ("if found and not self._isOurs(host, address):", "if False:"),
        ("if _isForeign(headers, self.hosts | {host}):", "if False:"),
        ("hmac.compare_digest(credentials, self.token.encode())", "True"),
        ("isRead and path in PAGES and self._hasSession", "path in PAGES and self._hasSession"),
        ("isRead and path in PAGES and self._hasSession", "isRead and self._hasSession"),
        ("hmac.compare_digest(code, self._code(ends)) and ", ""),
        ("return 0 < int(ends) - utc <= SESSION", "return True"),
        ('method == b"POST" and path in (LOGIN, LOGOUT) and _isSmallForm(headers)', "path in (LOGIN, LOGOUT)"),
    ),
    "gateway/http/login.py": (
        ("if not gate.isToken(_tokenIn(request)):", "if False:"),
        ("; HttpOnly; SameSite=Strict", ""),
    ),
    "gateway/http/live.py": (
        ("if len(self._listeners) >= MAX_LISTENERS:", "if False:"),
        ("elif now - each.since >= LIFETIME:", "elif False:"),
        ("if listener.stalledAt is not None or listener.seen is content:", "if listener.seen is content:"),
    ),
    "gateway/http/health.py": (("each for link in self._links if link.ready for each in _blocking(link)", ""),),
    "gateway/composition/shown.py": (
        ("'(not shown)' if isSecret else _inToml(value)", "_inToml(value)"),
        ("isHidden or keyOf(each.name).endswith(_SECRET)", "isHidden"),
        ("isHidden or keyOf(each.name).endswith(_SECRET)", "keyOf(each.name).endswith(_SECRET)"),
    ),
    "gateway/delegation/handler.py": (
        ("if jids.split(user)[1] == server:", "if True:"),
        ("if stanza.sender in self._heard and stanzas.mayBe", "if stanzas.mayBe"),
        ("if domain != pending.server or resource:", "if resource:"),
        ("if domain != pending.server or resource:", "if domain != pending.server:"),
        ("if not self._grants.grantedBy(user, request.namespace):", "if False:"),
        ("if not self._open.isOpen(pending):\n            return", "if False:\n            return"),
        ("found.delegation.covers(request)", "True"),
        ("if budget.debts and budget.isOver(request.requester, self._link.now):", "if False:"),
        ("raise Stopping", "pass"),
    ),
    "gateway/delegation/client_mode.py": (
        ("jids.split(user)[1] not in self._domains or ", ""),
        (' or jids.bare(stanza.recipient or "") != self._component', ""),
        ('elif stanza.type == "unsubscribe":', "elif True:"),
        ("        self._open.discard(user)\n        error = reason.value", "        error = reason.value"),
    ),
    "gateway/delegation/delegator.py": (
        ("reply if isValid else None", "reply"),
        ("pending.address != sender", "False"),
        ("if mayRepeat and pending.until > now:", "if pending.until > now:"),
    ),
    "gateway/delegation/managing.py": (
        ("raise AlreadyOpen if key in self._open else TooManyPending", "raise TooManyPending"),
        (" or len(self._users) < _MAX_USERS", " or True"),
    ),
    "gateway/privilege/core.py": (
        ("if sender != self.server:", "if False:"),
        ('if self.message != "outgoing":', "if False:"),
        ('if granted == "none":', "if False:"),
        ("if not _covers(granted, request.innerKind):", "if False:"),
        ("if request.sender and request.sender != request.user:", "if False:"),
        ("if request.kind != request.innerKind:", "if False:"),
        ("if request.namespace != ns.CLIENT:", "if False:"),
        ("if not local or domain != self.server or resource:", "if not local or resource:"),
    ),
    "gateway/privilege/handler.py": (
        ('return sender in self._servers and b"privilege"', 'return b"privilege"'),
        ("if refused is None or stanza.sender != user:", "if refused is None:"),
        ("not (permissions.pushes and local) or resource", "not (permissions.pushes and local)"),
        ("if server not in self._servers:", "if False:"),
    ),
    "gateway/privilege/lending.py": (
        ("if domain != self._link.jid or not (isRoster", "if not (isRoster"),
        ("if answer.sender != self._open[identifier].user:", "if False:"),
        ("if count is None:", "if False:"),
        ("permissions.checkRoster(user, kind)", "pass"),
        ("permissions.checkMessage(sender)", "pass"),
    ),
    "gateway/proxy/core.py": (
        ("(resource := exchange.resource).jid == sender:", "(resource := exchange.resource):"),
        ('return self._drop("an answer from another account")', "pass"),
        ('return self._drop("an answer from another resource")', "pass"),
        ("if self._draining or not self._relaysIq:", "if self._draining:"),
        ("if not self._rules.outbound:", "if False:"),
        ("self._outbound.pop((sender, recipient, identifier), None)", "next(iter(self._outbound.values()), None)"),
    ),
    "gateway/proxy/addresses.py": (
        ("if not hmac.compare_digest(expected.encode(), token.encode(errors=\"replace\")):", "if False:"),
        ("if not slash or len(token) > _MAX_RESOURCE:", "if not slash:"),
    ),
    "gateway/roster/lock.py": (
        ("if jids.bare(request.requester) != request.entity:", "if False:"),
        ('if request.type == "set":', "if False:"),
        ("if reason and (", "if True and ("),
        ("            if not recorded:", "            if True:"),
    ),
    "gateway/roster/handler.py": (("if domain != self._domain or not local:", "if not local:"),),
    "gateway/roster/resource.py": (
        ("if isFromPage(request.requestHeaders):", "if False:"),
        ("if not isSigned(", "if None is ("),
        ("if len(names) > MAX_NAMES:", "if False:"),
        ('if kind != "application/json":', "if False:"),
    ),
    "gateway/roster/signature.py": (("abs(int(time) - utc) > WINDOW", "False"),),
    "gateway/roster/fetch.py": (('if name in (".", ".."):', "if False:"),),
    "gateway/muc/administration.py": (
        ("if theirs > own:", "if False:"),
        ("if own < _LEVELS[ADMIN]:\n        raise NotEntitled", "if False:\n        raise NotEntitled"),
        ("if own < _LEVELS[OWNER] and (", "if False and ("),
        ("if OWNER in room.affiliations.values() and OWNER not in wanted.values():", "if False:"),
    ),
    "gateway/muc/password.py": (("request.password != room.settings.password", "not request.password"),),
    "gateway/muc/members_only.py": (("if room.settings.membersOnly and affiliation == NONE:", "if False:"),),
    "gateway/muc/private_messages.py": (("if occupant is None:", "if False:"),),
    "gateway/muc/room.py": (("self.affiliations.get(jids.split(who)[1]) == OUTCAST", "False"),),
    "gateway/fmuc/core.py": (
        ("if not within(jids.split(peer)[1], self._peers) or not", "if not"),
        ("not isElsewhere or not within(domain, self._mirroring.allow)", "not isElsewhere"),
        ("isElsewhere = domain != self.jid and domain not in self._mirroring.users", "isElsewhere = True"),
        ("if self._mirroring is not None and not within(domain, self._mirroring.users):", "if False:"),
    ),
    "gateway/fmuc/from_joining.py": (
        ("if occupant is None or occupant.node is not node:", "if occupant is None:"),
        ("if len(federation.joiningNodes) >= federation.room.bounds.nodes:", "if False:"),
    ),
    "gateway/embedded/consent.py": (
        ("asked is None or asked.user != user or", "asked is None or"),
        (" or asked.until <= self._seconds()", ""),
        ("if user == jids.bare(entity):", "if False:"),
        (" or len(self._asked) >= _MAX_ASKED", ""),
        ("(namespace in mine or len(mine) < _MAX_GRANTED)", "True"),
        ("namespace in mine or ", ""),
        ("return bare if domain == self._router.domain else domain", "return domain"),
        ("if not all(map(isDelegable, namespaces)):", "if False:"),
    ),
    "gateway/embedded/component.py": (
        ("elif not hmac.compare_digest(", "elif None is ("),
        ("if jids.split(sender)[1] != self._jid:", "if False:"),
    ),
    "gateway/embedded/handler.py": (("if account is None and recipient != self.router.domain:", "if False:"),),
    "gateway/embedded/sasl.py": (('if acting and acting != user + b"@" + self._domain.encode():', "if False:"),),
    "gateway/embedded/delegation.py": (("if self._delegator.address(entity) != sender:", "if False:"),),
    "gateway/stream/refused.py": (('"message" and stanza.type != "error"', '"message"'),),
    "gateway/stream/instances.py": (("not sender.startswith(self._prefix)", "False"),),
    "gateway/stream/budget.py": (("if self.isOver(requester, now):", "if False:"),),
    "gateway/stream/shares.py": (("if self.taken * _PART >= left or", "if"),),
    "gateway/stream/lane.py": (("if key is None or not self.replies.closed(key):", "if key is None:"),),
    "gateway/config/problems.py": (('"write it in quotes" if isSecret(key) else ', ""),),
    "gateway/config/values.py": (("if position and not _HOST_NAME", "if False and not _HOST_NAME"),),
    "gateway/composition/checks.py": (
        ("            except Exception as error:\n", "            except OSError as error:\n"),
    ),
    "gateway/cli/check.py": (
        ("if await running.isThere():", "if False:"),
        ("if config.state_dir.exists():", "if True:"),
        ("if jid not in links:", "if False:"),
    ),
    "gateway/cli/findings.py": (
        ('return granted.feed in (wanted.kind, "roster")', "return True"),
        ("if missing:", "if False:"),
        ("evolve(component, secret=None, requirements", "evolve(component, requirements"),
    ),
    "gateway/cli/state.py": (("        if not force:", "        if False:"),),
    "gateway/requirements/ejabberd.py": (("if others:", "if False:"),),
    "gateway/requirements/prosody.py": (('["privilege"] * bool(component.having(Privilege))', "[]"),),
    "gateway/state/backup.py": (
        ("member.isreg() and ", ""),
        ("os.path.basename(member.name) == member.name and ", ""),
        (" and (problem := faults.problem(path))", " and (problem := '')"),
    ),
}
