"""What is tried again, where, how often, and what never is."""
import contextlib
import socket
import threading
import time

import pytest

from kit import ports
from kit.origin import say_who
from kit.wire import Request

QUICK = {"retry": {"backoff": "0"}}


def closed_address():
    return f"127.0.0.1:{ports.free_port()}"


def closes_first(times, then=say_who):
    """Closes connections after reading a request, so many times, then answers."""
    left = [times]
    lock = threading.Lock()

    def script(call):
        with lock:
            left[0] -= 1
            closing = left[0] >= 0
        if closing:
            call.request.body = b""
            call.close()
        else:
            then(call)

    return script


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_refused_connection_is_tried_again_elsewhere_whatever_the_method(gateway, origin, method):
    service = origin()
    gw = gateway(to=[closed_address(), closed_address(), service], workers=1, upstream_settings=QUICK)
    with gw.connect() as wire:
        for _ in range(6):
            wire.ask("/", method, body=b"hello" if method == "POST" else None)
            response = wire.response()
            assert response.status == 200
    assert len(service.requests) == 6
    if method == "POST":
        assert all(r.body == b"hello" for r in service.requests)
    assert any(l.get("retries", 0) == 2 and l["tries"] == 3 for l in gw.lines(6, path="/"))


def test_all_refused_is_a_502_after_the_tries_allowed(gateway):
    gw = gateway(to=[closed_address() for _ in range(5)], upstream_settings={"retry": {"attempts": 3, "backoff": "0"}})
    assert gw.get("/").status == 502
    line = gw.line(path="/")
    assert line["tries"] == 3 and line["error"]["word"] == "connect_refused"


def test_one_attempt_means_no_retry(gateway, origin):
    gw = gateway(to=[closed_address(), origin()], workers=1, upstream_settings={"retry": {"attempts": 1}})
    with gw.connect() as wire:
        assert sorted(wire.get("/").status for _ in range(4)) == [200, 200, 502, 502]


def test_a_connection_closed_without_an_answer_is_tried_again_for_an_idempotent_method(gateway, origin):
    first, second = origin("first", script=closes_first(100)), origin("second")
    gw = gateway(to=[first, second], workers=1, upstream_settings=QUICK)
    with gw.connect() as wire:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            for _ in range(2):
                wire.ask("/", method, body=b"x" if method == "PUT" else None)
                assert wire.response(method).status == 200
    assert len(first.requests) >= 6


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_post_is_not_tried_again_once_it_was_sent(gateway, origin, how):
    def script(call):
        call.read_body()
        call.close() if how == "close" else call.reset()

    services = [origin(n, script=script) for n in "ab"]
    gw = gateway(to=services, upstream_settings=QUICK)
    with gw.connect() as wire:
        wire.ask("/", "POST", body=b"pay 5")
        assert wire.response().status == 502
    assert sum(len(s.requests) for s in services) == 1
    assert gw.line(path="/")["tries"] == 1


def test_an_unknown_method_is_not_tried_again(gateway, origin):
    services = [origin(n, script=closes_first(9)) for n in "ab"]
    assert gateway(to=services, upstream_settings=QUICK).get("/", method="FROB").status == 502
    assert sum(len(s.requests) for s in services) == 1


def test_a_put_is_tried_again_with_its_whole_body(gateway, origin):
    first, second = origin("first", script=lambda call: (call.read_body(), call.close())), origin("second")
    gw = gateway(to=[first, second], workers=1, upstream_settings=QUICK)
    body = bytes(range(256)) * 100
    with gw.connect() as wire:
        for _ in range(2):
            wire.ask("/", "PUT", body=body)
            assert wire.response().status == 200
        wire.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        assert wire.response().status == 200
        wire.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        assert wire.response().status == 200
    assert len(first.requests) >= 2
    assert [r.body for r in second.requests] == [body, body, b"abcdef", b"abcdef"]


def test_a_body_larger_than_the_replay_is_not_sent_twice(gateway, origin):
    services = [origin(n, script=lambda call: (call.wire.exactly(200000), call.__setattr__("closing", True), setattr(call.request, "body", b"")))
                for n in "ab"]
    gw = gateway(to=services, upstream_settings=QUICK)
    with gw.connect() as wire:
        wire.ask("/", "PUT", body=b"x" * 1000000)
        assert wire.response().status == 502
    assert sum(len(s.requests) for s in services) == 1


