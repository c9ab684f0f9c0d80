"""The host's files: passwords and addresses, and its certificate."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.trial.unittest import SynchronousTestCase

from gateway.embedded.store import HostFolder, HostInfo, makePassword
from gateway.state import files

NOW = datetime(2025, 1, 1, tzinfo=UTC)
HERE = HostInfo("h.example", "tcp:127.0.0.1:1", {"alice": "ä"}, {"proxy": ["p.h.example"]})


class StoreCase(SynchronousTestCase):
    """A folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.host = HostFolder(self.folder)

    def assertPrivate(self, path: Path) -> None:
        """Check that only the owner can read it."""
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)


class HostInfoTests(StoreCase):
    """embedded.json."""

    def test_kept(self) -> None:
        """Written information can be read again; only the owner can read the file, whatever the umask."""
        self.assertIsNone(self.host.read())
        self.addCleanup(os.umask, os.umask(0))
        self.host.write(HERE)
        self.assertEqual(HostFolder(self.folder).read(), HERE)
        self.assertPrivate(self.folder / "embedded.json")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["embedded.json"])

    def test_private(self) -> None:
        """A file that others can read is replaced by one that they cannot read."""
        (self.folder / "embedded.json").write_text("{}")
        (self.folder / "embedded.json").chmod(0o644)
        self.host.write(HERE)
        self.assertPrivate(self.folder / "embedded.json")

    def test_whole(self) -> None:
        """If it cannot be written, the old file stays."""
        self.host.write(HERE)

        def fails(*paths: object) -> None:
            raise OSError("full")

        self.patch(files.os, "fsync", fails)
        self.assertRaises(OSError, self.host.write, HostInfo("else", "tcp:127.0.0.1:2", {}, {}))
        self.assertEqual(self.host.read(), HERE)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["embedded.json"])

    def test_garbage(self) -> None:
        """An invalid file is ignored, and replaced."""
        for garbage in (
            b"",
            b"{",
            b"\xff",
            b"[]",
            b"null",
            b"7",
            b"{}",
            b'{"domain": "h", "c2s": "x", "accounts": 1}',
        ):
            (self.folder / "embedded.json").write_bytes(garbage)
            self.assertIsNone(self.host.read(), garbage)
        self.host.write(HERE)
        self.assertEqual(self.host.read(), HERE)

    def test_passwords(self) -> None:
        """Each password is different, long enough, and can be typed."""
        made = {makePassword() for _ in range(100)}
        self.assertEqual(len(made), 100)
        self.assertTrue(all(len(each) >= 12 and each.isascii() and each.isprintable() for each in made))


class CertificateTests(StoreCase):
    """embedded.pem."""

    def load(self, domain: str = "h.example", now: datetime = NOW) -> x509.Certificate:
        """Return the certificate in use."""
        loaded = self.host.loadCertificate(domain, now)
        self.assertIsInstance(loaded, PrivateCertificate)
        self.assertIsNotNone(loaded.options().getContext())
        return x509.load_pem_x509_certificate(loaded.dumpPEM())

    def test_made(self) -> None:
        """It is for the domain, valid from today, self-signed, and in one file with its key, for the owner only."""
        made = self.load()
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["h.example"])
        self.assertTrue(made.not_valid_before_utc < NOW < made.not_valid_after_utc - timedelta(days=3_000))
        made.verify_directly_issued_by(made)
        pem = self.host.certificate.read_bytes()
        self.assertEqual(load_pem_private_key(pem, None).public_key(), made.public_key())
        self.assertEqual(Certificate.loadPEM(pem).getSubject().commonName, b"h.example")
        self.assertPrivate(self.host.certificate)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["embedded.pem"])

    def test_once(self) -> None:
        """It is made once, as long as it is valid."""
        made = self.load()
        self.assertEqual(self.load(), made)
        self.assertEqual(self.load(now=NOW + timedelta(days=3_649)), made)

    def test_expired(self) -> None:
        """An expired one is replaced."""
        made = self.load()
        later = NOW + timedelta(days=3_651)
        again = self.load(now=later)
        self.assertNotEqual(again, made)
        self.assertGreater(again.not_valid_after_utc, later)
        self.assertEqual(self.load(now=later), again)

    def test_domain(self) -> None:
        """So is one for another domain."""
        made = self.load()
        self.assertNotEqual(self.load("else.example"), made)

    def test_domains(self) -> None:
        """All domains that can be configured can have a certificate: long ones, in any script."""
        for domain in ("localhost", "bücher.example", f"{'x' * 63}.{'y' * 63}.example"):
            made = self.load(domain)
            self.assertEqual(self.load(domain), made)

    def test_garbage(self) -> None:
        """A file without a certificate or a key is replaced."""
        self.load()
        whole = self.host.certificate.read_bytes()
        key = whole.index(b"-----BEGIN PRIVATE")
        for garbage in (b"", b"x", whole[:key], whole[key:], whole[: key + 60], whole[:200]):
            self.host.certificate.write_bytes(garbage)
            made = self.load()
            self.assertEqual(self.load(), made, garbage)
