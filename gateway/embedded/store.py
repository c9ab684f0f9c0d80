"""
The files that the host keeps between starts: its certificate, generated passwords, and addresses for the tour.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from attrs import asdict, frozen
from cattrs import BaseValidationError, structure
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import Error as OpenSSLError
from twisted.internet.ssl import PrivateCertificate

from gateway.state import files

_LIFE = timedelta(days=3650)


@frozen
class HostInfo:
    """
    The information needed to log in to a running host.

    @ivar c2s: a Twisted client endpoint string.
    @ivar accounts: passwords by user name.
    @ivar services: component JIDs by kind of service.
    @ivar web: the base URL of the HTTP server; empty if there is none.
    """

    domain: str
    c2s: str
    accounts: dict[str, str]
    services: dict[str, list[str]]
    web: str = ""


class HostFolder:
    """
    The host's files in C{state_dir}.

    @ivar path: the folder itself.
    @ivar certificate: the file with its certificate and private key.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._info = folder / "embedded.json"
        self.certificate = folder / "embedded.pem"

    def read(self) -> HostInfo | None:
        """Return the information written last; C{None} if there is none."""
        try:
            return structure(json.loads(self._info.read_text("utf-8")), HostInfo)
        except (FileNotFoundError, ValueError, TypeError, BaseValidationError):
            return None

    def write(self, info: HostInfo) -> None:
        """Write the information, readable for the owner only."""
        files.write(self._info, (json.dumps(asdict(info), indent=1) + "\n").encode())

    def loadCertificate(self, domain: str, utc: datetime) -> PrivateCertificate:
        """Return the certificate; make one if there is no valid one for this domain."""
        try:
            pem = self.certificate.read_bytes()
            found = x509.load_pem_x509_certificate(pem)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if _ascii(domain) in names.get_values_for_type(x509.DNSName) and found.not_valid_after_utc > utc:
                return _load(pem)
        except (FileNotFoundError, ValueError, x509.ExtensionNotFound, OpenSSLError):
            pass
        files.write(self.certificate, _makeCertificate(domain, utc).encode())
        return _load(self.certificate.read_bytes())


def _load(pem: bytes) -> PrivateCertificate:
    certificate: PrivateCertificate = PrivateCertificate.loadPEM(pem)
    return certificate


def makePassword() -> str:
    """Return a random password that can be typed."""
    return secrets.token_urlsafe(9)


def _makeCertificate(domain: str, utc: datetime) -> str:
    """Return a self-signed certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    host = _ascii(domain)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc - timedelta(days=1))
        .not_valid_after(utc + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (certificate.public_bytes(Encoding.PEM) + secret).decode()


def _ascii(domain: str) -> str:
    """Return a domain in the form used in certificates."""
    return domain.encode("idna").decode()
