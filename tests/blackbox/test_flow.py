"""Bodies that are long, slow, unwanted or endless: what is held of them is bounded, and everybody waits only so long."""
import select
import socket
import threading
import time

import pytest

from kit.gateway import SANITIZED, wait_until
from kit.wire import Closed

MEGA = 1 << 20
BLOCK = bytes(range(256)) * 1024  # 256 KiB


def upload(wire, size, path="/upload", stop=None):
    """Sends a body of that many bytes in a thread of its own; the number that went out is in `.sent` of the thread."""
    wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")

    def run():
        try:
            while thread.sent < size:
                thread.sent += wire.sock.send(BLOCK[: min(len(BLOCK), size - thread.sent)])
        except OSError as error:
            thread.error = error

    thread = threading.Thread(target=run, daemon=True)
    thread.sent, thread.error = 0, None
    wire.sock.settimeout(60)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("policies", [[], [{"headers": {"request": {"set": {"X-A": "b"}}}}]], ids=["plain", "with a policy"])
@pytest.mark.parametrize("splice", ["16KiB", "0"], ids=["spliced", "copied"])
def test_a_large_upload_arrives_byte_for_byte_and_is_never_held(gateway, origin, splice, policies):
    size = 300 * MEGA if not SANITIZED else 40 * MEGA
    result = {}

    def script(call):
        left, wrong = size, 0
        while left:
            data = call.wire.exactly(min(left, len(BLOCK)))
            wrong += data != BLOCK[: len(data)]
            left -= len(data)
        call.request.body = b""
        result["wrong"] = wrong
        call.answer(200, "got it")

    service = origin(script=script)
    gw = gateway(to=service, limits={"splice": splice, "drain": "0"}, routes=[{"proxy": "app", "policies": policies}])
    before = gw.rss()
    with gw.connect(keep=False) as wire:
        thread = upload(wire, size)
        service.wait_for_request()
        service.wires[0].keep = False
        highest = before
        while thread.is_alive():
            highest = max(highest, gw.rss())
            thread.join(0.02)
        assert wire.response().text == "got it"
    assert result["wrong"] == 0
    assert highest - before < 8 * MEGA * (8 if SANITIZED else 1)
    assert gw.line(path="/upload")["bytes_in"] == size


