"""
Tests of services and handlers without a server, a socket or a real clock. For authors of plugins; the gateway's own
tests use it as well.

    - L{MemoryGateway}: the whole gateway, made from tables as in a configuration file; the test is its server and
      its HTTP clients.
    - L{MemoryServer}: one link and its server, for a raw handler or an ordinary Wokkel handler.
    - L{delegated}, L{forwarded} and L{delegatedRequest}: delegated requests (XEP-0355), as a server forwards them
      and as a handler gets them.
    - L{request}: an HTTP request to a site, without a gateway.
    - L{canonical}: stanzas in the form in which they can be compared as text.

Everything that the gateway writes is read back by another parser than its own.
"""

from gateway.testing.delegation import delegated, delegatedRequest, forwarded
from gateway.testing.gateway import ComponentSide, MemoryGateway
from gateway.testing.http import Call, Response, request
from gateway.testing.server import MemoryServer, ServerSide
from gateway.testing.wire import MemoryEndpoint, MemoryTransport, canonical, children, stanzas

__all__ = [
    "Call",
    "ComponentSide",
    "MemoryEndpoint",
    "MemoryGateway",
    "MemoryServer",
    "MemoryTransport",
    "Response",
    "ServerSide",
    "canonical",
    "children",
    "delegated",
    "delegatedRequest",
    "forwarded",
    "request",
    "stanzas",
]
