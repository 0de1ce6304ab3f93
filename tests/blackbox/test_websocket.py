"""WebSocket through the gateway, with a client and a server that are not ours: messages, time limits, and the polite end."""
import os
import signal
import threading

import pytest

from kit import ports
from kit.gateway import upstream
from kit.websocket import Clients, EchoService

GOING_AWAY = 1001
RELOADS, MANY = 50, 200


@pytest.fixture
def service():
    made = EchoService()
    yield made
    made.stop()


@pytest.fixture
def clients():
    made = Clients()
    yield made
    made.stop()


def going_away(reason):
    return GOING_AWAY, reason


# ---- messages ----


def test_messages_of_every_length_of_header_are_echoed(gateway, service, clients):
    gw = gateway(to=service)
    client = clients.connect(gw.port, "/chat")
    for message in ("", "x", b"y" * 125, "z" * 126, b"\0" * 65535, b"\1" * 65536, "ä" * 2000000):
        client.echo(message)
    client.ping()
    client.close(1000, "done")
    assert service.wait_closed() == [(1000, "done")]
    line = gw.line(path="/chat")
    assert line["status"] == 101 and line["tunnel"] is True and line["tunnel_end"] == "client"
    assert "error" not in line and "complete" not in line


def test_subprotocol_and_compression_are_agreed_end_to_end(gateway, clients):
    service = EchoService(subprotocols=["v2.chat"], compression="deflate")
    try:
        gw = gateway(to=service)
        client = clients.connect(gw.port, subprotocols=["v1.chat", "v2.chat"], compression="deflate")
        assert client.socket.subprotocol == "v2.chat"
        assert [e.name for e in client.socket.extensions] == ["permessage-deflate"]
        client.echo("compressible " * 50000)
        client.close()
        assert gw.line(path="/")["bytes_in"] < 50000
    finally:
        service.stop()


def test_the_services_close_reaches_the_client(gateway, service, clients):
    gw = gateway(to=service)
    client = clients.connect(gw.port)
    client.echo("hello")
    service.close_sessions(4001, "not today")
    assert client.closed() == (4001, "not today")
    assert gw.line(path="/")["tunnel_end"] == "service"


def test_a_service_that_dies_ends_the_tunnel_without_a_close(gateway, service, clients):
    gw = gateway(to=service)
    client = clients.connect(gw.port)
    client.echo("hello")
    service.break_sessions()
    assert client.closed()[0] == 1006
    assert gw.line(path="/")["tunnel_end"] == "service"


def test_open_tunnels_are_counted_and_ended_ones_by_reason(gateway, service, clients):
    gw = gateway(to=service)
    opened = [clients.connect(gw.port) for _ in range(3)]
    gw.wait_for_metric(3, "maitred_tunnels")
    for client in opened:
        client.close()
    gw.wait_for_metric(0, "maitred_tunnels")
    assert gw.metric("maitred_tunnels_ended_total", reason="client") == 3


# ---- time limits ----


def test_an_idle_websocket_is_told_on_both_sides(gateway, service, clients):
    gw = gateway(to=service, timeouts={"tunnel_idle": "300ms"})
    client = clients.connect(gw.port)
    client.echo("hello")
    assert client.closed() == going_away("idle for too long")
    assert service.wait_closed() == [going_away("idle for too long")]
    line = gw.line(path="/")
    assert line["tunnel_end"] == "idle" and line["error"]["word"] == "tunnel_idle" and "complete" not in line
    assert gw.metric("maitred_tunnels_ended_total", reason="idle") == 1


def test_a_ping_now_and_then_keeps_a_websocket_from_being_idle(gateway, service, clients):
    gw = gateway(to=service, timeouts={"tunnel_idle": "400ms"})
    client = clients.connect(gw.port)
    for _ in range(8):
        client.ping()
        assert not threading.Event().wait(0.1)  # longer than the limit altogether
    client.close()
    assert gw.line(path="/")["tunnel_end"] == "client"


def test_a_lifetime_ends_a_websocket_that_is_busy(gateway, service, clients):
    gw = gateway(to=service, timeouts={"tunnel_lifetime": "500ms"})
    client = clients.connect(gw.port)
    rounds = 0
    try:
        while True:
            client.echo(f"round {rounds}")
            rounds += 1
    except Exception:
        pass
    assert rounds > 1
    assert client.closed() == going_away("lifetime is over")
    assert service.wait_closed() == [going_away("lifetime is over")]
    line = gw.line(path="/")
    assert line["tunnel_end"] == "lifetime" and line["error"]["word"] == "tunnel_lifetime"