def test_an_answer_that_has_begun_is_never_replaced_by_another(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        call.close()

    services = [origin(n, script=script) for n in "ab"]
    gw = gateway(to=services, upstream_settings=QUICK)
    with gw.connect() as wire:
        wire.ask("/")
        assert wire.response_head().status == 200
        with contextlib.suppress(ConnectionResetError):
            assert wire.rest() == b"half"
    assert sum(len(s.requests) for s in services) == 1


def test_a_malformed_answer_is_not_tried_again(gateway, origin):
    services = [origin(n, script=lambda call: (call.raw("nonsense\r\n\r\n"), call.close())) for n in "ab"]
    assert gateway(to=services, upstream_settings=QUICK).get("/").status == 502
    assert sum(len(s.requests) for s in services) == 1


def test_a_connect_that_times_out_is_tried_elsewhere(gateway, origin):
    full = socket.socket()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    full.bind(("127.0.0.1", ports.free_port()))
    full.listen(0)
    fillers = []
    for _ in range(3):  # its backlog is full: the kernel drops further connects
        filler = socket.socket()
        filler.setblocking(False)
        try:
            filler.connect(full.getsockname())
        except BlockingIOError:
            pass
        fillers.append(filler)
    service = origin()
    gw = gateway(to=["127.0.0.1:%d" % full.getsockname()[1], service], workers=1,
                 upstream_settings={"timeouts": {"connect": "200ms"}, "retry": {"backoff": "0"}})
    with gw.connect() as wire:
        for _ in range(2):
            wire.ask("/", "POST", body=b"x")
            assert wire.response().status == 200
    assert len(service.requests) == 2
    for sock in [full, *fillers]:
        sock.close()


# ---- connections from the pool ----


def closes_when_idle(call):
    """Answers, and closes the connection without having said so."""
    call.answer(200, "once")
    call.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pooled_connection_that_the_service_has_closed_is_not_used(gateway, origin, method):
    service = origin(script=closes_when_idle)
    gw = gateway(to=service, workers=1, upstream_settings={"retry": {"attempts": 1}})
    with gw.connect() as wire:
        for i in range(10):
            wire.ask(f"/{i}", method, body=b"x" if method == "POST" else None)
            assert wire.response().status == 200
            service.threads[i + 1].join(10)  # it has closed
    assert len(service.wires) == 10


def race():
    """A service that closes a kept connection when the next request arrives on it: the race every pool has."""
    def on_connect(wire):
        wire.head(Request)
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        wire.head(Request)
    return on_connect


@pytest.mark.parametrize("count", [1, 5])
def test_a_kept_connection_closed_under_a_request_is_retried_invisibly_when_idempotent(gateway, origin, count):
    service = origin(on_connect=race())
    gw = gateway(to=service, workers=1, upstream_settings={"retry": {"attempts": 1}})  # it costs no attempt
    with gw.connect() as wire:
        for i in range(2 * count):
            assert wire.get(f"/{i}").status == 200
    assert "retries" not in gw.line(path="/1")


def test_a_kept_connection_closed_under_a_post_is_a_502(gateway, origin):
    service = origin(on_connect=race())
    gw = gateway(to=service, workers=1)
    with gw.connect() as wire:
        assert wire.get("/").status == 200
        wire.ask("/post", "POST", body=b"pay 5")
        assert wire.response().status == 502
    assert gw.line(path="/post")["error"]["side"] == "upstream"


def test_several_stale_connections_in_a_row_do_not_fail_a_request(gateway, origin):
    barrier = threading.Barrier(5)

    def on_connect(wire):
        wire.head(Request)
        if first.is_set():
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            wire.head(Request)
            return
        barrier.wait(10)
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        wire.head(Request)  # and closes under it

    first = threading.Event()
    service = origin(on_connect=on_connect)
    gw = gateway(to=service, workers=1)
    wires = [gw.connect() for _ in range(4)]
    for wire in wires:
        wire.ask("/")
    barrier.wait(10)
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    first.set()
    gw.wait_for_metric(4, "maitred_upstream_connections_idle")
    assert gw.get("/after").status == 200


# ---- the budget ----


def test_back_off_waits_before_the_next_try(gateway, origin):
    service = origin(script=closes_first(1))
    gw = gateway(to=service, upstream_settings={"retry": {"backoff": "50ms", "backoff_max": "50ms"}})
    assert gw.get("/").status == 200
    assert gw.line(path="/")["retries"] == 1


def test_retries_are_held_to_their_budget(gateway, origin):
    """While retries wait for their back-off, three are allowed, and the rest of the failures are told at once."""
    count = 30
    gw = gateway(to=[closed_address(), closed_address()], workers=1,
                 upstream_settings={"retry": {"attempts": 2, "backoff": "2s", "backoff_max": "2s", "budget": "1%"}})
    wires = [gw.connect() for _ in range(count)]
    for wire in wires:
        wire.ask("/")
    lines = gw.lines(count, path="/")
    retried = sum(1 for l in lines if l.get("retries"))
    assert 1 <= retried <= 6, retried
    for wire in wires:
        assert wire.response().status == 502
        wire.close()
    assert gw.metric("maitred_upstream_retries_active") == 0


# ---- a target that dies ----


@pytest.mark.tsan
def test_a_target_killed_under_load_costs_no_idempotent_request(gateway, origin):
    services = [origin(n, script=lambda call: (time.sleep(0.002), say_who(call))) for n in "abc"]
    gw = gateway(to=services, upstream_settings={"retry": {"attempts": 4, "budget": "100%", "backoff": "5ms"}})
    stop, failed, done = threading.Event(), [], []

    def client(number):
        with gw.connect(keep=False) as wire:
            while not stop.is_set():
                method = ("GET", "PUT", "DELETE")[len(done) % 3]
                wire.ask(f"/{number}", method, body=b"x" * 100 if method == "PUT" else None)
                response = wire.response()
                (done if response.status == 200 else failed).append(response.status)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    [t.start() for t in threads]

    def served(count):
        target = len(done) + count
        deadline = time.monotonic() + 20
        while len(done) < target and time.monotonic() < deadline and any(t.is_alive() for t in threads):
            time.sleep(0.005)

    served(200)
    services[0].kill()
    served(200)
    services[1].stop_listening()
    served(200)
    services[1].kill()
    served(200)
    stop.set()
    [t.join() for t in threads]
    assert failed == [] and len(done) >= 800
