"""A timestamp authority of the tests' own: a root, a certificate for timestamps, openssl's replies."""

import subprocess
from pathlib import Path

CONFIG = """\
[tsa]
default_tsa = own
[own]
serial = {directory}/serial
signer_cert = {directory}/tsa.pem
signer_key = {directory}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[timestamps]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[dn]
"""
# Without `certs =` the reply carries the signer's certificate alone: with more of them openssl
# leaves the SET unsorted, which is not DER, and a strict reader refuses it.


class Authority:
    """Stamps what it is asked to."""

    def __init__(self, directory: Path, *, name: str = "Test authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / "config").write_text(CONFIG.format(directory=directory))
        (directory / "serial").write_text("01\n")
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-config", "config", "-extensions", "authority", "-subj", f"/CN={name}",
            "-days", "3650", "-keyout", "root.key", "-out", "root.pem",
        )  # fmt: skip
        self._openssl(
            "req", "-new", "-newkey", "rsa:2048", "-noenc", "-config", "config",
            "-subj", f"/CN={name} TSA", "-keyout", "tsa.key", "-out", "tsa.csr",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key",
            "-CAcreateserial", "-days", "3650", "-extfile", "config", "-extensions", "timestamps",
            "-out", "tsa.pem",
        )  # fmt: skip

    @property
    def root(self) -> bytes:
        """Return the root certificate, PEM."""
        return (self.directory / "root.pem").read_bytes()

    def reply(self, query: bytes) -> bytes:
        """Return the reply to a TimeStampReq."""
        (self.directory / "query").write_bytes(query)
        self._openssl(
            "ts", "-reply", "-config", "config", "-section", "own", "-queryfile", "query",
            "-out", "reply",
        )  # fmt: skip
        return (self.directory / "reply").read_bytes()

    def openssl_verifies(self, response: bytes, message: bytes) -> bool:
        """Return whether ``openssl ts -verify`` agrees."""
        (self.directory / "response").write_bytes(response)
        (self.directory / "message").write_bytes(message)
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-in", "response", "-data", "message", "-CAfile", "root.pem"],  # noqa: S607
            cwd=self.directory,
            capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode == 0

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603
            ["openssl", *arguments],  # noqa: S607
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
