"""
The requirements of services on the configuration of their server, as values; and the lines of configuration that
fulfil them, for each kind of server.

The values are in C{values.py}, the lines of one kind of server in the module with its name. These lines have one
source: the advice in the log and on the status page, C{--check}, and the commands C{snippet} and C{check} all show
them.
"""

from gateway.requirements.values import (
    Address,
    Component,
    Delegation,
    ForeignSenders,
    Module,
    NewConnectionWins,
    Privilege,
    Remark,
    Requirement,
    RosterApi,
)

__all__ = [
    "Address",
    "Component",
    "Delegation",
    "ForeignSenders",
    "Module",
    "NewConnectionWins",
    "Privilege",
    "Remark",
    "Requirement",
    "RosterApi",
]
