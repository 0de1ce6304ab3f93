"""Clients that go on for as long as something else happens, and remember whatever went wrong."""
import threading
import time

from .wire import connect


class Load:
    """Keep-alive clients (and one new connection a request, for some of them) asking as fast as they are answered."""

    def __init__(self, port, clients=4, fresh=1, ask=None, pause=0.0):
        self.port, self.pause = port, pause
        self.ask = ask or (lambda wire, number, count: wire.get(f"/{number}/{count}"))
        self.stop_now = threading.Event()
        self.done, self.failed, self.reconnects = [0] * (clients + fresh), [], 0
        self.threads = [threading.Thread(target=self._kept if i < clients else self._fresh, args=(i,)) for i in range(clients + fresh)]
        for thread in self.threads:
            thread.start()

    def _one(self, wire, number):
        response = self.ask(wire, number, self.done[number])
        if response.status != 200:
            self.failed.append((number, response.start, response.body))
        self.done[number] += 1
        if self.pause:
            self.stop_now.wait(self.pause)
        return response

    def _kept(self, number):
        try:
            with connect(self.port, keep=False) as wire:
                while not self.stop_now.is_set():
                    if self._one(wire, number).get("Connection") == "close":
                        self.reconnects += 1
                        wire.close()
                        wire.__init__(connect(self.port).sock, keep=False)
        except Exception as error:
            self.failed.append((number, self.done[number], repr(error)))

    def _fresh(self, number):
        try:
            while not self.stop_now.is_set():
                with connect(self.port, keep=False) as wire:
                    self._one(wire, number)
        except Exception as error:
            self.failed.append((number, self.done[number], repr(error)))

    def served(self, more, timeout=30):
        """Waits until so many more requests have been served."""
        target, deadline = sum(self.done) + more, time.monotonic() + timeout
        while sum(self.done) < target and not self.failed:
            assert time.monotonic() < deadline, f"only {sum(self.done)} of {target} served"
            time.sleep(0.005)

    def stop(self):
        self.stop_now.set()
        for thread in self.threads:
            thread.join(30)
        return sum(self.done)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.stop()
        if kind is None:
            assert not self.failed, self.failed[:5]
