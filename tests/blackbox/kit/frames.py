"""HTTP/2 by hand: any frame, well-formed or not, and whatever comes back (RFC 9113, RFC 7541).

Nothing here keeps rules for what it sends: a test builds the frame that it means.  What is received is taken apart strictly enough
to be looked at: frames, header blocks through HPACK, error codes by name.
"""
import socket
import struct
from collections import namedtuple

import hpack

from .wire import TIMEOUT, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
TYPES = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE) = range(1, 7)
ENABLE_CONNECT_PROTOCOL = 8
CODES = ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR REFUSED_STREAM CANCEL "
         "COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED").split()
WINDOW = 65535

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "gateway.test")]


def request(*more, **pseudo):
    """A plain request's fields; request(method="POST", path=None) changes or leaves out pseudo-fields, further fields follow."""
    fields = [(n, pseudo.get(n[1:], v)) for n, v in REQUEST]
    return [(n, v) for n, v in fields if v is not None] + list(more)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Its bytes; `length` says another length than it has."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return b"".join(struct.pack(">HI", name, value) for name, value in pairs)


def _integer(value, bits, first):
    if value < (1 << bits) - 1:
        return bytes([first | value])
    out, value = [first | ((1 << bits) - 1)], value - ((1 << bits) - 1)
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def _octets(value):
    value = value.encode("latin-1") if isinstance(value, str) else value
    return _integer(len(value), 7, 0) + value


def literals(fields):
    """A header block in which everything is literal and stays out of the tables: any bytes can stand in it, and no state is kept."""
    return b"".join(b"\x00" + _octets(name) + _octets(value) for name, value in fields)


def table_size_update(size):
    return _integer(size, 5, 0x20)


def indexed(number):
    return _integer(number, 7, 0x80)


def indexing(name, value):
    """A literal that goes into the dynamic table."""
    return b"\x40" + _octets(name) + _octets(value)


