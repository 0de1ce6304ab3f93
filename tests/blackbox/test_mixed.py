"""Everything at once: bodies of all sizes and framings, both ways, over kept and broken connections, from a printed seed."""
import os
import random
import threading
import zlib

import pytest

from kit.gateway import SANITIZED
from kit.wire import Closed

SIZES = [0, 1, 2, 100, 4095, 4096, 8192, 16383, 16384, 16385, 32767, 32769, 65535, 65536, 65537, 131072, 200001, 1000003]
PATTERN = random.Random(1).randbytes(1 << 20)


def some_bytes(rng):
    size = rng.choice(SIZES)
    at = rng.randrange(len(PATTERN))
    return (PATTERN[at:] + PATTERN)[:size]


def in_chunks(data, rng):
    """A chunked body cut at random, with an extension here and there."""
    out, at = [], 0
    while at < len(data):
        size = min(len(data) - at, rng.choice([1, 7, 1000, 16384, 65536, 300000]))
        out += [b"%x%s\r\n" % (size, rng.choice([b"", b"", b";a=b"])), data[at : at + size], b"\r\n"]
        at += size
    return b"".join(out) + b"0\r\n" + rng.choice([b"", b"X-Trailer: yes\r\n"]) + b"\r\n"


def dribble(send, data, rng):
    """In pieces of any size."""
    at = 0
    while at < len(data):
        size = rng.choice([1, 50, 1500, 20000, 100000, len(data)])
        send(data[at : at + size])
        at += size


def echo(call):
    """Sends the body back, framed as the query asks, from the seed in it."""
    seed, framing, early = call.request.target.split("?")[1].split(",")
    rng = random.Random(int(seed))
    body = call.read_body() if early == "late" else b""
    if framing == "cut":
        call.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 10), body)
        call.close()
        return
    head = f"HTTP/1.1 200 OK\r\nX-Sum: {zlib.crc32(body)}\r\n".encode()
    if framing == "length":
        wire = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    elif framing == "chunked":
        wire = head + b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(body, rng)
    else:
        wire = head + b"\r\n" + body
        call.close()
    if rng.random() < 0.5:
        dribble(call.raw, wire, rng)
    else:
        call.raw(wire)


class Client(threading.Thread):
    def __init__(self, gw, seed, count):
        super().__init__()
        self.gw, self.rng, self.count, self.failed, self.log = gw, random.Random(seed), count, None, []

    def run(self):
        wire = self.gw.connect(keep=False)
        try:
            for number in range(self.count):
                wire = self.one(wire, number)
        except Exception as error:
            self.failed = (number, self.log[-1:], repr(error)[:300])
        finally:
            wire.close()

    def one(self, wire, number):
        rng = self.rng
        body, framing = some_bytes(rng), rng.choice(["length", "length", "chunked", "close", "cut"])
        method, sent_as = rng.choice(["GET", "POST", "PUT"]), rng.choice(["length", "chunked"])
        version = "1.0" if rng.random() < 0.05 else "1.1"
        self.log.append((method, len(body), sent_as, framing, version))
        if method == "GET" and rng.random() < 0.5:
            body, sent_as = b"", "none"
        if version == "1.0" and sent_as == "chunked":
            sent_as = "length"
        head = f"{method} /mixed?{rng.randrange(1 << 30)},{framing},late HTTP/{version}\r\nHost: a\r\n"
        data = {"none": b"\r\n", "length": b"Content-Length: %d\r\n\r\n" % len(body) + body,
                "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(body, rng) if sent_as == "chunked" else b""}[sent_as]
        if rng.random() < 0.05:  # a client that goes away in the middle
            wire.send(head.encode() + data[: len(data) // 2])
            wire.reset() if rng.random() < 0.5 else wire.close()
            return self.gw.connect(keep=False)
        dribble(wire.send, head.encode() + data, rng) if rng.random() < 0.5 else wire.send(head.encode() + data)
        if framing == "cut":
            with pytest.raises((Closed, ConnectionResetError)):
                wire.response(method)
            wire.close()
            return self.gw.connect(keep=False)
        response = wire.response(method)
        assert response.status == 200 and response.body == body, (response.status, len(response.body), len(body))
        assert response.get("X-Sum") == str(zlib.crc32(body))
        if response.get("Connection") == "close" or response.until_close:
            wire.close()
            return self.gw.connect(keep=False)
        return wire


@pytest.mark.slow
@pytest.mark.tsan
@pytest.mark.timeout(150)
@pytest.mark.parametrize("settings", [{}, {"limits": {"splice": "0"}}, {"policies": [{"headers": {"response": {"set": {"X-A": "b"}}}}]},
                                      {"limits": {"splice": 1, "body_buffer": "16KiB"}}], ids=["usual", "copied", "with a policy", "all spliced"])
def test_bodies_of_all_sizes_and_framings_arrive_as_they_were_sent(gateway, origin, settings):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    print("SEED =", seed)
    gw = gateway(to=origin(script=echo), upstream_settings={"retry": {"budget": "100%"}}, **settings)
    clients = [Client(gw, seed + i, 40 if not SANITIZED else 20) for i in range(6)]
    [c.start() for c in clients]
    [c.join() for c in clients]
    assert not [c.failed for c in clients if c.failed], f"SEED={seed}: {[c.failed for c in clients if c.failed]}"


@pytest.mark.parametrize("size", [1, 3, 50])
def test_an_answer_may_come_in_any_pieces(gateway, origin, size):
    def script(call):
        call.wire.send_bytewise("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-T: t\r\n\r\n", size)

    with gateway(to=origin(script=script)).connect() as wire:
        for _ in range(2):
            response = wire.get("/", fields=[("TE", "trailers"), ("Connection", "TE")])
            assert [i.status for i in response.interim] == [103]
            assert (response.get("X-A"), response.body, response.trailers) == ("b", b"hello!", [("X-T", "t")])
