"""HTTP/2 as it is meant, on python3-h2, both sides: it keeps every rule and holds the gateway to them.

A connection has a reader thread; each stream is waited for by whoever uses it.  A window is given back as bytes are read, so one who
does not read stops the sender.
"""
import contextlib
import queue
import select
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from . import ports
from .frames import CODES
from .wire import TIMEOUT, connect

CONNECTION_WINDOW = 1 << 26  # so that one stream's unread bytes leave room for the others


class StreamReset(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class ConnectionLost(ConnectionError):
    """The connection ended before the stream did."""


def _text(fields):
    return [(n.decode("latin-1") if isinstance(n, bytes) else n, v.decode("latin-1") if isinstance(v, bytes) else v) for n, v in fields]


class H2Stream:
    def __init__(self, wire, number):
        self.wire, self.id = wire, number
        self.fields, self.interim, self.trailers = None, [], []
        self.waiting = []      # (data, what it took from the window), not read yet
        self.received = 0
        self.ended, self.code = False, None

    # ---- receiving ----

    def _wait(self, ready, what, timeout):
        with self.wire.changed:
            if not self.wire.changed.wait_for(lambda: ready() or self.code or self.wire.lost, timeout):
                raise TimeoutError(f"stream {self.id}: no {what} in {timeout} s")
            if not ready():
                raise StreamReset(self.code) if self.code else ConnectionLost(f"stream {self.id}: {self.wire.lost}")

    def head(self, timeout=TIMEOUT):
        self._wait(lambda: self.fields is not None, "head", timeout)
        return self.fields

    def next_interim(self, index=0, timeout=TIMEOUT):
        self._wait(lambda: len(self.interim) > index, "interim answer", timeout)
        return self.interim[index]

    def some(self, timeout=TIMEOUT):
        """Bytes that came; b"" at the end."""
        self._wait(lambda: self.waiting or self.ended, "body", timeout)
        with self.wire.changed:
            if not self.waiting:
                return b""
            data, size = self.waiting.pop(0)
            if size and not self.wire.lost:
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.wire.h2.acknowledge_received_data(size, self.id)
                    self.wire._flush()
            return data or self.some(timeout)

    def body(self, timeout=TIMEOUT):
        parts = []
        while data := self.some(timeout):
            parts.append(data)
        return b"".join(parts)

    def wait_over(self, timeout=TIMEOUT):
        """Reset by the peer (the code), or its connection gone ("")."""
        with self.wire.changed:
            if not self.wire.changed.wait_for(lambda: self.code or self.wire.lost, timeout):
                raise TimeoutError(f"stream {self.id} lives after {timeout} s")
            return self.code or ""

    # ---- sending ----

    def send_head(self, fields, end=False, flush=True):
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields]
        self.wire._do(lambda c: c.send_headers(self.id, fields, end_stream=end), flush)

    def send(self, data, end=False, timeout=TIMEOUT):
        view, deadline = memoryview(data), time.monotonic() + timeout
        while True:
            with self.wire.changed:
                self._check()
                c = self.wire.h2
                room = min(c.local_flow_control_window(self.id), c.max_outbound_frame_size)
                if len(view) and room <= 0:
                    if not self.wire.changed.wait(deadline - time.monotonic()):
                        raise TimeoutError(f"stream {self.id}: no window")
                    continue
                part, view = view[: max(room, 0)], view[max(room, 0) :]
                last = end and not len(view)
                if len(part) or last:
                    self.wire._do(lambda c: c.send_data(self.id, bytes(part), end_stream=last))
                if not len(view):
                    return

    def _check(self):
        if self.code:
            raise StreamReset(self.code)
        if self.wire.lost:
            raise ConnectionLost(self.wire.lost)

    def end(self, trailers=None):
        if trailers:
            self.send_head(trailers, end=True)
        else:
            self.wire._do(lambda c: c.end_stream(self.id))

    def reset(self, code="CANCEL"):
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.wire._do(lambda c: c.reset_stream(self.id, CODES.index(code)))


