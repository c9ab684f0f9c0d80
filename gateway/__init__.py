"""
Services for any XMPP server, as external components: one process, C{twistd -n gateway}.

The path of a stanza::

    bytes -> stream -> link -> handler -> core -> actions -> handler -> link -> bytes

The modules and packages:

    - C{ns}, C{errors}: namespaces and errors, used by everything else.
    - C{addresses}: addresses (C{jids}), and the preparation of their parts (C{stringprep}).
    - C{xml}: bytes to trees, records and elements (C{read}, C{records}, C{cut}), values and trees to bytes
      (C{write}), other content namespaces (C{move}), stanza errors (C{errors}); C{context}: a stream's header.
    - C{stream}: bytes to stanzas and back, the link to the server, requests and their answers.
    - C{config}: the tables of the configuration (C{tables}), checks of single values (C{values}), and the lines
      that report errors (C{problems}), with advice (C{repairs}, C{syntax}); keys from the environment
      (C{overrides}).
    - C{state}: C{files} writes every file; stores: C{database} (a SQLite file), C{memory}, their transactions
      (C{sqlite}), schema versions (C{migrations}) and faults (C{faults}); C{backup} copies the folder.
    - C{log}: C{output} writes the log, as text or JSON (C{lines}); C{printable} escapes untrusted text in the log
      and on status pages; C{seldom} limits the rate of log lines.
    - C{standby}: several gateways with the same components, of which one serves each.
    - C{http}: C{listener}, a listening port as a service; C{agent}, HTTP clients and requests; the HTTP server
      (C{site}, C{access}), its pages for operators and those of services (C{served}). Pages for operators:
      C{health}, C{status}, C{metrics}, and the C{page} for browsers with its events (C{live}) and its C{login};
      their content (C{reports}, C{view}, C{sections}, C{plots}, C{html}).
    - C{interfaces}: the interfaces of plugins, and of the objects that they are given.
    - C{reports}, C{metrics}: what services tell the operator: values for C{/status}, and metrics (C{names},
      C{interfaces}); C{prometheus} records these, and C{samples} has the last minutes of some, for plots.
    - C{pieces}: long work in short pieces, and the delay of the reactor.
    - C{proxy}: Jabber Address Translation, a component in front of an ordinary client account.
    - C{delegation}: Namespace Delegation, both sides.
    - C{privilege}: Privileged Entity (XEP-0356): rights that a server grants to a component for its users.
    - C{roster}: rosters that a web application controls.
    - C{muc}: rooms (XEP-0045), one file for each use case; C{fmuc}, on top of it: rooms of several sites
      (XEP-0289).
    - C{embedded}: a small XMPP host for trying the gateway out.
    - C{tour}: a client that demonstrates the services (C{command}), and the guide that the services
      use for that (C{guide}).
    - C{plugins}: the package in which Twisted finds services, the shipped ones and those of other software.
    - C{testing}: servers, connections and a whole gateway in memory, for the tests of plugins and for our own.
    - C{_deprecated}: old names of public classes and of modules.
    - C{requirements}: what services need of their server's configuration, and its lines for each kind of server.
    - C{composition}: the C{reader} of the TOML file, which reports all errors at once; C{checks} of a configuration
      with the plugins; C{builder}, the parts of one service (C{running}); C{service}, which composes all of this,
      with the HTTP server (C{web}) and the direct links (C{direct}), and changes it while it runs: C{changes} finds
      the differences, C{reload} reads the file again, C{takeover} follows other gateways; C{shown}, the settings as
      the log has them.
    - C{systemd}: the notifications of systemd. C{tap}: the twistd command; C{cli}: the command C{xmpp-gateway}.

A feature is a package whose files are layers, each knowing only those before it: C{core} (rules, no I/O),
C{stanzas} (to and from the wire), C{handler} (the XMPP handler), C{compose} (how its service is composed),
C{plugin} (what the start needs to know of it). C{tables} has its keys in the configuration.
"""

from gateway import _compat, _deprecated

__version__ = "0.2.0"
__all__ = ["__version__", "_compat"]

_deprecated.install()