def test_a_route_has_limits_of_its_own(gateway, service, clients):
    gw = gateway(upstreams={"app": upstream(service)}, timeouts={"tunnel_idle": "1h"}, routes=[
        {"match": {"path": "/idle"}, "proxy": "app", "tunnel_idle": "200ms"},
        {"match": {"path": "/life"}, "proxy": "app", "tunnel_lifetime": "200ms"},
        {"match": {"path": "/free"}, "proxy": "app", "tunnel_idle": "0"}])
    free = clients.connect(gw.port, "/free")
    assert clients.connect(gw.port, "/idle").closed() == going_away("idle for too long")
    assert clients.connect(gw.port, "/life").closed() == going_away("lifetime is over")
    free.echo("still here")
    free.close()


# ---- the frames around a Close, by hand ----

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
           ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CLOSED_IDLE = b"\x88\x13\x03\xe9idle for too long"


def read_masked_close(wire):
    head = wire.exactly(6)
    assert head[0] == 0x88 and head[1] & 0x80
    payload = wire.exactly(head[1] & 0x7f)
    return bytes(b ^ head[2 + i % 4] for i, b in enumerate(payload))


def test_a_close_never_stands_within_a_frame(gateway, origin):
    told, seen = threading.Event(), []

    def script(call):
        call.raw(SWITCH)
        call.raw(b"\x82\x7e\x10\x00" + b"a" * 1000)  # a frame of 4096 that comes to a stop
        seen.append(read_masked_close(call.wire))    # the client stands between frames, so its side is told at once
        call.raw(b"a" * 3096 + b"\x81\x05never")       # the rest, and a frame too many
        told.set()
        call.raw(b"\x88\x82\0\0\0\0\x03\xe9")
        call.wire.rest()
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_idle": "300ms"})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        assert wire.exactly(4) == b"\x82\x7e\x10\x00"
        assert wire.exactly(4096) == b"a" * 4096
        assert wire.exactly(len(CLOSED_IDLE)) == CLOSED_IDLE
        wire.send(b"\x88\x82\0\0\0\0\x03\xe9")
        assert wire.rest() == b""
    assert told.wait(5) and seen == [b"\x03\xe9idle for too long"]
    assert "complete" not in gw.line(path="/")


def test_what_the_client_has_sent_of_a_frame_is_completed_before_the_service_is_told(gateway, origin):
    got = []

    def script(call):
        call.raw(SWITCH)
        got.append(call.wire.exactly(6 + 10))
        got.append(read_masked_close(call.wire))
        call.raw(b"\x88\x02\x03\xe9")
        call.wire.rest()
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_idle": "300ms"})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        wire.send(b"\x81\x8a\0\0\0\0hello")
        assert wire.exactly(len(CLOSED_IDLE)) == CLOSED_IDLE
        wire.send(b"world\x88\x82\0\0\0\0\x03\xe9")
        assert wire.rest() == b""
    gw.line(path="/")
    assert got == [b"\x81\x8a\0\0\0\0helloworld", b"\x03\xe9idle for too long"]


def test_a_client_that_does_not_answer_a_close_is_cut(gateway, origin):
    def script(call):
        call.raw(SWITCH)
        read_masked_close(call.wire)
        call.raw(b"\x88\x02\x03\xe9")
        call.wire.rest()
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_idle": "300ms"})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        assert wire.exactly(len(CLOSED_IDLE)) == CLOSED_IDLE
        assert wire.is_gone()
    line = gw.line(path="/")
    assert line["complete"] is False and line["tunnel_end"] == "idle"


def test_a_slow_client_gets_all_of_a_frame_and_then_the_close(gateway, origin):
    size = 4 << 20

    def script(call):
        call.raw(SWITCH)
        call.raw(b"\x82\x7f" + size.to_bytes(8, "big") + b"a" * size)
        assert read_masked_close(call.wire) == b"\x03\xe9lifetime is over"
        call.raw(b"\x88\x02\x03\xe9")
        call.wire.rest()
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_lifetime": "500ms"})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        gw.wait_for_metric(1, "maitred_tunnels")
        assert not threading.Event().wait(0.8)  # nothing is read until its time is over
        assert wire.exactly(10 + size)[10:] == b"a" * size
        assert wire.exactly(20) == b"\x88\x12\x03\xe9lifetime is over"
        wire.send(b"\x88\x82\0\0\0\0\x03\xe9")
        assert wire.rest() == b""


