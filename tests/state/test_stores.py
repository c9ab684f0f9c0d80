"""
The tests of the services' own stores on SQLite files and on PostgreSQL: private storage, exchanges, exchanges
that gateways share, entity tags, and rooms with their archives and channels. Their modules run them in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from gateway.delegation.private import PrivateStorage
from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.state.memory import MemoryStore
from tests.delegation import test_private
from tests.fmuc import test_archive as archives_of_mirrors
from tests.fmuc import test_destroyed, test_restart
from tests.muc import test_archive, test_archiving
from tests.proxy import test_sharing
from tests.proxy import test_store as exchanges
from tests.roster import test_store as tags
from tests.state.stores import OnFiles, OnPostgres


class PrivateCase(test_private.PrivateMixin, TestCase):
    """Private storage."""

    def setUp(self) -> None:
        self.storage = PrivateStorage(PrivateFile(MemoryStore(MIGRATIONS)))


class ImportCase(test_private.ImportMixin, TestCase):
    """Private storage with import."""

    def setUp(self) -> None:
        self.source = test_private.FakeSource()
        self.storage = PrivateStorage(PrivateFile(MemoryStore(MIGRATIONS)), self.source)


# The name of each test, and its class.
TESTS = {
    "Private": PrivateCase,
    "Import": ImportCase,
    "Exchanges": exchanges.ExchangeStoreTests,
    "SharedExchanges": test_sharing.SharingTests,
    "SharedResources": test_sharing.ResourceTests,
    "SharedOutbound": test_sharing.OutboundTests,
    "Tags": tags.EntityTagsTests,
    "TagsRestart": tags.RestartTests,
    "RoomCommits": test_restart.CommitTests,
    "RoomRestart": test_restart.RestartTests,
    "ArchivePages": test_archive.PageTests,
    "ArchiveRetention": test_archiving.RetentionTests,
    "ArchiveReaders": test_archiving.ReaderTests,
    "ArchiveTable": test_archiving.TableTests,
    "ArchivesAfterRestart": archives_of_mirrors.RestartTests,
    "Channels": test_destroyed.ChannelTests,
}
del PrivateCase, ImportCase

for name, test in TESTS.items():
    for kind in (OnFiles, OnPostgres):
        globals()[f"{name}{kind.__name__}"] = type(f"{name}{kind.__name__}", (kind, test), {"__module__": __name__})
del name, test, kind
