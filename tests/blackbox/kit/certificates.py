"""Authorities and certificates made on the spot by the openssl command, TLS clients, and services that speak TLS."""
import contextlib
import itertools
import os
import socket
import ssl
import subprocess
from pathlib import Path

from .origin import Origin
from .wire import TIMEOUT, ClientWire

_serials = itertools.count(int.from_bytes(os.urandom(6), "big"))


def openssl(*arguments, input=None):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, input=input, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_key(path, kind="ec"):
    options = {"ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}
    openssl("genpkey", *options[kind], "-out", path)
    path.chmod(0o644)  # whoever the gateway becomes may read it, unless a test says otherwise


class Certificate:
    """Files of one: `cert` with what leads to its authority, `key`; `serial` to tell it from others."""

    def __init__(self, cert, key, serial):
        self.cert, self.key, self.serial = cert, key, serial

    @property
    def pair(self):
        return {"cert": str(self.cert), "key": str(self.key)}

    def put_at(self, other):
        """Takes the place of another's files, each at once, as tools that renew certificates do."""
        for ours, theirs in ((self.key, other.key), (self.cert, other.cert)):
            copy = theirs.with_suffix(".new")
            copy.write_bytes(ours.read_bytes())
            copy.chmod(0o644)
            copy.rename(theirs)


class Authority:
    """A root of trust in a folder; `path` is its certificate."""

    def __init__(self, folder, name="authority"):
        self.folder, self.name = Path(folder), name
        self.path, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        make_key(self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-out", self.path, "-days", 30, "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.path.chmod(0o644)

    def issue(self, name, sans=None, days=30, kind="ec", file=None):
        """For a host, or with other names: sans=["URI:spiffe://a/b"]. `days` below 0: expired."""
        file = file or name.replace("*", "star").replace(":", "_")
        cert, key, request, extensions = (self.folder / f"{file}{suffix}" for suffix in (".pem", ".key", ".csr", ".ext"))
        serial = next(_serials)
        make_key(key, kind)
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={name}")
        extensions.write_text(f"subjectAltName={','.join(sans or ['DNS:' + name])}\n")
        if days > 0:
            openssl("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.key, "-set_serial", serial, "-days", days,
                    "-extfile", extensions, "-out", cert)
        else:
            self._issue_in_the_past(request, extensions, serial, cert)
        cert.chmod(0o644)
        return Certificate(cert, key, serial)

    def _issue_in_the_past(self, request, extensions, serial, cert):
        """`openssl x509` knows no dates: its `ca` does, which wants a database."""
        folder = self.folder / f"database{serial}"
        folder.mkdir()
        (folder / "index").touch()
        (folder / "serial").write_text(f"{serial:016x}\n")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", folder / "ca.cnf", "-cert", self.path, "-keyfile", self.key, "-in", request, "-out", cert,
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile", extensions, "-notext")

    def context(self, certificate=None, alpn=("http/1.1",), version=None):
        """A client that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.path))
        if certificate:
            context.load_cert_chain(certificate.cert, certificate.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version:
            context.minimum_version = context.maximum_version = version
        return context


class TlsWire(ClientWire):
    """A client's connection; what was agreed on stands in `sock`."""

    @property
    def serial(self):
        return int(self.sock.getpeercert()["serialNumber"], 16)


def tls_connect(port, context, name="a.test", session=None):
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    try:
        return TlsWire(context.wrap_socket(sock, server_hostname=name, session=session))
    except BaseException:
        sock.close()
        raise


class TlsOrigin(Origin):
    """A service behind TLS: `handshakes` has what each connection agreed on, `refused` why others did not come about."""

    def __init__(self, certificate, authority=None, **more):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.cert, certificate.key)
        self.context.set_alpn_protocols(["http/1.1"])
        if authority:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(authority.path)
        self.context.sni_callback = self._note_name
        self.handshakes, self.refused = [], []
        super().__init__(**more)

    def _note_name(self, sock, name, context):
        sock.asked_for = name

    def _serve(self, wire):
        try:
            secured = self.context.wrap_socket(wire.sock, server_side=True)
        except (OSError, ssl.SSLError) as error:
            self.refused.append(repr(error))
            with contextlib.suppress(OSError):
                wire.close()
            return
        wire.sock = secured
        peer = secured.getpeercert() or {}
        self.handshakes.append({"name": getattr(secured, "asked_for", None), "reused": secured.session_reused, "version": secured.version(),
                                "alpn": secured.selected_alpn_protocol(), "subject": dict(p[0] for p in peer.get("subject", ()))})
        super()._serve(wire)


__all__ = ["Authority", "Certificate", "TlsOrigin", "TlsWire", "openssl", "tls_connect"]
