"""WebSocket over HTTP/2 (RFC 8441), down and up: what only one version has of the handshake is made and checked between them."""
import signal

import h2.settings
import pytest

from kit.http2 import H2Origin, h2_connect
from kit.websocket import BINARY, CLOSE, TEXT, Clients, EchoService, Frames, close_frame, frame

GOING_AWAY = 1001


@pytest.fixture
def service():
    made = EchoService(subprotocols=["v2.chat"])
    yield made
    made.stop()


@pytest.fixture
def clients():
    made = Clients()
    yield made
    made.stop()


def connect_fields(path="/", fields=()):
    return [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path), (":authority", "gateway.test"),
            ("sec-websocket-version", "13"), *fields]


class Socket:
    """A WebSocket of ours on a stream of HTTP/2."""

    def __init__(self, wire, path="/", fields=()):
        self.stream = wire.open(connect_fields(path, fields), end=False)
        self.head = self.stream.head()
        self.frames = Frames(self.stream.some)

    def field(self, name):
        return dict(self.head).get(name)

    def echo(self, payload, opcode=BINARY):
        self.stream.send(frame(opcode, payload, masked=True))
        assert self.frames.next() == (opcode, payload, False)

    def answer_close(self):
        """Reads the Close, answers it, and waits for the stream's end."""
        code = self.frames.next_close()
        self.stream.send(close_frame(code[0], masked=True), end=True)
        assert self.stream.body() == b""
        return code


def knows_extended_connect(wire):
    """Once the gateway's SETTINGS have come."""
    with wire.changed:
        assert wire.changed.wait_for(lambda: wire.h2.remote_settings.enable_connect_protocol, 10)
    return wire


# ---- down ----


def test_a_client_of_http2_speaks_with_a_service_of_http1(gateway, service):
    gw = gateway(to=service)
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        socket = Socket(wire, "/chat", [("sec-websocket-protocol", "v1.chat, v2.chat")])
        assert socket.field(":status") == "200" and socket.field("sec-websocket-protocol") == "v2.chat"
        assert not socket.field("sec-websocket-accept") and not socket.field("upgrade") and not socket.field("connection")
        for size in (0, 1, 125, 126, 65535, 65536, 1000000):
            socket.echo(b"x" * size)
        socket.echo(b"hello", TEXT)
        socket.stream.send(close_frame(1000, b"done", masked=True))
        assert socket.frames.next_close() == (1000, "done")
        assert socket.stream.body() == b""
        socket.stream.end()
    assert service.wait_closed() == [(1000, "done")]
    line = gw.line(path="/chat")
    assert line["method"] == "GET" and line["status"] == 101 and line["version"] == "2" and line["tunnel_end"] == "client" and "error" not in line


def test_the_key_of_each_handshake_is_another(gateway, service):
    gw = gateway(to=service)
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        for _ in range(3):
            Socket(wire).echo(b"hello")
    keys = {socket.request_headers["Sec-WebSocket-Key"] for socket in service.opened}
    assert len(keys) == 3


