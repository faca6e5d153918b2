"""The lab's own certificate authority: a CA and server certificates, made in memory at the start.

Virt-handler's certificate names a service and no address, as KubeVirt's does.
"""

import datetime
import ipaddress
import os
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA; `bundle` is its certificate as PEM text."""

    bundle: str
    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    def server_context(self, dns_name: str = "", addresses: Iterable[str] = ()) -> ssl.SSLContext:
        """A TLS server context whose certificate is valid for that DNS name and these addresses, and for nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory(prefix="whimbrel-lab-") as folder:
            certificate, key = self.server_files(Path(folder), "server", [dns_name] if dns_name else [], addresses)
            context.load_cert_chain(certificate, key)
        return context

    def server_files(
        self, folder: Path, name: str, dns_names: Iterable[str], addresses: Iterable[str]
    ) -> tuple[Path, Path]:
        """A server's certificate and key as PEM files, for a program of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = [x509.DNSName(each) for each in dns_names]
        at = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        certificate = (
            _unsigned(named[0].value if named else name, self._certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([*named, *at]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return (
            private_file(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM)),
            private_file(folder / f"{name}.key", _pem(key)),
        )


def signing_keys(folder: Path) -> tuple[Path, Path]:
    """A private key and its public half as PEM files, to sign and verify service accounts' tokens with."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private_file(folder / "accounts.key", _pem(key)), private_file(folder / "accounts.pub", public)


def private_file(path: Path, content: bytes) -> Path:
    """Written so that only its owner may read it: a new file in the place of any that is there, whose mode may be another."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            file.write(content)
            file.flush()
            made.replace(path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    return path


def authority(common_name: str = "kubevirt.io") -> Authority:
    """A new CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _unsigned(common_name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM).decode(), certificate, key)


def _unsigned(common_name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
