"""Services whose behaviour is switched while they run, each counting what it got.

    a = Faulty("a", "h2");  a.be(RESET);  crowd.ask(gw.port, 60);  a.count

A behaviour holds from the next request on.  REFUSE is another thing: nothing listens, and connections that were open are closed.
"""
import contextlib
import socket
import threading

from . import http2, ports
from .http2 import StreamReset
from .versions import service
from .wire import TIMEOUT

WELL = "well"                    # 200, and who it is in X-Who
REFUSE = "refuse"                # nothing listens
RESET = "reset"                  # the request is read, then the connection (HTTP/2: the stream) is reset
CLOSE = "close"                  # the same, but the connection ends
REFUSE_STREAM = "refuse_stream"  # HTTP/2: REFUSED_STREAM, which says that nothing was done
CUT = "cut"                      # half of the body that was announced, then it breaks
HANG = "hang"                    # the request is read, and that is all
HANG_BODY = "hang_body"          # the same behind half of the body
ERROR = "error"                  # 503
EVERY_OTHER = "every_other"      # well and 503 in turn
HALF_OPEN = "half_open"          # HTTP/1: a connection is accepted and at once ended in its direction

HALF = b"h" * 50


class Faulty:
    """A service on a port of its own; `count` is the requests it got, `probes` those for /health."""

    def __init__(self, name, version="h1", host=None, port=None):
        self.name, self.version, self.behaviour = name, version, WELL
        self.delay = 0.0             # seconds, before each answer
        self.probes_see = None       # the behaviour towards /health, where it is another
        self.count = self.probes = self.serving = self.serving_most = 0
        self.got = []                # (method, path, body)
        self.changed, self.released, self.hanging = threading.Condition(), threading.Event(), []
        self.more = {"host": host} if host else {}
        self.port, self.inner, self.faults = port or ports.free_port(), None, []
        self._open()
        self.address = self.inner.address

    # ---- switching ----

    def be(self, behaviour):
        if behaviour == REFUSE and self.inner:
            self._close()
        elif behaviour != REFUSE and not self.inner:
            self._open()
        self.behaviour = behaviour
        return self

    def let_go(self):
        """Requests that hang are given up, and further ones are not held."""
        with self.changed:
            self.released.set()
            hanging, self.hanging = self.hanging, []
        for served in hanging:
            self._give_up(served)

    def wait_for(self, count):
        """So many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.count >= count, TIMEOUT), f"{self.name} got {self.count} of {count}"
        return self

    def stop(self):
        self.let_go()
        if self.inner:
            self._close()

    def _open(self):
        inner = service(self.version, self._play, self.name, port=self.port, **self.more)
        if self.version == "h1":
            inner.on_connect = lambda wire: self._connected(inner, wire)
        self.inner = inner

    def _close(self):
        inner, self.inner = self.inner, None
        inner.stop()
        self.faults += inner.faults

    def _connected(self, inner, wire):
        if self.behaviour == HALF_OPEN:
            wire.end()
        inner._requests(wire)

    # ---- serving ----

    def _play(self, served):
        body, is_probe = served.body(), served.path == "/health"
        with self.changed:
            if is_probe:
                self.probes += 1
            else:
                self.count += 1
                self.serving += 1
                self.serving_most = max(self.serving_most, self.serving)
                self.got.append((served.method, served.path, body))
            number = self.count
            self.changed.notify_all()
        try:
            self._behave(served, self.probes_see if is_probe and self.probes_see else self.behaviour, number)
        finally:
            with self.changed:
                self.serving -= not is_probe

    def _behave(self, served, behaviour, number):
        if self.delay:
            self.released.wait(self.delay)
        if behaviour == ERROR or (behaviour == EVERY_OTHER and number % 2 == 0):
            self._answer(served, 503, "no")
        elif behaviour == RESET:
            self._reset(served)
        elif behaviour == CLOSE:
            self._end(served)
        elif behaviour == REFUSE_STREAM:
            served.stream.reset("REFUSED_STREAM")
        elif behaviour in (CUT, HANG_BODY):
            served.head(200, [("x-who", self.name)], 2 * len(HALF))
            served.send(HALF)
            served.cut() if behaviour == CUT else self._hang(served)
        elif behaviour == HANG:
            self._hang(served)
        else:  # REFUSE and HALF_OPEN say nothing of connections that are there
            self._answer(served, 200, self.name)

    def _answer(self, served, status, body):
        """In one piece: a kill comes before it or behind it."""
        fields = [("x-who", self.name)]
        if served.version == "h1":
            served.call.answer(status, body, fields)
        else:
            http2.answer(served.stream, status, body.encode(), fields)

    @staticmethod
    def _reset(served):
        served.call.reset() if served.version == "h1" else served.cut()

    @staticmethod
    def _end(served):
        if served.version == "h1":
            served.call.close()
        else:
            with contextlib.suppress(OSError):
                served.stream.wire.sock.shutdown(socket.SHUT_RDWR)

    def _hang(self, served):
        """Until the gateway gives it up, or the test does."""
        with self.changed:
            if not self.released.is_set():
                self.hanging.append(served)
        if self.released.is_set():
            self._give_up(served)
        with contextlib.suppress(StreamReset, TimeoutError):
            served.wait_gone()

    @staticmethod
    def _give_up(served):
        with contextlib.suppress(OSError, StreamReset):
            if served.version == "h1":
                served.wire.sock.shutdown(socket.SHUT_RDWR)
            else:
                served.cut()
                with served.stream.wire.changed:
                    served.stream.code = served.stream.code or "ours"
                    served.stream.wire.changed.notify_all()