@pytest.mark.parametrize("accept", ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"])
def test_a_service_that_accepts_another_key_is_not_believed(gateway, origin, accept):
    def script(call):
        call.raw(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{accept}\r\n")
        call.wire.rest()
        call.close()

    gw = gateway(to=origin(script=script))
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        assert Socket(wire).field(":status") == "502"
    assert gw.line(path="/")["error"]["word"] == "bad_response_head"


def test_a_service_may_refuse(gateway, origin):
    gw = gateway(to=origin(script=lambda call: call.answer(403, "no")))
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        socket = Socket(wire)
        assert socket.field(":status") == "403"
        assert socket.stream.body() == b"no"


def test_many_websockets_share_a_connection_and_end_alone(gateway, service):
    gw = gateway(to=service)
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        sockets = [Socket(wire, f"/{n}") for n in range(30)]
        for n, socket in enumerate(sockets):
            socket.echo(b"%d" % n)
        sockets[0].stream.reset()
        for n, socket in enumerate(sockets[1:]):
            socket.echo(b"again %d" % n)
        gw.wait_for_metric(29, "maitred_tunnels")
    gw.wait_for_metric(0, "maitred_tunnels")


def test_an_idle_stream_is_told_and_ended(gateway, service):
    gw = gateway(to=service, timeouts={"tunnel_idle": "300ms"})
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        socket = Socket(wire)
        assert socket.answer_close() == (GOING_AWAY, "idle for too long")
    assert service.wait_closed() == [(GOING_AWAY, "idle for too long")]
    assert "complete" not in gw.line(path="/")


def test_a_stream_that_does_not_answer_is_reset_and_the_connection_lives(gateway, service):
    gw = gateway(to=service, timeouts={"tunnel_idle": "300ms"})
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        socket = Socket(wire)
        assert socket.frames.next_close() == (GOING_AWAY, "idle for too long")
        assert socket.stream.wait_over() != ""
        Socket(wire).echo(b"hello")


def test_term_tells_streams_and_the_connection_ends(gateway, service):
    gw = gateway(to=service, timeouts={"drain": "8s"})
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        sockets = [Socket(wire) for _ in range(5)]
        gw.kill(signal.SIGTERM)
        assert wire.wait_goaway() is not None
        for socket in sockets:
            assert socket.answer_close() == (GOING_AWAY, "draining")
        wire.wait_lost()
    assert gw.process.wait(15) == 0
    gw.pid = None


# ---- up ----


def allowing(script):
    return H2Origin(script=script, settings={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})


@pytest.fixture
def h2_service():
    """Echoes over HTTP/2, and remembers requests and Closes."""
    closes = []

    def echo(stream):
        stream.send_head([(":status", "200"), ("sec-websocket-protocol", "v2.chat")])
        frames = Frames(stream.some)
        while True:
            opcode, payload, masked = frames.next()
            assert masked
            stream.send(frame(opcode, payload))
            if opcode == CLOSE:
                closes.append((int.from_bytes(payload[:2], "big"), payload[2:].decode()))
                stream.end()
                assert stream.body() == b""
                return

    made = allowing(echo)
    made.closes = closes
    yield made
    made.stop()
    assert not made.faults, made.faults


def wait_threads(service):
    for thread in service.threads:
        thread.join(10)


def test_a_client_of_http1_speaks_with_a_service_of_http2(gateway, h2_service, clients):
    gw = gateway(to=h2_service, upstream_settings={"protocol": "h2"})
    client = clients.connect(gw.port, "/chat?room=1", subprotocols=["v1.chat", "v2.chat"], compression=None)  # it checks the accept
    assert client.socket.subprotocol == "v2.chat"
    for message in ("hello", b"x" * 70000, b"y" * 1000000, ""):
        client.echo(message)
    client.ping()
    client.close(1000, "done")
    assert client.closed() == (1000, "done")
    request = dict(h2_service.requests[0].fields)
    assert request[":method"] == "CONNECT" and request[":protocol"] == "websocket" and request[":path"] == "/chat?room=1"
    assert request["sec-websocket-version"] == "13" and "sec-websocket-key" not in request and "connection" not in request and "upgrade" not in request
    assert gw.line(path="/chat")["tunnel_end"] == "client"
    wait_threads(h2_service)
    assert h2_service.closes == [(1000, "done")]


def test_a_client_of_http2_speaks_with_a_service_of_http2(gateway, h2_service):
    gw = gateway(to=h2_service, upstream_settings={"protocol": "h2"})
    with knows_extended_connect(h2_connect(gw.port)) as wire:
        socket = Socket(wire)
        assert socket.field(":status") == "200" and socket.field("sec-websocket-protocol") == "v2.chat"
        socket.echo(b"x" * 300000)
        socket.stream.send(close_frame(1000, masked=True))
        assert socket.frames.next_close() == (1000, "")
        socket.stream.end()
        assert socket.stream.body() == b""
    assert gw.line(path="/")["status"] == 101


def test_an_idle_tunnel_to_a_service_of_http2_is_told_on_both_sides(gateway, h2_service, clients):
    gw = gateway(to=h2_service, upstream_settings={"protocol": "h2"}, timeouts={"tunnel_idle": "300ms"})
    client = clients.connect(gw.port, subprotocols=["v2.chat"], compression=None)
    client.echo("hello")
    assert client.closed() == (GOING_AWAY, "idle for too long")
    assert "complete" not in gw.line(path="/")
    wait_threads(h2_service)
    assert h2_service.closes == [(GOING_AWAY, "idle for too long")]


def test_a_client_of_http1_without_a_key_is_refused_before_a_service_of_http2_hears_of_it(gateway, h2_service):
    gw = gateway(to=h2_service, upstream_settings={"protocol": "h2"})
    with gw.connect() as wire:
        response = wire.get("/", fields=[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
        assert response.status == 400
    assert gw.line(path="/")["error"]["word"] == "upgrade_refused"
    assert h2_service.requests == []


def test_a_service_of_http2_that_does_not_allow_it_is_not_asked(gateway, clients):
    service = H2Origin()
    try:
        gw = gateway(to=service, upstream_settings={"protocol": "h2"})
        with knows_extended_connect(h2_connect(gw.port)) as wire:
            assert Socket(wire).field(":status") == "502"
        assert service.requests == []
    finally:
        service.stop()