class Frame(namedtuple("Frame", "kind flags stream payload fields")):
    @property
    def code(self):
        """The error code's name, of RST_STREAM and GOAWAY."""
        at = 0 if self.kind == RST_STREAM else 4
        number = struct.unpack_from(">I", self.payload, at)[0]
        return CODES[number] if number < len(CODES) else hex(number)

    @property
    def last_stream(self):
        return struct.unpack_from(">I", self.payload)[0] & 0x7FFFFFFF

    @property
    def number(self):
        """Of WINDOW_UPDATE."""
        return struct.unpack(">I", self.payload)[0]

    @property
    def ends(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def status(self):
        return dict(self.fields or ()).get(":status")

    def __repr__(self):
        name = TYPES[self.kind] if self.kind < len(TYPES) else hex(self.kind)
        more = f" {self.code}" if self.kind in (RST_STREAM, GOAWAY) else f" {self.fields}" if self.fields else f" {len(self.payload)} bytes"
        return f"<{name} {self.flags:#x} on {self.stream}{more}>"


class Lost(Exception):
    """The connection ended (or was reset) where a frame was waited for."""


class FramePeer:
    """One end of a connection; either role."""

    def __init__(self, wire):
        self.wire, self.sock = wire, wire.sock
        wire.keep = False
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24
        self.seen, self.block = [], None
        self.answers_pings = self.acknowledges = True
        self.their_settings = {}

    # ---- sending ----

    def send_bytes(self, *parts):
        self.sock.sendall(b"".join(parts))
        return self

    def send(self, kind, flags=0, stream=0, payload=b"", length=None):
        return self.send_bytes(frame(kind, flags, stream, payload, length))

    def headers(self, stream, fields, end=True, block=None, flags=END_HEADERS):
        block = literals(fields) if block is None else block
        return self.send(HEADERS, flags | (END_STREAM if end else 0), stream, block)

    def data(self, stream, payload=b"", end=False):
        return self.send(DATA, END_STREAM if end else 0, stream, payload)

    def settings(self, *pairs):
        return self.send(SETTINGS, payload=settings(*pairs))

    def reset(self, stream, code="CANCEL"):
        return self.send(RST_STREAM, 0, stream, struct.pack(">I", CODES.index(code)))

    def window(self, stream, increment):
        return self.send(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))

    def goaway(self, last_stream=0, code="NO_ERROR"):
        return self.send(GOAWAY, 0, 0, struct.pack(">II", last_stream, CODES.index(code)))

    def ping(self, data=b"12345678"):
        return self.send(PING, 0, 0, data)

    # ---- receiving ----

    def next(self, timeout=TIMEOUT):
        """The next frame; SETTINGS and PING are answered as they come. Lost at the end; TimeoutError."""
        self.sock.settimeout(timeout)
        try:
            head = self._exactly(9)
            size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            payload = self._exactly(size)
        except ConnectionError as error:
            raise Lost(f"{error!r} after {self.seen[-6:]}") from None
        finally:
            self.sock.settimeout(TIMEOUT)
        got = Frame(kind, flags, stream, payload, self._fields(kind, flags, payload))
        self.seen.append(got)
        self._react(got)
        return got

    def _exactly(self, size):
        while len(self.wire.buffer) < size:
            if not self.wire._more():
                raise Lost(f"closed after {self.seen[-6:]}")
        data, self.wire.buffer = self.wire.buffer[:size], self.wire.buffer[size:]
        return data

    def _fields(self, kind, flags, payload):
        if kind == HEADERS:
            pad = payload[0] if flags & PADDED else 0
            at = (1 if flags & PADDED else 0) + (5 if flags & HAS_PRIORITY else 0)
            self.block = payload[at : len(payload) - pad]
        elif kind == CONTINUATION:
            self.block += payload
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS:
            return [(str(n), str(v)) for n, v in self.decoder.decode(self.block)]
        return None

    def _react(self, got):
        if got.kind == SETTINGS and not got.flags & ACK:
            for at in range(0, len(got.payload), 6):
                name, value = struct.unpack_from(">HI", got.payload, at)
                self.their_settings[name] = value
            if HEADER_TABLE_SIZE in self.their_settings:
                self.encoder.header_table_size = min(4096, self.their_settings[HEADER_TABLE_SIZE])
            if self.acknowledges:
                self.send(SETTINGS, ACK)
        if got.kind == PING and not got.flags & ACK and self.answers_pings:
            self.send(PING, ACK, 0, got.payload)

    def until(self, fits, timeout=TIMEOUT):
        """Frames up to the first that fits, which is returned."""
        while True:
            got = self.next(timeout)
            if fits(got):
                return got

    def until_kind(self, kind, stream=None):
        return self.until(lambda f: f.kind == kind and (stream is None or f.stream == stream))

    def rest(self):
        """All frames up to the end of the connection."""
        frames = []
        try:
            while True:
                frames.append(self.next())
        except Lost:
            return frames

    # ---- what is expected ----

    def is_up(self):
        """A PING comes back: all that was sent before has been looked at, and the connection lives."""
        self.ping(b"still up")
        self.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == b"still up")
        return True

    def fails_with(self, *codes):
        """A connection error: GOAWAY with one of these codes, then the end."""
        try:
            got = self.until(lambda f: f.kind == GOAWAY and f.code != "NO_ERROR")
        except Lost as lost:
            raise AssertionError(f"no GOAWAY but an end: {lost}") from None
        assert got.code in codes, f"{got}, not {codes}: {self.seen[-6:]}"
        self.rest()
        return got

    def resets(self, stream, *codes):
        """A stream error: RST_STREAM with one of these codes; the connection lives."""
        try:
            got = self.until(lambda f: f.kind == RST_STREAM and f.stream == stream or f.kind == GOAWAY)
        except Lost as lost:
            raise AssertionError(f"no RST_STREAM but an end: {lost}") from None
        assert got.kind == RST_STREAM and got.code in codes, f"{got}, not {codes}: {self.seen[-6:]}"
        assert self.is_up()
        return got

    def answer(self, stream):
        """A complete answer: (status, fields, body, trailers)."""
        head, body, trailers = None, b"", []
        while True:
            got = self.next()
            if got.stream != stream or got.kind not in (DATA, HEADERS, CONTINUATION, RST_STREAM):
                assert got.kind != GOAWAY or got.code == "NO_ERROR", got
                continue
            assert got.kind != RST_STREAM, got
            if got.kind == DATA:
                assert head, "DATA before the head"
                body += got.payload
            elif got.fields is not None and not (got.status or "2").startswith("1"):
                head, trailers = (got.fields, trailers) if head is None else (head, got.fields)
            if got.ends:
                return int(dict(head)[":status"]), head, body, trailers

    def close(self):
        self.wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class FrameClient(FramePeer):
    """Our connection to the gateway."""

    def __init__(self, wire, *pairs, start=True):
        super().__init__(wire)
        if start:
            self.send_bytes(PREFACE, frame(SETTINGS, payload=settings(*pairs)))

    def met(self):
        """Both sides' SETTINGS have been exchanged."""
        acked = lambda f: f.kind == SETTINGS and f.flags & ACK
        self.until(acked)
        if not self.their_settings:
            self.until(lambda f: f.kind == SETTINGS and not f.flags & ACK)
        return self


def frames_to(port, *pairs, start=True, **more):
    """A client on a fresh connection, its preface sent."""
    return FrameClient(connect(port, **more), *pairs, start=start)


class FrameServer(FramePeer):
    """The service's end of a connection that the gateway has opened."""

    def welcome(self, *pairs, settings=True):
        """Takes the client's preface and sends ours, which has to come before anything else."""
        if (got := self._exactly(len(PREFACE))) != PREFACE:
            raise AssertionError(f"no preface: {got!r}")
        if settings:
            self.settings(*pairs)
        first = self.next()
        assert first.kind == SETTINGS and not first.flags & ACK, first
        return self

    def next_request(self):
        """The next complete request head: (stream, fields)."""
        got = self.until(lambda f: f.fields is not None)
        return got.stream, got.fields

    def respond(self, stream, status=200, body=b"", fields=()):
        self.headers(stream, [(":status", str(status)), *fields], end=not body)
        if body:
            self.data(stream, body, end=True)


def shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
