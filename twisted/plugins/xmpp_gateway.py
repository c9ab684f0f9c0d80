"""The verb `twistd gateway`. Names only: twistd reads this file whenever it starts, for whatever verb."""

from twisted.application.service import ServiceMaker

xmppGateway = ServiceMaker(
    "XMPP gateway",
    "gateway.tap",
    "An XMPP gateway: client proxy, delegation, rosters and mirrored rooms for any server.",
    "gateway",
)