def test_a_close_under_way_is_not_followed_by_another(gateway, origin):
    def script(call):
        call.raw(SWITCH)
        call.raw(b"\x88\x02\x03\xe8")
        assert call.wire.rest() == b"\x88\x82\0\0\0\0\x03\xe8"
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_idle": "300ms"})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        assert wire.exactly(4) == b"\x88\x02\x03\xe8"
        wire.send(b"\x88\x82\0\0\0\0\x03\xe8")  # and now the service waits for the connection's end, and so does the client
        assert wire.rest() == b""
    assert gw.line(path="/")["tunnel_end"] == "idle"


# ---- draining ----


def test_term_tells_both_sides_and_the_process_ends(gateway, service, clients):
    gw = gateway(to=service, timeouts={"drain": "8s"})
    opened = [clients.connect(gw.port) for _ in range(5)]
    for client in opened:
        client.echo("hello")
    gw.kill(signal.SIGTERM)
    for client in opened:
        assert client.closed() == going_away("draining")
    assert service.wait_closed(5) == [going_away("draining")] * 5
    assert gw.process.wait(15) == 0
    gw.pid = None
    assert {line["tunnel_end"] for line in gw.lines(5, status=101)} == {"draining"}


def test_the_old_process_of_an_upgrade_tells_its_clients_and_the_new_one_takes_them(gateway, service, clients):
    gw = gateway(to=service, timeouts={"drain": "8s"})
    old = clients.connect(gw.port)
    old.echo("hello")
    gw.upgrade()
    assert old.closed() == going_away("draining")
    again = clients.connect(gw.port)
    again.echo("hello again")
    gw.wait_for_old()
    again.echo("and again")
    again.close()


def test_how_long_a_tunnel_was_open_is_no_latency(gateway, service, clients):
    gw = gateway(to=service)
    client = clients.connect(gw.port)
    client.echo("hello")
    client.close()
    gw.line(status=101)
    gw.wait_for_metric(1, "maitred_requests_total", **{"class": "1xx"})
    assert gw.metric("maitred_request_duration_seconds_count") == 0


def test_a_reload_that_removes_a_listener_tells_its_clients_alone(gateway, service, clients):
    second = ports.free_port()
    gw = gateway(to=service, timeouts={"drain": "8s"})
    gw.reload({**gw.config, "listeners": [*gw.config["listeners"], f"127.0.0.1:{second}"]})
    stays, goes = clients.connect(gw.port), clients.connect(second)
    goes.echo("hello")
    gw.reload({**gw.config, "listeners": gw.config["listeners"][:1]})
    assert goes.closed() == going_away("draining")
    stays.echo("still here")
    stays.close()


def test_two_hundred_tunnels_outlive_fifty_reloads(gateway, service, clients):
    gw = gateway(to=service)
    opened = [clients.connect(gw.port, f"/{n}") for n in range(MANY)]
    for i in range(RELOADS):
        gw.reload({**gw.config, "routes": [{"match": {"path": f"/only/{i}"}, "respond": 200}, {"proxy": "app"}]})
        opened[i].echo(f"after reload {i}")
    for n, client in enumerate(opened):
        client.echo(f"{n}")
    assert gw.metric("maitred_tunnels") == MANY
    for client in opened:
        client.close()
    assert gw.metric("maitred_reloads_total", result="success") == RELOADS


def test_a_tunnel_that_opens_while_the_gateway_drains_is_told_at_once(gateway, origin):
    go = threading.Event()

    def script(call):
        go.wait(10)
        call.raw(SWITCH)
        read_masked_close(call.wire)
        call.raw(b"\x88\x02\x03\xe9")
        call.wire.rest()
        call.close()

    service = origin(script=script)
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/", fields=UPGRADE)
        service.wait_for_request()
        os.kill(gw.pid, signal.SIGTERM)
        gw.errors.wait(lambda e: "drain" in e[2], "that it drains")
        go.set()
        assert wire.response().status == 101
        assert wire.exactly(12) == b"\x88\x0a\x03\xe9draining"
        wire.send(b"\x88\x82\0\0\0\0\x03\xe9")
        assert wire.rest() == b""
    assert gw.process.wait(15) == 0
    gw.pid = None
