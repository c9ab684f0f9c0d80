"""
Services for any XMPP server, as external components: one process, C{twistd -n gateway}.

How a stanza goes::

    bytes -> stream -> link -> handler -> core -> actions -> handler -> link -> bytes

Where things are:

    - C{ns}, C{errors}, C{jids}, C{interfaces}: the words that everything is said in; C{stringprep}: what addresses
      are made of.
    - C{tables}: what a table of the configuration is declared with; C{values}: how its values are checked;
      C{config}: the TOML file as such tables, with every error at once.
    - C{xml}: bytes to names and trees and back (C{read}, C{write}, C{errors}); C{context}: a stream's header.
    - C{stream}: bytes to stanzas and back, the link to the server, requests and their answers.
    - C{proxy}: Jabber Address Translation, a component in front of an ordinary client account.
    - C{delegation}: Namespace Delegation, both sides.
    - C{privilege}: what a server lets a component do for its users (XEP-0356).
    - C{roster}: rosters that a web application decides.
    - C{muc}: rooms (XEP-0045), one file a use case; C{fmuc}, on top of it: rooms of several sites (XEP-0289).
    - C{embedded}: the host for trying all of it out; C{tour}: a client that shows it.
    - C{listener}: a port of ours that others connect to.
    - C{files}: every file that is written; C{database}, C{faults}: SQLite, and what goes wrong with it.
    - C{printable}: text from outside in the log and on status pages; C{seldom}: what may be logged at any rate.
    - C{web}: HTTP clients, and what their requests tell; C{pieces}: long work, a piece at a time.
    - C{monitor}: what an operator asks over HTTP.
    - C{plugins}: where services are found; a stranger's as well as ours.
    - C{service} composes all of it, C{tap} is the twistd command.

A feature is a package whose files are layers, each knowing only those before it: C{core} (rules, no I/O),
C{stanzas} (to and from the wire), C{handler} (the XMPP handler), C{plugin} (its table, how it is composed).
"""

from gateway import _compat

__version__ = "0.1.0"
__all__ = ["__version__", "_compat"]
