"""One TCP connection and a strict reader of HTTP/1 messages on it, for both sides.

The reader accepts exactly what RFC 9112 says a sender generates, and nothing that it says a recipient may tolerate: whatever
the gateway sends must pass here.
"""
import re
import socket
import struct

TIMEOUT = 15
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")


class Broken(AssertionError):
    """The peer sent something that is not HTTP/1.1 as it must be generated."""


class Closed(Exception):
    """The peer ended the connection where a message had to go on (or begin)."""

    def __init__(self, got=b""):
        super().__init__(f"closed after {got[-200:]!r}")
        self.got = got


class Fields(list):
    """Name and value pairs in order; names compare without case."""

    def all(self, name):
        return [v for n, v in self if n.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        if len(values) > 1:
            raise Broken(f"{name} stands {len(values)} times: {values}")
        return values[0] if values else default

    def __contains__(self, name):
        return bool(self.all(name)) if isinstance(name, str) else list.__contains__(self, name)

    def names(self):
        return [n for n, _ in self]


class Message:
    """A parsed request or response. `body` is None until it was read."""

    def __init__(self, start, fields):
        self.start, self.fields = start, fields
        self.body, self.trailers, self.interim = None, Fields(), []
        self.until_close = self.cut = False
        self.chunks = []

    def get(self, name, default=None):
        return self.fields.get(name, default)


class Response(Message):
    def __init__(self, start, fields):
        super().__init__(start, fields)
        match = re.match(r"HTTP/1\.1 ([1-9][0-9][0-9]) (.*)\Z", start, re.S)
        if not match:
            raise Broken(f"status line {start!r}")
        self.status, self.reason = int(match[1]), match[2]

    @property
    def text(self):
        return self.body.decode()


class Request(Message):
    def __init__(self, start, fields):
        super().__init__(start, fields)
        match = re.match(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.1\Z", start)
        if not match:
            raise Broken(f"request line {start!r}")
        self.method, self.target = match[1], match[2]
        if len(fields.all("Host")) != 1:
            raise Broken(f"Host stands {len(fields.all('Host'))} times")

    @property
    def path(self):
        return self.target.split("?")[0]


class Wire:
    """A connected socket. Everything that came is in `received`, everything that was sent in `sent` (unless `keep` is off)."""

    def __init__(self, sock, keep=True):
        self.sock, self.keep = sock, keep
        sock.settimeout(TIMEOUT)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.received = bytearray()
        self.eof = False

    # ---- sending ----

    def send(self, *parts):
        for part in filter(None, parts):
            self.sock.sendall(part.encode("latin-1") if isinstance(part, str) else part)
        return self

    def send_bytewise(self, data, size=1):
        data = data.encode("latin-1") if isinstance(data, str) else data
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])
        return self

    def end(self):
        """FIN: our half is over."""
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """RST, whatever is queued."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    # ---- receiving ----

    def _more(self, size=65536):
        data = self.sock.recv(size)
        if not data:
            self.eof = True
            return False
        if self.keep:
            self.received += data
        self.buffer += data
        return True

    def _line(self):
        while b"\n" not in self.buffer:
            if not self._more():
                raise Closed(self.buffer)
        line, _, self.buffer = self.buffer.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise Broken(f"a line without CR LF, or with a bare CR: {line!r}")
        return line[:-1]

    def exactly(self, size):
        parts, have = [self.buffer], len(self.buffer)
        self.buffer = b""
        while have < size:
            if not self._more(max(65536, min(size - have, 1 << 20))):
                raise Closed(b"".join(parts))
            parts.append(self.buffer)
            have += len(self.buffer)
            self.buffer = b""
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def some(self):
        """What is there, at least one byte; b"" at the end."""
        if not self.buffer:
            self._more()
        data, self.buffer = self.buffer, b""
        return data

    def rest(self):
        """Everything up to the peer's end; a reset raises ConnectionResetError."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_quiet(self, seconds=0.15):
        """Nothing comes for that long, the end neither."""
        if self.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            return not (self._more() or self.eof)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(TIMEOUT)

    def _fields(self):
        fields = Fields()
        while True:
            line = self._line()
            if not line:
                return fields
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name):
                raise Broken(f"field line {line!r}")
            value = value[1:] if value.startswith(b" ") else value
            if not VALUE.match(value) or value != value.strip(b" \t"):
                raise Broken(f"field value {line!r}")
            fields.append((name.decode(), value.decode("latin-1")))

    def head(self, kind):
        message = kind(self._line().decode("latin-1"), self._fields())
        lengths, codings = message.fields.all("Content-Length"), message.fields.all("Transfer-Encoding")
        if len(lengths) + len(codings) > 1:
            raise Broken(f"framed more than once: {message.fields}")
        if lengths and not re.match(r"[0-9]+\Z", lengths[0]):
            raise Broken(f"Content-Length {lengths[0]!r}")
        if codings and codings != ["chunked"]:
            raise Broken(f"Transfer-Encoding {codings!r}")
        return message

    def chunk(self):
        """The next chunk's data; b"" for the last one."""
        size = self._line()
        if not re.match(rb"[0-9A-Fa-f]+\Z", size):
            raise Broken(f"chunk size {size!r}")
        data = self.exactly(int(size, 16))
        if data and self.exactly(2) != b"\r\n":
            raise Broken("a chunk's data is not followed by CR LF")
        return data

    def body(self, message, until_close):
        """Reads the body that the head announces into message.body."""
        if "Transfer-Encoding" in message.fields:
            parts = []
            while True:
                try:
                    data = self.chunk()
                except Closed as closed:
                    raise Closed(b"".join(parts) + closed.got) from None
                if not data:
                    break
                parts.append(data)
            message.chunks = parts
            message.body = b"".join(parts)
            message.trailers = self._fields()
        elif "Content-Length" in message.fields:
            message.body = self.exactly(int(message.fields.get("Content-Length")))
        elif until_close:
            message.until_close = True
            message.body = self.rest()
        else:
            message.body = b""
        return message


