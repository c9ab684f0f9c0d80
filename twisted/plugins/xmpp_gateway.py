"""The verb `twistd gateway`. Names only: twistd reads this file whenever it starts, for whatever verb."""

from twisted.application.service import ServiceMaker

xmppGateway = ServiceMaker(
    "XMPP gateway",
    "gateway.tap",
    "Services for any XMPP server, as external components.",
    "gateway",
)
