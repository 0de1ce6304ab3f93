"""One face for both versions of HTTP, on both sides, so that a behaviour is written once and runs over every pair.

    client: Ask      ask(version, port, ...) begins a request; .send .end .head .some .answer .leave
    service: Served  script(served) plays an answer; .body .some .interim .head .send .end .cut .answer .wait_gone

Field names are lower case here; `authority` is Host or :authority; pseudo-fields are never among `fields`.
"""
import contextlib
import ssl
import threading

from .certificates import TlsOrigin
from .http2 import ConnectionLost, H2Origin, StreamReset, h2_connect, request_fields
from .origin import Origin
from .wire import TIMEOUT, ClientWire, Closed, Response, connect

VERSIONS = ("h1", "h2")
TLS_NAME = "gateway.test"  # the name that a client asks for in its handshake


class Answer:
    """What a client got: `complete` says whether it came to its end; `why` what cut it."""

    def __init__(self, status, fields, interim=()):
        self.status, self.fields, self.interim = status, fields, list(interim)
        self.body, self.trailers, self.complete, self.why = b"", [], False, ""

    def get(self, name, default=None):
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else default

    def all(self, name):
        return [v for n, v in self.fields if n == name.lower()]


def _lower(fields):
    return [(n.lower(), v) for n, v in fields]


def _read_into(reply, some):
    """All that comes, to the end or to what cuts it."""
    parts = [reply.body]
    try:
        while data := some():
            parts.append(data)
    except (Closed, StreamReset, ConnectionError) as error:
        reply.why = repr(error)
    reply.body = b"".join(parts)
    return reply


# ---- the client's side ----


