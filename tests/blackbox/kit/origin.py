"""A service to put behind the gateway, under full control: it records exact bytes and plays scripts.

An Origin listens and runs one thread a connection.  A script is a function `script(call)` for one request, or `on_connect(wire)`
for a whole connection; without one, requests are answered 200 with a body that says who answered.
"""
import contextlib
import json
import queue
import socket
import threading

from . import ports
from .wire import Broken, Closed, Request, Wire


class Call:
    """One request at an origin, its body unread, and the means to answer it."""

    def __init__(self, origin, wire, request, number):
        self.origin, self.wire, self.request, self.number = origin, wire, request, number
        self.closing = False

    def read_body(self):
        if self.request.body is None:
            self.wire.body(self.request, until_close=False)
        return self.request.body

    def answer(self, status=200, body=b"", fields=(), reason="X"):
        """A complete answer with Content-Length."""
        self.read_body()
        body = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status} {reason}"] + [f"{n}: {v}" for n, v in fields]
        if status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        # in one piece: a kill comes before it or behind it
        self.wire.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if self.request.method == "HEAD" else body))

    def raw(self, *parts):
        """Exact bytes."""
        self.wire.send(*parts)

    def close(self):
        """Ends the connection once the script returns."""
        self.closing = True

    def reset(self):
        self.closing = True
        self.wire.reset()


def say_who(call):
    """The default script."""
    body = call.read_body()
    call.answer(200, json.dumps({"origin": call.origin.name, "method": call.request.method, "target": call.request.target,
                                 "fields": call.request.fields, "body": body.decode("latin-1")}),
                [("Content-Type", "application/json")])


class Origin:
    def __init__(self, name="origin", script=say_who, on_connect=None, port=None, unix=None, receive_buffer=None, host="127.0.0.1"):
        self.name, self.script, self.on_connect = name, script, on_connect
        self.requests = []          # Request, in order of arrival
        self.wires = []             # every connection there was
        self.arrived = queue.Queue()  # Request, for whoever waits for one
        self.faults = []            # what a script or the gateway did wrong
        self.lock = threading.Lock()
        self.threads = []
        if unix:
            self.sock, self.address = socket.socket(socket.AF_UNIX), f"unix:{unix}"
            self.sock.bind(unix)
        else:
            self.port = port or ports.free_port()
            self.address = f"{host}:{self.port}"
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.bind((host, self.port))
        self.sock.listen(512)
        self.stopped = False
        self._spawn(self._accept)

    def _spawn(self, what, *args):
        thread = threading.Thread(target=what, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.stopped:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            wire = Wire(sock)
            with self.lock:
                self.wires.append(wire)
            self._spawn(self._serve, wire)

    def _serve(self, wire):
        try:
            if self.on_connect:
                self.on_connect(wire)
            else:
                self._requests(wire)
        except (ConnectionError, Closed, TimeoutError):
            pass  # the gateway went away: the test looks at what it wanted
        except OSError as error:
            if not self.stopped and error.errno != 9:  # 9: our own close under a read
                self.faults.append(repr(error))
        except Exception as error:  # told by the test's end
            self.faults.append(repr(error))
        finally:
            with contextlib.suppress(OSError):
                wire.close()

    def _requests(self, wire):
        number = 0
        while True:
            try:
                request = wire.head(Request)
            except Closed as closed:
                if closed.got:
                    raise
                return
            number += 1
            with self.lock:
                self.requests.append(request)
            self.arrived.put(request)
            call = Call(self, wire, request, number)
            self.script(call)
            if call.closing:
                return
            call.read_body()

    def wait_for_request(self, timeout=10):
        return self.arrived.get(timeout=timeout)

    @property
    def bytes_received(self):
        """All that ever came in, connection after connection."""
        return b"".join(bytes(w.received) for w in self.wires)

    def stop_listening(self):
        self.stopped = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.sock.close()

    def kill(self):
        """As a crash: nothing listens, every connection is reset."""
        self.stop_listening()
        with self.lock:
            wires = list(self.wires)
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.kill()
        for thread in self.threads:
            thread.join(5)


__all__ = ["Broken", "Call", "Origin", "say_who"]
