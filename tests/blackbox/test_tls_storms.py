"""Streams of HTTP/2 over TLS that go on for long, while the configuration is reloaded again and again and the process is replaced."""
import pytest

from kit.gateway import THREAD_SANITIZED, upstream
from kit.http2 import h2_connect, request_fields
from kit.versions import service
from test_tls import authority, secure  # noqa: F401: fixtures

RELOADS, CONNECTIONS, STREAMS = 24 if not THREAD_SANITIZED else 8, 2, 4


def echo(served):
    served.head(200)
    while data := served.some():
        served.send(data)
    served.end()


class Slow:
    """A stream that says a little at a time, and hears it again."""

    def __init__(self, wire, number):
        self.number, self.said, self.heard = number, b"", b""
        self.stream = wire.open(request_fields("POST", f"/{number}", authority="a.test", scheme="https"), end=False)

    def say(self, text):
        piece = f"{self.number}:{text}\n".encode() * 40
        self.said += piece
        self.stream.send(piece)
        while len(self.heard) < len(self.said):
            self.heard += self.stream.some()
        assert self.heard == self.said

    def end(self):
        self.stream.send(b"last", end=True)
        assert dict(self.stream.head())[":status"] == "200"
        assert self.stream.body() == b"last"


def variant(gw, number):
    """Each time other routes, policies, and settings of the upstream."""
    policies = [{"headers": {"response": {"set": {"X-Generation": str(number)}}}}] if number % 2 else []
    return {**gw.config, "routes": [{"match": {"path": f"/only/{number}"}, "respond": 200}, {"policies": policies, "proxy": "app"}],
            "upstreams": {"app": {**gw.config["upstreams"]["app"], "keep_alive_connections": 16 + number % 5}}}


@pytest.mark.slow
@pytest.mark.tsan
@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", ["h1", "h2"])
def test_slow_streams_over_tls_go_through_reloads_and_an_upgrade(secure, authority, version):  # noqa: F811
    origin = service(version, echo)
    certificate = authority.issue("a.test")
    gw = secure(certificate, upstreams={"app": upstream(origin, protocol="h2" if version == "h2" else "http1")}, routes=[{"proxy": "app"}],
                timeouts={"drain": "60s"})
    wires = [h2_connect(gw.tls_port, tls=authority.context(alpn=["h2"]), name="a.test") for _ in range(CONNECTIONS)]
    try:
        streams = [Slow(wire, f"{w}.{n}") for w, wire in enumerate(wires) for n in range(STREAMS)]
        for number in range(RELOADS):
            for stream in streams:
                stream.say(number)
            if number % 8 == 3:
                authority.issue("a.test", file=f"renewed{number}").put_at(certificate)
            gw.reload(variant(gw, number))
        assert not [w for w in wires if w.goaway or w.lost], "no reload closes a connection"
        old = gw.pid
        gw.upgrade()
        assert gw.pid != old
        for wire in wires:
            wire.wait_goaway()
        gw.reload(variant(gw, RELOADS))
        for number in range(3):
            for stream in streams:
                stream.say(f"after {number}")
        with h2_connect(gw.tls_port, tls=authority.context(alpn=["h2"]), name="a.test") as fresh:
            new = Slow(fresh, "new")
            new.say("to the next process")
            new.end()
        for stream in streams:
            stream.end()
        gw.wait_for_old()
        assert not [w.broken for w in wires if w.broken]
    finally:
        for wire in wires:
            wire.close()
        origin.stop()
