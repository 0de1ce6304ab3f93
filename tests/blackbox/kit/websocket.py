"""WebSocket peers that are not ours (python3-websockets), spoken to without async: one event loop in a thread."""
import asyncio
import threading

import websockets

from . import ports

TIMEOUT = 20


class _Loop:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, coroutine, timeout=TIMEOUT):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def stop(self):
        async def cancel():
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        self.do(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


class EchoService:
    """Echoes messages; remembers what each session asked for and how it was closed: (code, reason)."""

    def __init__(self, **settings):
        self.port, self.loop = ports.free_port(), _Loop()
        self.opened, self.closed, self.changed = [], [], threading.Condition()
        self.server = self.loop.do(self._serve({"max_size": None, "ping_interval": None, **settings}))

    async def _serve(self, settings):
        return await websockets.serve(self._session, "127.0.0.1", self.port, **settings)

    async def _session(self, socket, *unused):
        with self.changed:
            self.opened.append(socket)
            self.changed.notify_all()
        try:
            async for message in socket:
                await socket.send(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            with self.changed:
                self.closed.append((socket.close_code, socket.close_reason))
                self.changed.notify_all()

    def wait_closed(self, count=1):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.closed) >= count, TIMEOUT), self.closed
            return self.closed[:count]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def close_sessions(self, code, reason=""):
        for socket in list(self.opened):
            self.loop.do(socket.close(code, reason))

    def break_sessions(self):
        """As when the process dies: without a Close."""
        for socket in list(self.opened):
            self.loop.loop.call_soon_threadsafe(socket.transport.abort)

    def stop(self):
        async def close():
            self.server.close()
            await self.server.wait_closed()

        self.loop.do(close())
        self.loop.stop()


class Clients:
    """Opens clients, which live until `stop`."""

    def __init__(self):
        self.loop, self.open = _Loop(), []

    def connect(self, port, path="/", **settings):
        async def connect():
            return await websockets.connect(f"ws://127.0.0.1:{port}{path}", **{"max_size": None, "ping_interval": None, **settings})

        client = Client(self.loop, self.loop.do(connect()))
        self.open.append(client)
        return client

    def stop(self):
        for client in self.open:
            client.socket.transport and self.loop.loop.call_soon_threadsafe(client.socket.transport.abort)
        self.loop.stop()


class Client:
    def __init__(self, loop, socket):
        self.loop, self.socket = loop, socket

    def send(self, message):
        self.loop.do(self.socket.send(message))

    def receive(self):
        return self.loop.do(self.socket.recv())

    def echo(self, message):
        self.send(message)
        assert self.receive() == message

    def ping(self, data=b"are you there"):
        async def ping():
            await (await self.socket.ping(data))

        self.loop.do(ping())

    def close(self, code=1000, reason=""):
        self.loop.do(self.socket.close(code, reason))

    def closed(self):
        """Waits for the end: (code, reason); 1006 without a Close."""
        self.loop.do(self.socket.wait_closed())
        return self.socket.close_code, self.socket.close_reason

    def is_open(self):
        return self.socket.open


# ---- by hand, where no library speaks it: over a stream of HTTP/2 ----

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode, payload=b"", masked=False):
    """A whole message. The mask is 0, which hides nothing and is a mask all the same."""
    size = len(payload)
    length, more = (size, b"") if size < 126 else (126, size.to_bytes(2, "big")) if size < 65536 else (127, size.to_bytes(8, "big"))
    return bytes((0x80 | opcode, (0x80 if masked else 0) | length)) + more + (bytes(4) if masked else b"") + payload


def close_frame(code, reason=b"", masked=False):
    return frame(CLOSE, code.to_bytes(2, "big") + reason, masked)


class Frames:
    """Reads frames from `some()`, which gives bytes, or b"" at the end."""

    def __init__(self, some):
        self.some, self.buffer = some, b""

    def _exactly(self, size):
        while len(self.buffer) < size:
            more = self.some()
            if not more:
                raise EOFError(self.buffer)
            self.buffer += more
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def next(self):
        """(opcode, payload, was it masked)"""
        first, second = self._exactly(2)
        size = second & 0x7f
        if size > 125:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        mask = self._exactly(4) if second & 0x80 else None
        payload = self._exactly(size)
        if mask:
            payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        return first & 0x0f, payload, mask is not None

    def next_close(self):
        """(code, reason), whatever comes before it."""
        while True:
            opcode, payload, _ = self.next()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