@pytest.mark.slow
def test_a_chunked_upload_of_many_bytes_is_never_held(gateway, origin):
    size = 100 * MEGA if not SANITIZED else 20 * MEGA
    got = []

    def script(call):
        total = 0
        while data := call.wire.chunk():
            total += len(data)
        call.wire._fields()
        call.request.body = b""
        got.append(total)
        call.answer(200, "got it")

    service = origin(script=script)
    gw = gateway(to=service)
    before = gw.rss()
    with gw.connect(keep=False) as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        service.wait_for_request()
        service.wires[0].keep = False
        wire.sock.settimeout(60)
        chunk = b"40000\r\n" + BLOCK + b"\r\n"
        for _ in range(size // len(BLOCK)):
            wire.send(chunk)
        wire.send("0\r\n\r\n")
        assert wire.response().text == "got it"
    assert got == [size]
    assert gw.rss() - before < 8 * MEGA * (8 if SANITIZED else 1)


@pytest.mark.parametrize("splice", ["16KiB", "0"], ids=["spliced", "copied"])
def test_a_service_that_does_not_read_stops_the_client_and_costs_no_memory(gateway, origin, splice):
    release = threading.Event()

    def script(call):
        release.wait(30)
        left = size
        while left:
            left -= len(call.wire.exactly(min(left, len(BLOCK))))
        call.request.body = b""
        call.answer(200, "got it")

    size = 64 * MEGA
    service = origin(script=script, receive_buffer=65536)
    gw = gateway(to=service, limits={"splice": splice})
    before = gw.rss()
    with gw.connect(keep=False) as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        thread = upload(wire, size)
        service.wait_for_request()
        service.wires[0].keep = False
        settle(lambda: thread.sent)
        assert thread.sent < 24 * MEGA  # what sockets, kernel pipes and one pipe of ours hold
        assert gw.rss() - before < 4 * MEGA * (8 if SANITIZED else 1)
        release.set()
        assert wire.response().text == "got it"
        thread.join()


def settle(value, quiet=0.3):
    """Until a figure has stood still for that long."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("splice", ["16KiB", "0"], ids=["spliced", "copied"])
def test_a_client_that_does_not_read_stops_the_service_and_costs_no_memory(gateway, origin, framing, splice):
    size = 64 * MEGA
    sent = [0]

    def script(call):
        call.wire.sock.settimeout(60)
        head = {"length": f"Content-Length: {size}\r\n", "chunked": "Transfer-Encoding: chunked\r\n", "close": ""}[framing]
        call.raw(f"HTTP/1.1 200 OK\r\n{head}\r\n")
        while sent[0] < size:
            call.raw(b"40000\r\n" + BLOCK + b"\r\n" if framing == "chunked" else BLOCK)
            sent[0] += len(BLOCK)
        if framing == "chunked":
            call.raw("0\r\n\r\n")
        if framing == "close":
            call.close()

    service = origin(script=script)
    gw = gateway(to=service, limits={"splice": splice})
    before = gw.rss()
    with gw.connect(keep=False, receive_buffer=65536) as wire:
        wire.ask("/download")
        head = wire.response_head()
        settle(lambda: sent[0])
        assert sent[0] < 24 * MEGA
        assert gw.rss() - before < 4 * MEGA * (8 if SANITIZED else 1)
        if "Content-Length" in head.fields:
            left = size
            while left:
                data = wire.exactly(min(left, len(BLOCK)))
                assert data == BLOCK[: len(data)]
                left -= len(data)
        else:
            assert len(wire.body(head, until_close=False).body) == size
    assert gw.line(path="/download")["bytes_out"] == size


@pytest.mark.slow
def test_a_large_download_arrives_byte_for_byte(gateway, origin):
    size = 200 * MEGA if not SANITIZED else 20 * MEGA

    def script(call):
        call.raw(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
        for _ in range(size // len(BLOCK)):
            call.raw(BLOCK)

    gw = gateway(to=origin(script=script))
    before = gw.rss()
    with gw.connect(keep=False) as wire:
        wire.ask("/")
        wire.response_head()
        for _ in range(size // len(BLOCK)):
            assert wire.exactly(len(BLOCK)) == BLOCK
        assert gw.rss() - before < 8 * MEGA * (8 if SANITIZED else 1)


# ---- early answers ----


def refuse_early(status):
    def script(call):
        call.raw(f"HTTP/1.1 {status} Too Early\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry")
        call.close()
    return script


@pytest.mark.parametrize("status", [401, 413])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_early_answer_of_the_service_reaches_a_client_that_is_still_sending(gateway, origin, status, framing):
    gw = gateway(to=origin(script=refuse_early(status)))
    with gw.connect(keep=False) as wire:
        if framing == "length":
            thread = upload(wire, 50 * MEGA)
        else:
            wire.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            thread = threading.Thread(target=send_chunks, args=(wire,), daemon=True)
            thread.start()
        response = wire.response()
        assert (response.status, response.text) == (status, "sorry")
        thread.join(10)  # the gateway takes only so much more: the client is stopped, not drained
        assert not thread.is_alive()
        wire.close()
    assert gw.line(path="/upload")["status"] == status


def send_chunks(wire):
    try:
        while True:
            wire.sock.sendall(b"40000\r\n" + BLOCK + b"\r\n")
    except OSError:
        pass


def test_a_local_refusal_reaches_a_client_that_is_still_sending(gateway):
    gw = gateway(routes=[{"respond": {"status": 401, "body": "who are you?"}}])
    with gw.connect(keep=False) as wire:
        thread = upload(wire, 50 * MEGA)
        response = wire.response()
        assert (response.status, response.text) == (401, "who are you?")
        wire.close()
        thread.join(10)


def test_a_body_over_the_limit_is_refused_with_413_while_it_is_sent(gateway, origin):
    service = origin()
    gw = gateway(to=service, limits={"body": "1MiB"})
    with gw.connect(keep=False) as wire:
        thread = upload(wire, 50 * MEGA)
        assert wire.response().status == 413
        wire.close()
        thread.join(10)
    assert service.requests == []
    assert gw.line(path="/upload")["error"]["word"] == "body_too_large"


def test_a_routes_own_body_limit_takes_the_place_of_the_general_one(gateway, origin):
    gw = gateway(to=origin(), limits={"body": "10"}, routes=[{"match": {"path": "/big"}, "proxy": "app", "body_limit": "1000"}, {"proxy": "app"}])
    with gw.connect() as wire:
        wire.ask("/big", "POST", body=b"x" * 1000)
        assert wire.response().status == 200
        wire.ask("/big", "POST", body=b"x" * 1001)
        assert wire.response().status == 413
    assert gw.get("/small", method="POST", body=b"x" * 11).status == 413


def test_a_small_unwanted_body_is_dropped_and_the_connection_kept(gateway):
    gw = gateway(routes=[{"respond": {"status": 403, "body": "no"}}])
    with gw.connect() as wire:
        for _ in range(5):
            wire.ask("/", "POST", body=b"x" * 100000)
            response = wire.response()
            assert response.status == 403 and "Connection" not in response.fields


def test_an_unwanted_body_in_chunks_is_dropped_and_what_follows_is_a_request(gateway):
    gw = gateway(routes=[{"respond": {"status": 403, "body": "no"}}])
    with gw.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        assert wire.response().status == 403
        wire.send("lo\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 403


def test_a_service_that_answers_early_and_goes_on_reading_gets_the_rest(gateway, origin):
    """It may: an answer that comes first does not end the request."""
    got = []

    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        got.append(len(call.read_body()))
        call.raw("4\r\nlate\r\n0\r\n\r\n")

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        head = wire.response_head()
        assert wire.chunk() == b"early"
        wire.send("world")
        assert wire.body(head, until_close=False).body == b"late"
    assert got == [10]


# ---- slow ones ----


def test_a_request_head_that_comes_too_slowly_is_refused_with_408(gateway):
    gw = gateway(timeouts={"request_head": "200ms"})
    with gw.connect() as wire:
        wire.send("GET / HTTP/1.1\r\nHost:")
        response = wire.response()
        assert response.status == 408 and response.get("Connection") == "close"
        assert wire.is_closed()
    assert gw.line(status=408)["error"]["word"] == "head_timeout"


def test_drops_of_a_head_do_not_extend_its_time(gateway):
    gw = gateway(timeouts={"request_head": "400ms"})
    with gw.connect() as wire:
        wire.sock.settimeout(0.05)
        drops, answered = 0, False
        while not answered:
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n" if drops == 0 else f"X-{drops}: y\r\n")
            drops += 1
            try:
                answered = wire._more()
            except TimeoutError:
                assert drops < 100
        wire.sock.settimeout(10)
        assert wire.response().status == 408


def test_a_connection_without_a_request_is_closed_quietly(gateway):
    gw = gateway(timeouts={"request_head": "200ms", "keep_alive": "200ms"})
    with gw.connect() as wire:
        assert wire.is_closed()
    with gw.connect() as wire:
        assert wire.get("/").status == 200
        assert wire.is_closed()


def test_a_body_that_stalls_is_refused_with_408(gateway, origin):
    def script(call):
        with pytest.raises((Closed, ConnectionResetError)):
            call.read_body()
        call.request.body = b""
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"request_body_idle": "200ms"})
    with gw.connect() as wire:
        wire.send("POST /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        assert wire.response().status == 408
        assert wire.is_closed()
    assert gw.line(path="/stall")["error"] == {"side": "client", "word": "body_timeout"}


def test_a_body_that_comes_slowly_but_steadily_is_taken(gateway, origin):
    service = origin()
    gw = gateway(to=service, timeouts={"request_body_idle": "500ms"})
    with gw.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        for i in range(10):
            assert wire.is_quiet(0.1)
            wire.send(str(i))
        assert wire.response().status == 200
    assert service.requests[0].body == b"0123456789"


def test_a_client_that_takes_nothing_of_its_answer_is_cut(gateway, origin):
    def script(call):
        call.raw(f"HTTP/1.1 200 OK\r\nContent-Length: {64 * MEGA}\r\n\r\n")
        for _ in range(64 * MEGA // len(BLOCK)):
            call.raw(BLOCK)

    gw = gateway(to=origin(script=script), timeouts={"send_idle": "300ms"})
    with gw.connect(keep=False, receive_buffer=16384) as wire:
        wire.ask("/slow")
        line = gw.line(path="/slow")
        assert line["error"] == {"side": "client", "word": "client_send_timeout"} and line["complete"] is False
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()


def test_a_service_that_takes_nothing_of_its_request_is_given_up(gateway, origin):
    def script(call):
        gone.wait(20)
        call.request.body = b""
        call.close()

    gone = threading.Event()
    gw = gateway(to=origin(script=script, receive_buffer=16384), upstream_settings={"timeouts": {"send_idle": "300ms"}})
    with gw.connect(keep=False) as wire:
        thread = upload(wire, 64 * MEGA)
        assert wire.response().status == 504
        wire.close()
        thread.join(10)
    gone.set()
    assert gw.line(path="/upload")["error"] == {"side": "upstream", "word": "request_send_timeout"}


def test_a_slow_reader_of_a_slow_service_is_not_cut_for_either(gateway, origin):
    """Only who is waited for can be late."""
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):
            call.raw("5\r\nhello\r\n")
            assert not pause.wait(0.1)
        call.raw("0\r\n\r\n")

    pause = threading.Event()
    gw = gateway(to=origin(script=script), timeouts={"send_idle": "300ms"}, upstream_settings={"timeouts": {"body_idle": "300ms"}})
    with gw.connect() as wire:
        assert wire.get("/").body == b"hello" * 6


# ---- limits ----


def test_accepting_pauses_at_the_connection_limit_and_goes_on_below_it(gateway):
    gw = gateway(limits={"connections": 3}, workers=1)
    wires = [gw.connect() for _ in range(3)]  # none of which has asked yet
    gw.wait_for_metric(3, "maitred_connections")
    waiting = gw.connect()  # the kernel takes it
    waiting.ask("/")
    assert waiting.is_quiet(0.3)
    assert gw.metric("maitred_connections") == 3
    wires.pop().close()
    assert waiting.response().status == 200
    for wire in [*wires, waiting]:
        wire.close()


def test_at_the_connection_limit_the_oldest_idle_connection_makes_room(gateway):
    gw = gateway(limits={"connections": 3}, workers=1)
    wires = [gw.connect() for _ in range(3)]
    for wire in wires:
        assert wire.get("/").status == 200
    with gw.connect() as late:
        assert late.get("/").status == 200
        assert wires[0].is_closed()
        assert wires[1].get("/").status == 200
    for wire in wires:
        wire.close()


@pytest.mark.tsan
def test_the_connection_limit_holds_over_all_workers(gateway):
    gw = gateway(limits={"connections": 8}, workers=2)
    wires = [gw.connect() for _ in range(24)]
    for wire in wires:
        wire.ask("/")
    served, left = 0, list(wires)
    while left:
        ready = wait_until(lambda: [w for w in left if has_answer(w)], "someone is served")
        assert gw.metric("maitred_connections") <= 8
        for wire in ready:
            assert wire.response().status == 200
            wire.close()
            left.remove(wire)
            served += 1
    assert served == 24


def has_answer(wire):
    return select.select([wire.sock], [], [], 0)[0]


def test_a_connection_ends_after_its_number_of_requests(gateway):
    with gateway(limits={"requests_per_connection": 3}).connect() as wire:
        assert [wire.get("/").get("Connection") for _ in range(3)] == [None, None, "close"]
        assert wire.is_closed()
