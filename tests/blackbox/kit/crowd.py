"""A bounded number of clients that ask in parallel and say exactly what they saw: answers, errors, answers that were cut.

    seen = crowd.ask(gw.port, 60, clients=3, method="POST")      # to its end
    with Crowd(gw.port) as seen: ...; seen.more(50)              # while something happens
"""
import re
import threading
from collections import Counter, namedtuple

from .wire import Closed, connect

ASKED_MOST = 20000  # a crowd ends by itself

# `status` 0: no answer at all; `word`: the gateway's own, where the answer is its problem document
Seen = namedtuple("Seen", "method path status who word complete body fields")


class Crowd:
    """Each client has a connection of its own, and one request after the other on it."""

    def __init__(self, port, count=None, clients=3, method="GET", prefix="", pause=0.001):
        self.port, self.method, self.prefix, self.pause = port, method, prefix, pause
        self.left, self.number = ASKED_MOST if count is None else count, 0
        self.seen, self.broken = [], []
        self.changed, self.stopping = threading.Condition(), threading.Event()
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    # ---- what was seen ----

    @property
    def failed(self):
        return [s for s in self.seen if s.status != 200 or not s.complete]

    @property
    def cut(self):
        return [s for s in self.seen if s.status and not s.complete]

    def words(self):
        return Counter(s.word or s.status for s in self.failed)

    def who(self):
        return Counter(s.who for s in self.seen if s.who)

    # ---- its course ----

    def more(self, count):
        """So many more have been answered, whatever the answer."""
        with self.changed:
            wanted = len(self.seen) + count
            assert self.changed.wait_for(lambda: len(self.seen) >= wanted or self.broken, 30), f"{len(self.seen)} of {wanted}"
        return self

    def wait(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.broken, self.broken[:3]
        return self

    def stop(self):
        self.stopping.set()
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()

    # ---- a client ----

    def _next(self):
        with self.changed:
            if self.left == 0 or self.stopping.is_set():
                return None
            self.left -= 1
            self.number += 1
            return f"{self.prefix}/{self.number}"

    def _client(self):
        wire = None
        try:
            while path := self._next():
                wire = wire or connect(self.port, keep=False)
                seen, goes_on = self._one(wire, path)
                with self.changed:
                    self.seen.append(seen)
                    self.changed.notify_all()
                if not goes_on:
                    wire.close()
                    wire = None
                self.stopping.wait(self.pause)
        except Exception as error:
            with self.changed:
                self.broken.append(repr(error))
                self.changed.notify_all()
        finally:
            if wire:
                wire.close()

    def _one(self, wire, path):
        """What came, and whether the connection serves on."""
        try:
            wire.ask(path, self.method, body=b"pay 5" if self.method == "POST" else None)
            answer = wire.response_head(self.method)
        except (Closed, ConnectionError):
            return Seen(self.method, path, 0, None, None, False, b"", []), False
        body, complete = self._body(wire, answer)
        word = re.search(rb"urn:maitred:problem:(\w+)", body)
        seen = Seen(self.method, path, answer.status, answer.get("X-Who"), word and word[1].decode(), complete, body, answer.fields)
        return seen, complete and answer.get("Connection") != "close"

    @staticmethod
    def _body(wire, answer):
        try:
            wire.body(answer, until_close=True)
            assert not answer.until_close, "its end would say nothing"
            return answer.body, True
        except Closed as closed:
            return closed.got, False
        except ConnectionError:
            return b"", False


def ask(port, count, **more):
    """So many requests, to the last answer."""
    return Crowd(port, count, **more).wait()


__all__ = ["Crowd", "Seen", "ask"]
