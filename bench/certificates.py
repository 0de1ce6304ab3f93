"""The certificates of a run: made by the openssl command in the run's own directory, gone with it.

One file holds the certificate and its key, which all programs accept. They are self-signed and alone, without a chain,
so that a full handshake carries the same bytes for every proxy.
"""

import os
import subprocess

NAME = "bench.example"
KINDS = {
    "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-newkey", "rsa:2048"),
}


class CertificateError(Exception):
    """A certificate that could not be made; the message says why."""


def path(directory, kind):
    """Where the certificate of a kind is."""
    return os.path.join(directory, f"{kind}.pem")


def make(directory, kind):
    """Make the certificate of a kind."""
    key = os.path.join(directory, f"{kind}.key")
    argv = ["openssl", "req", "-x509", *KINDS[kind], "-nodes", "-days", "7", "-sha256", "-subj", f"/CN={NAME}",
            "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", path(directory, kind)]
    try:
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        raise CertificateError(f"openssl: {error.strerror}: run ./dev setup") from error
    if result.returncode != 0:
        raise CertificateError(f"openssl ended with status {result.returncode}: {result.stderr.strip()}")
    with open(key) as text, open(path(directory, kind), "a") as both:
        both.write(text.read())
    os.chmod(path(directory, kind), 0o600)
    os.unlink(key)