class H2Wire:
    """One connection. `on_request(stream)` makes it a server's."""

    def __init__(self, sock, on_request=None, settings=None):
        self.sock, self.on_request = sock, on_request
        self.changed, self.out = threading.Condition(), bytearray()
        self.streams, self.lost, self.goaway, self.broken = {}, "", None, []
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=on_request is None, header_encoding=None))
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=on_request is None, initial_values={**dict(self.h2.local_settings), **settings})
        self.h2._frame_dispatch_table[hyperframe.frame.GoAwayFrame] = self._on_goaway  # theirs ends what is still in progress
        sock.setblocking(False)
        with self.changed:
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(CONNECTION_WINDOW)
            self._flush()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    # ---- bytes; `changed` is held ----

    def _flush(self):
        """All that h2 has to say. While nothing is taken, what comes is read: or both sides could wait for each other."""
        self.out += self.h2.data_to_send()
        while self.out and not self.lost:
            try:
                del self.out[: self.sock.send(self.out[:65536])]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                readable, writable, _ = select.select([self.sock], [self.sock], [], TIMEOUT)
                if readable:
                    self._receive()
                    self.out += self.h2.data_to_send()
                elif not writable:
                    self._lose("nothing is taken")
            except OSError as error:
                self._lose(repr(error))

    def _lose(self, why):
        self.lost = self.lost or why or "closed"
        self.changed.notify_all()

    def _receive(self):
        try:
            data = self.sock.recv(1 << 17)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError) as error:
            return self._lose(repr(error))
        if not data:
            return self._lose("closed")
        try:
            for event in self.h2.receive_data(data):
                self._on(event)
        except h2.exceptions.ProtocolError as error:
            self.broken.append(repr(error))
            self._lose(f"broken: {error!r}")
        self.changed.notify_all()

    def _read(self):
        while not self.lost:
            pending = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
            try:
                ready = pending or select.select([self.sock], [], [], 0.5)[0]
            except (OSError, ValueError):
                ready = True
            if ready:
                with self.changed:
                    self._receive()
                    self._flush()

    def _do(self, what, flush=True):
        with self.changed:
            if self.lost:
                raise ConnectionLost(self.lost)
            try:
                what(self.h2)
            except (h2.exceptions.StreamClosedError, KeyError):  # the second: it has been forgotten already
                raise StreamReset("STREAM_CLOSED") from None
            if flush:
                self._flush()

    # ---- events ----

    def _stream(self, event):
        return self.streams.setdefault(event.stream_id, H2Stream(self, event.stream_id))

    def _on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = self._stream(event)
            stream.fields = _text(event.headers)
            self.on_request(stream)
        elif isinstance(event, h2.events.ResponseReceived):
            self._stream(event).fields = _text(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self._stream(event).interim.append(_text(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            self._stream(event).trailers = _text(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream = self._stream(event)
            stream.waiting.append((event.data, event.flow_controlled_length))
            stream.received += len(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            self._stream(event).ended = True
        elif isinstance(event, h2.events.StreamReset):
            code = int(event.error_code)
            self._stream(event).code = CODES[code] if code < len(CODES) else hex(code)

    def _on_goaway(self, frame):
        """No further streams; those that it leaves out have surely not been processed."""
        self.goaway = frame
        for stream in self.streams.values():
            if self.on_request is None and stream.id > frame.last_stream_id and not stream.ended:
                stream.code = stream.code or "REFUSED_STREAM"
        return [], []

    # ---- for users ----

    def open(self, fields, end=True):
        """Client: a new stream, once the peer allows one more."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.lost or self.goaway or self.h2.open_outbound_streams < self.h2.remote_settings.max_concurrent_streams, TIMEOUT):
                raise TimeoutError("no stream is allowed")
            if self.lost or self.goaway:
                raise ConnectionLost(self.lost or "going away")
            stream = H2Stream(self, self.h2.get_next_available_stream_id())
            self.streams[stream.id] = stream
            stream.send_head(fields, end)
            return stream

    def wait_goaway(self, timeout=TIMEOUT):
        with self.changed:
            if not self.changed.wait_for(lambda: self.goaway is not None or self.lost, timeout):
                raise TimeoutError("no GOAWAY")
            return self.goaway

    def wait_lost(self, timeout=TIMEOUT):
        with self.changed:
            if not self.changed.wait_for(lambda: self.lost, timeout):
                raise TimeoutError("the connection lives")
            return self.lost

    def say_goaway(self, last_stream, code="NO_ERROR"):
        """Only says it: the streams up to there go on."""
        with self.changed:
            frame = hyperframe.frame.GoAwayFrame(0)
            frame.last_stream_id, frame.error_code = last_stream, CODES.index(code)
            self.h2._prepare_for_sending([frame])
            self._flush()

    def close(self):
        self.lost = self.lost or "closed by us"
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self.thread:
            self.thread.join(5)
        self.sock.close()
        assert not self.broken, self.broken

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def request_fields(method="GET", path="/", authority="gateway.test", scheme="http", fields=()):
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *fields]


def h2_connect(address, settings=None, tls=None, name="gateway.test"):
    """`tls` is an SSLContext that offers h2."""
    sock = connect(address, keep=False).sock
    if tls:
        sock = tls.wrap_socket(sock, server_hostname=name)
        assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
    return H2Wire(sock, settings=settings)


class H2Origin:
    """A service: script(stream) runs in a thread for each request."""

    def __init__(self, name="origin", script=None, settings=None, port=None, tls=None, host="127.0.0.1"):
        self.name, self.script, self.settings, self.tls = name, script or (lambda s: answer(s, body=name.encode())), settings, tls
        self.port = port or ports.free_port()
        self.address = f"{host}:{self.port}"
        self.wires, self.faults, self.arrived, self.requests = [], [], queue.Queue(), []
        self.stopped = False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, self.port))
        self.sock.listen(512)
        self.threads = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while not self.stopped:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            thread.start()

    def _serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock.settimeout(TIMEOUT)
                sock = self.tls.wrap_socket(sock, server_side=True)
            self.wires.append(H2Wire(sock, self._on_request, self.settings))
        except OSError:
            sock.close()  # a client that does not trust us: the test sees it on its side

    def _on_request(self, stream):
        self.requests.append(stream)
        self.arrived.put(stream)
        thread = threading.Thread(target=self._run, args=(stream,), daemon=True)
        thread.start()
        self.threads.append(thread)  # started: whoever stops this joins it

    def _run(self, stream):
        try:
            self.script(stream)
        except (StreamReset, ConnectionError):
            pass  # the gateway gave it up: the test looks at what it wanted
        except Exception as error:
            if not self.stopped:
                self.faults.append(repr(error))

    def wait_for_request(self, timeout=10):
        return self.arrived.get(timeout=timeout)

    def stop_listening(self):
        self.stopped = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def kill(self):
        """As a crash: nothing listens, every connection ends."""
        self.stop_listening()
        for wire in self.wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.stop_listening()
        for wire in self.wires:
            try:
                wire.close()
            except AssertionError as error:
                self.faults.append(str(error))
        for thread in self.threads:
            thread.join(5)


def answer(stream, status=200, body=b"", fields=(), length=True):
    """Reads the request and answers it."""
    stream.body()
    more = [("content-length", str(len(body)))] if length and status not in (204, 304) else []
    is_head = dict(stream.fields)[":method"] == "HEAD"
    bare = is_head or not body
    with stream.wire.changed:  # in one piece: a kill comes before it or behind it
        stream.send_head([(":status", str(status)), *fields, *more], end=bare, flush=bare)
        if not bare:
            stream.send(body, end=True)
