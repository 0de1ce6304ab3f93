"""Upgrade: what comes behind an accepted one is bytes, both ways, each half ending alone."""
import asyncio
import threading

import pytest
import websockets

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "raw")]
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


def echo(call):
    """Accepts the upgrade and sends everything back in capitals, then its own end."""
    assert call.request.get("Upgrade") == "raw"
    assert call.request.get("Connection").lower() == "upgrade"
    call.raw(SWITCH)
    while True:
        data = call.wire.some()
        if not data:
            break
        call.raw(data.upper())
    call.raw(b"bye")
    call.close()


def test_an_upgrade_is_tunnelled_both_ways(gateway, origin):
    gw = gateway(to=origin(script=echo))
    with gw.connect() as wire:
        response = wire.get("/up", fields=UPGRADE)
        assert response.status == 101
        assert response.get("Upgrade") == "raw" and response.get("Connection").lower() == "upgrade"
        for word in (b"one", b"two", b"three"):
            wire.send(word)
            assert wire.exactly(len(word)) == word.upper()
        wire.end()
        assert wire.rest() == b"bye"  # our end went through, and the other half lived on
    line = gw.line(path="/up")
    assert line["status"] == 101 and line["tunnel"] is True and "error" not in line


def test_the_services_half_may_end_first(gateway, origin):
    heard = []

    def script(call):
        call.raw(SWITCH + "that was all")
        call.wire.end()
        heard.append(call.wire.rest())
        call.close()

    service = origin(script=script)
    gw = gateway(to=service)
    with gw.connect() as wire:
        assert wire.get("/up", fields=UPGRADE).status == 101
        assert wire.rest() == b"that was all"
        wire.send(b"and this is more").end()
        gw.line(path="/up")
    for thread in service.threads[1:]:
        thread.join(5)
    assert heard == [b"and this is more"]


def test_bytes_sent_before_the_upgrade_was_accepted_reach_the_service_behind_it(gateway, origin):
    with gateway(to=origin(script=echo)).connect() as wire:
        wire.ask("/", fields=UPGRADE).send(b"impatient")
        assert wire.response().status == 101
        assert wire.exactly(9) == b"IMPATIENT"
        wire.end()
        assert wire.rest() == b"bye"


def test_bytes_behind_a_refused_upgrade_are_the_next_request(gateway, origin):
    def script(call):
        call.answer(200, call.request.path)

    with gateway(to=origin(script=script)).connect() as wire:
        wire.ask("/refused", fields=UPGRADE)
        wire.ask("/next")
        assert wire.response().text == "/refused"
        assert wire.response().text == "/next"


def test_many_bytes_go_through_a_tunnel_unharmed(gateway, origin):
    size = 8 << 20

    def script(call):
        call.raw(SWITCH)
        left = size
        while left:
            data = call.wire.some()
            call.raw(data)
            left -= len(data)
        call.close()

    with gateway(to=origin(script=script)).connect(keep=False) as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        block = bytes(range(256)) * 256
        sender = threading.Thread(target=lambda: [wire.sock.sendall(block) for _ in range(size // len(block))])
        sender.start()
        got = wire.exactly(size)
        sender.join()
        assert got == block * (size // len(block))


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_reset_of_one_side_reaches_the_other(gateway, origin, who):
    gone = threading.Event()

    def script(call):
        call.raw(SWITCH)
        assert call.wire.exactly(5) == b"hello"
        if who == "service":
            call.reset()
            return
        call.raw(b"hello")
        try:
            assert call.wire.some() == b""
        except ConnectionResetError:
            pass
        gone.set()
        call.close()

    gw = gateway(to=origin(script=script))
    wire = gw.connect()
    assert wire.get("/up", fields=UPGRADE).status == 101
    wire.send(b"hello")
    if who == "service":
        assert wire.is_gone()
        wire.close()
    else:
        assert wire.exactly(5) == b"hello"
        wire.reset()
        assert gone.wait(10)
    line = gw.line(path="/up")
    assert line["error"]["side"] == ("upstream" if who == "service" else "client"), line


def test_a_tunnel_outlives_the_timeouts_of_requests(gateway, origin):
    """Twice the limits pass with nothing sent."""
    gw = gateway(to=origin(script=echo), timeouts={"exchange": "150ms", "request_body_idle": "150ms", "keep_alive": "150ms"},
                 upstream_settings={"timeouts": {"response": "150ms", "body_idle": "150ms", "idle": "150ms"}})
    with gw.connect() as wire:
        assert wire.get("/", fields=UPGRADE).status == 101
        assert wire.is_quiet(0.4)
        wire.send(b"still here")
        assert wire.exactly(10) == b"STILL HERE"


def test_an_http_1_0_client_cannot_upgrade(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.ask("/", fields=UPGRADE, version="1.0")
        assert wire.response().status == 200
    assert "Upgrade" not in service.requests[0].fields


def test_a_connect_request_is_not_proxied_to_anywhere(gateway, origin):
    service = origin()
    gw = gateway(to=service, routes=[{"match": {"prefix": "/"}, "proxy": "app"}])
    with gw.connect() as wire:
        wire.send(f"CONNECT {service.address} HTTP/1.1\r\nHost: {service.address}\r\n\r\n")
        response = wire.response("CONNECT")
        assert response.status in (400, 404, 405, 501)
        assert wire.is_closed()
    assert service.wires == []


# ---- WebSocket, with a client and a server that are not ours ----


@pytest.fixture
def websocket_service():
    """A WebSocket echo server: its port, and how many sessions ended."""
    from kit import ports

    port, ready, stop = ports.free_port(), threading.Event(), None

    async def serve():
        nonlocal stop
        stop = asyncio.get_running_loop().create_future()

        async def session(socket, *unused):
            async for message in socket:
                await socket.send(message)

        async with websockets.serve(session, "127.0.0.1", port, max_size=None):
            ready.set()
            await stop

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    yield f"127.0.0.1:{port}"
    loop.call_soon_threadsafe(stop.set_result, None)
    thread.join(10)
    loop.close()


def test_websocket_messages_are_echoed_through_the_gateway(gateway, websocket_service):
    gw = gateway(to=websocket_service)

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{gw.port}/chat?room=1", max_size=None) as socket:
            for message in ("hello", "ä" * 1000, b"\0" * 100000, b"x" * 3000000, ""):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())

    asyncio.run(talk())
    line = gw.line(path="/chat")
    assert line["status"] == 101 and line["tunnel"] is True and "error" not in line


@pytest.mark.tsan
def test_many_websockets_at_once_keep_apart(gateway, websocket_service):
    gw = gateway(to=websocket_service)

    async def talk(number):
        async with websockets.connect(f"ws://127.0.0.1:{gw.port}/{number}") as socket:
            for i in range(20):
                await socket.send(f"{number}:{i}")
                assert await socket.recv() == f"{number}:{i}"

    async def all_of_them():
        await asyncio.gather(*(talk(n) for n in range(40)))

    asyncio.run(all_of_them())
    assert gw.metric("maitred_connections_accepted_total") == 40
