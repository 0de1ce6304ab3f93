"""Answers that are tried again because the upstream's `retry.on` lists their status."""
import email.utils
import threading
import time

import pytest

from kit.origin import say_who

ON = {"on": [502, 503], "backoff": "0"}


def refuses(times, status=503, fields=(), then=say_who, body="not now"):
    """Answers so many requests with a status."""
    left, lock = [times], threading.Lock()

    def script(call):
        with lock:
            left[0] -= 1
            refusing = left[0] >= 0
        if refusing:
            call.answer(status, body, fields)
        else:
            then(call)

    return script


def start(gateway, *services, workers=1, **retry):
    return gateway(to=list(services), workers=workers, upstream_settings={"retry": {**ON, **retry}})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_listed_status_is_tried_again_for_an_idempotent_method(gateway, origin, method):
    service = origin(script=refuses(2))
    gw = start(gateway, service)
    with gw.connect() as wire:
        wire.ask("/", method, body=b"all of it" if method == "PUT" else None)
        assert wire.response().status == 200
    assert len(service.requests) == 3
    if method == "PUT":
        assert [r.body for r in service.requests] == [b"all of it"] * 3
    line = gw.line(path="/")
    assert (line["status"], line["up_status"], line["tries"], line["retries"]) == (200, 200, 3, 2)


def test_the_answer_that_was_dropped_leaves_its_connection_to_serve_on(gateway, origin):
    service = origin(script=refuses(2))
    assert start(gateway, service).get("/").status == 200
    assert len(service.wires) == 1


def test_another_target_is_tried(gateway, origin):
    bad, good = origin("bad", script=refuses(100)), origin("good")
    gw = start(gateway, bad, good, attempts=2)
    with gw.connect() as wire:
        assert [wire.get("/").status for _ in range(4)] == [200] * 4
    assert bad.requests and len(good.requests) == 4


def test_the_last_answer_is_passed_on_as_it_is(gateway, origin):
    service = origin(script=refuses(100, 503, [("X-Why", "because")], body="x" * 50000))
    gw = start(gateway, service)
    response = gw.get("/")
    assert (response.status, response.get("X-Why"), response.body) == (503, "because", b"x" * 50000)
    assert len(service.requests) == 3
    line = gw.line(path="/")
    assert (line["up_status"], line["tries"]) == (503, 3) and "error" not in line


def test_a_status_that_is_not_listed_is_passed_on(gateway, origin):
    service = origin(script=refuses(1, 500))
    assert start(gateway, service).get("/").status == 500
    assert len(service.requests) == 1


@pytest.mark.parametrize("words, tries", [([], 1), (["non_idempotent"], 2)])
def test_a_post_is_tried_again_only_when_it_is_written_down(gateway, origin, words, tries):
    service = origin(script=refuses(1))
    gw = start(gateway, service, on=[503, *words])
    body = b"pay 5" * 8000  # more than is kept of what may not be sent twice
    with gw.connect() as wire:
        wire.ask("/", "POST", body=body)
        assert wire.response().status == (200 if tries == 2 else 503)
    assert [r.body for r in service.requests] == [body] * tries


def test_a_body_beyond_the_replay_is_not_sent_twice(gateway, origin):
    service = origin(script=refuses(1))
    gw = start(gateway, service)
    with gw.connect() as wire:
        wire.ask("/", "PUT", body=b"x" * 300000)
        assert wire.response().status == 503
    assert len(service.requests) == 1


def test_a_status_of_grpc_says_nothing_to_other_requests(gateway, origin):
    service = origin(script=refuses(1, 503, [("grpc-status", "14")]))
    assert start(gateway, service, on="unavailable").get("/").status == 503
    assert len(service.requests) == 1


def test_retry_after_is_waited_for(gateway, origin):
    service = origin(script=refuses(1, fields=[("Retry-After", "1")]))
    gw = start(gateway, service)
    assert gw.get("/").status == 200
    assert gw.line(path="/")["duration_ms"] >= 1000


@pytest.mark.parametrize("after", [lambda: "2", lambda: email.utils.formatdate(time.time() + 60, usegmt=True), lambda: "99999999999"])
def test_a_service_that_asks_for_more_time_than_there_is_has_its_answer_passed_on(gateway, origin, after):
    service = origin(script=refuses(1, fields=[("Retry-After", after())]))
    assert start(gateway, service).get("/").status == 503
    assert len(service.requests) == 1


@pytest.mark.parametrize("after", ["0", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_retry_after_that_asks_for_nothing_is_no_wait(gateway, origin, after):
    service = origin(script=refuses(1, fields=[("Retry-After", after)]))
    assert start(gateway, service).get("/").status == 200


def test_attempts_of_one_try_nothing_again(gateway, origin):
    service = origin(script=refuses(1))
    gw = start(gateway, service, attempts=1).allow("nothing is tried again with `attempts: 1`", "\"on\": [", "^")
    assert gw.get("/").status == 503 and len(service.requests) == 1


def test_retries_by_status_are_held_to_the_budget(gateway, origin):
    count = 30
    service = origin(script=refuses(10000))
    gw = start(gateway, service, attempts=2, backoff="2s", backoff_max="2s", budget="1%")
    wires = [gw.connect() for _ in range(count)]
    for wire in wires:
        wire.ask("/")
    for wire in wires:
        assert wire.response().status == 503
        wire.close()
    retried = sum(1 for l in gw.lines(count, path="/") if l.get("retries"))
    assert 1 <= retried <= 6, retried
    assert gw.metric("maitred_upstream_retries_active") == 0


def test_a_large_answer_is_dropped_without_being_read(gateway, origin):
    """It would take longer to read it than to open a connection."""
    def large(call):
        call.read_body()
        call.raw("HTTP/1.1 503 X\r\nContent-Length: 100000000\r\n\r\n", b"x" * 100000)
        call.close()

    bad, good = origin("bad", script=large), origin("good")
    gw = start(gateway, bad, good, attempts=2)
    with gw.connect() as wire:
        assert [wire.get("/").status for _ in range(4)] == [200] * 4
    assert bad.requests
