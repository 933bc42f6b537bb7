"""The certificate of DSGo's FTP server: its own authority, made at its first start under TLS."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

VALID = datetime.timedelta(days=3650)
RENEW = datetime.timedelta(days=30)  # before it expires


def ensure_certificate(certificate: Path, *hosts: str) -> Path:
    """Make a certificate for the IP addresses `hosts` unless one is there that lasts; return the file of its private key.

    The key is readable by its owner only.
    """
    from cryptography import x509

    key = certificate.with_name(certificate.stem + "-key.pem")
    if certificate.exists() and key.exists():
        expires = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        if expires - datetime.datetime.now(datetime.UTC) > RENEW:
            return key
    _make(certificate, key, hosts)
    return key


def _make(certificate: Path, key: Path, hosts: tuple[str, ...]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DSGo FTP store")])
    now = datetime.datetime.now(datetime.UTC)
    names = [*map(_subject, hosts), x509.DNSName("localhost")]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem, private_format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = private.private_bytes(pem, private_format, serialization.NoEncryption())
    _write(key, secret, 0o600)
    _write(certificate, signed.public_bytes(pem), 0o644)


def _subject(host: str):
    """A host as certificates name it: by its address or its name."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, data: bytes, mode: int) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.replace(path)