class ClientWire(Wire):
    """Our connection to the gateway."""

    def response_head(self, method="GET"):
        """The final head; interim ones before it are in `.interim`."""
        interim = []
        while True:
            response = self.head(Response)
            if response.status == 101 or response.status >= 200:
                break
            if {"Content-Length", "Transfer-Encoding", "Connection"} & set(response.fields.names()):
                raise Broken(f"an interim answer with {response.fields}")
            interim.append(response)
        response.interim = interim
        if response.status == 204 or response.status == 101:
            assert "Content-Length" not in response.fields and "Transfer-Encoding" not in response.fields
        if response.status != 101:
            assert "Date" in response.fields, response.fields
        return response

    def response(self, method="GET"):
        response = self.response_head(method)
        if method == "HEAD" or response.status in (101, 204, 304):
            response.body = b""
            return response
        return self.body(response, until_close=True)

    def ask(self, target="/", method="GET", host="gateway.test", fields=(), body=None, version="1.1"):
        """Sends a plain request."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host}"] + [f"{n}: {v}" for n, v in fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join(lines) + "\r\n\r\n", body or b"")

    def get(self, target="/", **more):
        self.ask(target, **more)
        return self.response(more.get("method", "GET"))

    def is_closed(self):
        """The gateway ends the connection, cleanly and without another byte."""
        try:
            rest = self.rest()
        except ConnectionResetError:
            return False
        assert rest == b"", f"more bytes: {rest!r}"
        return True

    def is_gone(self):
        """The gateway ends the connection, by FIN or reset."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True


def connect(address, keep=True, receive_buffer=None, source=None):
    """`address` is a port on the loopback, a (host, port) or a unix path."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        address = ("127.0.0.1", address) if isinstance(address, int) else address
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return ClientWire(sock, keep)
