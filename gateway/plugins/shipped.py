"""
The services that come with the gateway, found in the same way as those of other software.
"""

from gateway.delegation.plugin import DelegationPlugin, PrivateStoragePlugin
from gateway.fmuc.plugin import MirrorPlugin, RoomsPlugin
from gateway.proxy.plugin import ProxyPlugin
from gateway.roster.plugin import RosterPlugin

proxy = ProxyPlugin()
delegation = DelegationPlugin()
privateStorage = PrivateStoragePlugin()
roster = RosterPlugin()
rooms = RoomsPlugin()
mirror = MirrorPlugin()
