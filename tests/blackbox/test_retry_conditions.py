"""Per-try timeouts, the words of `retry.on`, what is told of the deadline, and that retries make no storm."""
import threading

import pytest

from kit.origin import say_who


class Hangs:
    """Answers nothing so many times."""

    def __init__(self, times):
        self.left, self.lock, self.go = times, threading.Lock(), threading.Event()

    def __call__(self, call):
        call.read_body()
        with self.lock:
            self.left -= 1
            hang = self.left >= 0
        if hang:
            self.go.wait(20)
            call.close()
        else:
            say_who(call)


def start(gateway, *services, retry, **more):
    return gateway(to=list(services), workers=1, upstream_settings={"retry": {"backoff": "0", **retry}, **more})


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_try_that_takes_too_long_is_replaced_by_another(gateway, origin, method):
    script = Hangs(1)
    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, retry={"per_try_timeout": "50ms"})
    with gw.connect() as wire:
        wire.ask("/", method, body=b"whole" if method == "PUT" else None)
        assert wire.response().status == 200
    if method == "PUT":
        assert [r.body for s in services for r in s.requests] == [b"whole"] * 2
    line = gw.line(path="/")
    assert (line["tries"], line["retries"]) == (2, 1)
    script.go.set()


def test_when_no_try_is_answered_in_time_it_is_a_504_of_its_own(gateway, origin):
    script = Hangs(9)
    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, retry={"per_try_timeout": "30ms", "attempts": 2})
    assert gw.get("/").status == 504
    assert gw.line(path="/")["error"]["word"] == "try_timeout"
    assert sum(len(s.requests) for s in services) == 2
    script.go.set()


@pytest.mark.parametrize("on, tries", [([], 1), (["timeout"], 1), (["timeout", "non_idempotent"], 2)])
def test_a_post_that_takes_too_long_is_sent_again_only_when_it_is_written_down(gateway, origin, on, tries):
    script = Hangs(1)
    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, retry={"per_try_timeout": "50ms", "on": on})
    with gw.connect() as wire:
        wire.ask("/", "POST", body=b"pay 5")
        assert wire.response().status == (200 if tries == 2 else 504)
    assert sum(len(s.requests) for s in services) == tries
    script.go.set()


@pytest.mark.parametrize("on, status", [([], 504), (["timeout"], 200)])
def test_an_answer_that_does_not_come_is_tried_again_when_it_is_listed(gateway, origin, on, status):
    script = Hangs(1)
    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, retry={"on": on}, timeouts={"response": "50ms"})
    assert gw.get("/").status == status
    script.go.set()


@pytest.mark.parametrize("on, status", [(["reset"], 502), (["reset", "non_idempotent"], 200)])
def test_a_broken_post_is_sent_again_only_when_both_words_stand(gateway, origin, on, status):
    broken = threading.Event()

    def script(call):
        call.read_body()
        if not broken.is_set():
            broken.set()
            call.reset()
        else:
            say_who(call)

    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, retry={"on": on})
    with gw.connect() as wire:
        wire.ask("/", "POST", body=b"pay 5")
        assert wire.response().status == status


@pytest.mark.parametrize("word, status, tries", [("5xx", 500, 2), ("5xx", 599, 2), ("5xx", 429, 1), ("gateway_error", 502, 2),
                                                 ("gateway_error", 504, 2), ("gateway_error", 500, 1), ("connect_failure", 503, 1)])
def test_words_stand_for_statuses(gateway, origin, word, status, tries):
    service = origin(script=lambda call: call.answer(status, "no"))
    gw = start(gateway, service, retry={"on": [word], "attempts": 2})
    assert gw.get("/").status == status
    assert len(service.requests) == tries


def test_what_is_left_of_the_time_falls_with_each_try(gateway, origin):
    script = Hangs(2)
    services = [origin(n, script=script) for n in "abc"]
    gw = gateway(workers=1, timeouts={"exchange": "20s"},
                 upstreams={"app": {"targets": [s.address for s in services], "deadline_header": "X-Timeout-Ms",
                                    "retry": {"per_try_timeout": "60ms", "backoff": "0"}}},
                 routes=[{"proxy": "app"}])
    with gw.connect() as wire:
        wire.ask("/", "GET", fields=[("X-Timeout-Ms", "1"), ("x-timeout-ms", "2")])
        assert wire.response().status == 200
    told = sorted((int(v) for s in services for r in s.requests for n, v in r.fields if n.lower() == "x-timeout-ms"), reverse=True)
    assert len(told) == 3 and 20000 >= told[0] and told[0] - told[1] >= 55 and told[1] - told[2] >= 55
    script.go.set()


def test_a_clients_own_deadline_field_does_not_pass(gateway, origin):
    service = origin()
    gw = gateway(to=service, timeouts={"exchange": "off"}, upstream_settings={"deadline_header": "X-Timeout-Ms"})
    with gw.connect() as wire:
        wire.ask("/", "GET", fields=[("X-Timeout-Ms", "99999")])
        assert wire.response().status == 200
    assert not [n for n, _ in service.requests[0].fields if n.lower() == "x-timeout-ms"]


@pytest.mark.parametrize("budget_min", [0, 2])
def test_retries_of_a_service_that_fails_as_a_whole_make_no_storm(gateway, origin, budget_min):
    count, go = 50, threading.Event()

    def fails(call):
        call.read_body()
        go.wait(20)  # all requests are there before the first one fails
        call.answer(503, "no")

    services = [origin(n, script=fails) for n in "abc"]
    gw = start(gateway, *services, retry={"on": [503], "attempts": 4, "budget": "20%", "budget_min": budget_min,
                                          "backoff": "1s", "backoff_max": "1s"})
    wires = [gw.connect() for _ in range(count)]
    for wire in wires:
        wire.ask("/")
    gw.wait_for_metric(count, "maitred_upstream_requests_active")
    go.set()
    for wire in wires:
        assert wire.response().status == 503
        wire.close()
    assert sum(len(s.requests) for s in services) <= count * 1.2 + 3 * max(budget_min, 1)
    assert gw.metric("maitred_upstream_retries_active") == 0