class AskH1:
    """A request on an HTTP/1.1 connection of its own (or on `wire`)."""

    def __init__(self, port, method, path, fields, length, authority, end, tls=None, wire=None):
        self.wire = wire or connect(port, keep=False)
        if tls and not wire:
            self.wire = ClientWire(tls.wrap_socket(self.wire.sock, server_hostname=TLS_NAME), keep=False)
        self.method, self.chunked, self.left, self.reply = method, length is None and not end, None, None
        lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}", *(f"{n}: {v}" for n, v in fields)]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif not end:
            lines.append(f"Content-Length: {length}")
        self.wire.send("\r\n".join(lines) + "\r\n\r\n")

    def send(self, data):
        self.wire.send(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked and data else data)

    def end(self, trailers=()):
        if self.chunked:
            self.wire.send("0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in trailers) + "\r\n")

    def next_interim(self):
        """One interim head: (status, fields); only before head()."""
        got = self.wire.head(Response)
        assert got.status < 200, got.start
        return got.status, _lower(got.fields)

    def head(self):
        if self.reply is None:
            got = self.wire.response_head(self.method)
            self.reply = Answer(got.status, _lower(got.fields), [(i.status, _lower(i.fields)) for i in got.interim])
            lengths = self.reply.all("content-length")
            self.left = 0 if self.method == "HEAD" or got.status in (204, 304) else int(lengths[0]) if lengths else None
            self.in_chunks = self.left is None and bool(self.reply.all("transfer-encoding"))
        return self.reply

    def some(self):
        if self.left == 0:
            self.reply.complete = True
            return b""
        if self.in_chunks:
            data = self.wire.chunk()
            if not data:
                self.reply.trailers, self.left = _lower(self.wire._fields()), 0
                self.reply.complete = True
            return data
        data = self.wire.some()
        if self.left is None:
            self.reply.complete = self.reply.complete or not data
        else:
            if not data:
                raise Closed()
            assert len(data) <= self.left, "more than Content-Length"
            self.left -= len(data)
        return data

    def answer(self):
        self.head()
        return _read_into(self.reply, self.some)

    def was_cut(self):
        """Reads to the end; the answer must be seen to be incomplete."""
        reply = self.answer()
        return not reply.complete

    def leave(self):
        self.wire.reset()  # an end alone could be half a close: the answer would be waited for

    def close(self):
        self.wire.close()


class AskH2:
    """A request on an HTTP/2 connection of its own (or on `wire`, an H2Wire)."""

    def __init__(self, port, method, path, fields, length, authority, end, tls=None, wire=None):
        self.wire, self.own = wire or h2_connect(port, tls=tls, name=TLS_NAME), wire is None
        more = [("content-length", str(length))] if length is not None and not end else []
        try:
            scheme = "https" if tls else "http"
            self.stream = self.wire.open(request_fields(method, path, authority, scheme, [*_lower(fields), *more]), end=end)
        except BaseException:
            self.close()
            raise
        self.reply = None

    def send(self, data):
        self.stream.send(data)

    def end(self, trailers=()):
        with contextlib.suppress(StreamReset):
            self.stream.end(_lower(trailers))

    def next_interim(self):
        self.seen = getattr(self, "seen", 0) + 1
        fields = self.stream.next_interim(self.seen - 1)
        return int(fields[0][1]), fields[1:]

    def head(self):
        if self.reply is None:
            fields = self.stream.head()
            split = lambda f: (int(dict(f)[":status"]), [(n, v) for n, v in f if n != ":status"])
            status, plain = split(fields)
            self.reply = Answer(status, plain, [split(i) for i in self.stream.interim])
            assert fields[0][0] == ":status" and status >= 200
        return self.reply

    def some(self):
        data = self.stream.some()
        if not data:
            self.reply.complete, self.reply.trailers = True, self.stream.trailers
        return data

    def answer(self):
        self.head()
        return _read_into(self.reply, self.some)

    def was_cut(self):
        """Reads to the end; a cut answer is a stream that is reset, never one that ends."""
        reply = self.answer()
        return not reply.complete and self.stream.code not in (None, "NO_ERROR")

    def leave(self):
        self.stream.reset("CANCEL")

    def close(self):
        if self.own:
            self.wire.close()


class Client:
    """Asks in one version; whatever it opened is closed at its end."""

    def __init__(self, version, port, tls=None):
        self.version, self.port, self.tls, self.open = version, port, tls, []

    def begin(self, method="GET", path="/", fields=(), length=None, end=False, authority="gateway.test", wire=None):
        """Without `end` a body follows: of that length, or of one unknown."""
        kind = AskH1 if self.version == "h1" else AskH2
        ask = kind(self.port, method, path, list(fields), length, authority, end, self.tls, wire)
        self.open.append(ask)
        return ask

    def ask(self, method="GET", path="/", fields=(), body=None, known=True, trailers=(), authority="gateway.test", wire=None):
        """The whole exchange; a body is sent while the answer may come."""
        ask = self.begin(method, path, fields, len(body) if body is not None and known else None, body is None, authority, wire)
        if body is None:
            return ask.answer()
        if self.tls and self.version == "h1":  # one thread at a time may use an SSL socket
            self._upload(ask, body, trailers)
            return ask.answer()
        thread = threading.Thread(target=self._upload, args=(ask, body, trailers), daemon=True)
        thread.start()
        answer = ask.answer()
        thread.join(TIMEOUT)
        return answer

    @staticmethod
    def _upload(ask, body, trailers):
        with contextlib.suppress(OSError, StreamReset):
            for at in range(0, len(body), 1 << 16):
                ask.send(body[at : at + (1 << 16)])
            ask.end(trailers)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for ask in self.open:
            ask.close()


# ---- the service's side ----


class ServedH1:
    version = "h1"

    def __init__(self, call):
        self.call, self.wire, self.origin = call, call.wire, call.origin
        request = call.request
        self.method, self.path, self.authority = request.method, request.target, request.get("Host")
        self.fields = [(n, v) for n, v in _lower(request.fields) if n not in ("host", "transfer-encoding")]
        self.framing = request.get("Transfer-Encoding"), request.get("Content-Length")
        self.trailers, self.left, self.chunked = [], None, False
        if request.get("Transfer-Encoding"):
            self.chunked = True
        else:
            self.left = int(request.get("Content-Length") or 0)

    def some(self):
        if self.left == 0:
            self.call.request.body = b""
            return b""
        if self.chunked:
            data = self.wire.chunk()
            if not data:
                self.trailers, self.left = _lower(self.wire._fields()), 0
                self.call.request.body = b""
            return data
        data = self.wire.some()
        if not data:
            raise Closed()
        self.left -= len(data)
        if self.left < 0:
            raise AssertionError("more than Content-Length")
        self.call.request.body = b"" if not self.left else None
        return data

    def interim(self, status, fields=()):
        self._head(status, fields)

    def _head(self, status, fields):
        self.wire.send(f"HTTP/1.1 {status} X\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n")

    def head(self, status=200, fields=(), length=None):
        self.bodiless = status in (204, 304) or self.method == "HEAD"
        self.in_chunks = length is None and not self.bodiless
        framing = [("Transfer-Encoding", "chunked")] if self.in_chunks else [("Content-Length", length)] if length is not None else []
        self._head(status, [*fields, *framing])

    def send(self, data):
        self.wire.send(b"%x\r\n%s\r\n" % (len(data), data) if self.in_chunks and data else data)

    def end(self, trailers=()):
        if self.in_chunks:
            self.wire.send("0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in trailers) + "\r\n")

    def cut(self):
        """The connection ends in the middle."""
        self.call.close()
        with contextlib.suppress(OSError):
            self.wire.end()

    def wait_gone(self):
        """The gateway gave this request up."""
        with contextlib.suppress(ConnectionError, Closed):
            while self.wire.some():
                pass
        self.call.close()
        return True


class ServedH2:
    version = "h2"

    def __init__(self, stream, origin):
        self.stream, self.origin, pseudo = stream, origin, dict(stream.fields)
        self.method, self.path, self.authority, self.scheme = (pseudo.get(n) for n in (":method", ":path", ":authority", ":scheme"))
        self.fields = [(n, v) for n, v in stream.fields if not n.startswith(":")]
        self.framing = None, pseudo.get("content-length")

    @property
    def trailers(self):
        return self.stream.trailers

    def some(self):
        return self.stream.some()

    def interim(self, status, fields=()):
        self.stream.send_head([(":status", str(status)), *_lower(fields)])

    def head(self, status=200, fields=(), length=None):
        self.bodiless = status in (204, 304) or self.method == "HEAD"
        more = [("content-length", str(length))] if length is not None else []
        self.stream.send_head([(":status", str(status)), *_lower(fields), *more], end=self.bodiless)

    def send(self, data):
        if data:
            self.stream.send(data)

    def end(self, trailers=()):
        if not self.bodiless:
            self.stream.end(_lower(trailers))

    def cut(self):
        self.stream.reset("INTERNAL_ERROR")

    def wait_gone(self):
        return bool(self.stream.wait_over() or True)


class _Both:
    """What both share."""

    def get(self, name):
        values = [v for n, v in self.fields if n == name.lower()]
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else None

    def body(self):
        parts = []
        while data := self.some():
            parts.append(data)
        return b"".join(parts)

    def answer(self, status=200, body=b"", fields=(), known=True, trailers=()):
        self.body()
        body = body.encode() if isinstance(body, str) else body
        bodiless = status in (204, 304)
        self.head(status, fields, len(body) if known and not bodiless else None)
        if not self.bodiless:
            self.send(body)
        self.end(trailers)


class H1Served(_Both, ServedH1):
    pass


class H2Served(_Both, ServedH2):
    pass


def service(version, script, name="origin", certificate=None, **more):
    """A service that plays script(served) in that version; behind TLS with a certificate of kit.certificates."""
    if version == "h1":
        play = lambda call: script(H1Served(call))
        return TlsOrigin(certificate, name=name, script=play, **more) if certificate else Origin(name, script=play, **more)
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.cert, certificate.key)
        tls.set_alpn_protocols(["h2"])
    made = H2Origin(name, tls=tls, **more)
    made.script = lambda stream: script(H2Served(stream, made))
    return made
