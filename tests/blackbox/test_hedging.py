"""A second try beside the first, when an answer is late: who wins, what loses, what is never hedged, and how many there are."""
import threading

import pytest

from kit.gateway import upstream
from kit.origin import say_who


class Slow:
    """A script that answers nothing until it is let go, and knows when its connection was cut."""

    def __init__(self, slow=lambda call: True, then=say_who):
        self.slow, self.then, self.go = slow, then, threading.Event()

    def __call__(self, call):
        call.read_body()
        if self.slow(call):
            self.go.wait(20)
            call.request.body = call.request.body or b""
            try:
                self.then(call)
            except OSError:
                pass  # it lost
            return
        self.then(call)


def start(gateway, *services, hedge=None, **more):
    settings = {"hedge": hedge or {"after": "30ms"}, **more}
    return gateway(to=list(services), workers=1, upstream_settings=settings)


def ask_until_both(gw, slow, count=2, method="GET", body=None):
    """Round robin puts one of two requests on the slow target."""
    answers = []
    with gw.connect() as wire:
        for _ in range(count):
            wire.ask("/", method, body=body)
            answers.append(wire.response())
    return answers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_late_answer_is_overtaken_by_another_target(gateway, origin, method):
    script = Slow()
    slow, quick = origin("slow", script=script), origin("quick")
    gw = start(gateway, slow, quick)
    body = b"all of it" * 100 if method == "PUT" else None
    for answer in ask_until_both(gw, slow, method=method, body=body):
        assert answer.status == 200 and b"quick" in answer.body
    lines = gw.lines(2, path="/")
    hedged = [l for l in lines if l.get("hedged")]
    assert hedged
    for line in hedged:
        assert (line["tries"], line["hedge_won"], "retries" in line, line["target"]) == (2, True, False, quick.address)
    assert gw.metric("maitred_upstream_hedges_total") == gw.metric("maitred_upstream_hedges_won_total") == len(hedged)
    assert gw.metric("maitred_upstream_retries_active") == 0
    if body:
        assert [r.body for r in slow.requests + quick.requests] == [body] * (2 + len(hedged))
    script.go.set()


def test_the_loser_is_reset_while_the_winner_is_complete_and_is_no_failure(gateway, origin):
    gone = threading.Event()

    def waits(call):
        try:
            if call.wire.sock.recv(1) == b"":
                gone.set()
        except OSError:
            gone.set()
        call.close()

    large = b"x" * 400000
    slow, quick = origin("slow", script=waits), origin("quick", script=lambda call: call.answer(200, large))
    gw = start(gateway, slow, quick)
    for answer in ask_until_both(gw, slow):
        assert answer.body == large
    assert gone.wait(10)
    assert gw.metric("maitred_target_failures_total", target=slow.address) == 0


def test_whoever_answers_first_wins(gateway, origin):
    first, second = Slow(), Slow()
    a, b = origin("a", script=first), origin("b", script=second)
    gw = start(gateway, a, b)
    with gw.connect() as wire:
        wire.ask("/")
        begun = [o.arrived.get(timeout=10) for o in (a, b)]
        assert len(begun) == 2
        first.go.set()  # whichever was asked first: a's answer is the first
        answer = wire.response()
        assert answer.status == 200
    line = gw.line(path="/")
    assert line["hedged"] == 1 and line["tries"] == 2
    assert line["target"] == a.address and b'"origin": "a"' in answer.body
    first.go.set(), second.go.set()


def test_a_post_is_never_hedged_unless_it_is_written_down(gateway, origin):
    script = Slow()
    slow, quick = origin("slow", script=script), origin("quick")
    gw = start(gateway, slow, quick, hedge={"after": "10ms"})
    wires = [gw.connect() for _ in range(2)]
    for wire in wires:
        wire.ask("/", "POST", body=b"pay 5")
    slow.arrived.get(timeout=10), quick.arrived.get(timeout=10)
    gw.wait_for_metric(1, "maitred_upstream_requests_active")  # the quick one is answered
    threading.Event().wait(0.1)  # ten times the delay: whatever would be sent has been
    assert len(slow.requests) == 1 and len(quick.requests) == 1
    script.go.set()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    assert gw.metric("maitred_upstream_hedges_total") == 0


def test_a_post_is_hedged_where_it_is_written_down(gateway, origin):
    script = Slow()
    slow, quick = origin("slow", script=script), origin("quick")
    gw = start(gateway, slow, quick, hedge={"after": "30ms", "non_idempotent": True})
    for answer in ask_until_both(gw, slow, method="POST", body=b"read it"):
        assert b"quick" in answer.body
    assert gw.metric("maitred_upstream_hedges_won_total") >= 1
    assert all(r.body == b"read it" for r in slow.requests + quick.requests)
    script.go.set()


def test_a_failure_while_another_try_is_open_does_not_end_the_request(gateway, origin):
    """Each of two targets: the first asked hangs, the hedge is reset; then the first answers after all."""
    script = Slow()
    reset = threading.Event()

    def breaks(call):
        if slow.requests:
            reset.set()
            call.reset()
        else:
            say_who(call)

    slow, broken = origin("slow", script=script), origin("broken", script=breaks)
    gw = start(gateway, slow, broken, retry={"attempts": 1})
    with gw.connect() as wire:
        for _ in range(2):
            wire.ask("/")
            if reset.wait(0.5):
                script.go.set()
            assert wire.response().status == 200
    assert reset.is_set()


def test_a_listed_answer_loses_while_another_try_is_open(gateway, origin):
    script = Slow()
    slow = origin("slow", script=script)
    refused = threading.Event()

    def refuses(call):
        if slow.requests:
            call.answer(503, "not now")
            refused.set()
        else:
            say_who(call)

    other = origin("other", script=refuses)
    gw = start(gateway, slow, other, retry={"on": [503]})
    with gw.connect() as wire:
        for _ in range(2):
            wire.ask("/")
            if refused.wait(0.5):
                script.go.set()
            assert wire.response().status == 200
    assert refused.is_set()


def test_a_hedge_goes_to_no_target_that_was_tried(gateway, origin):
    script = Slow()
    alone = origin("alone", script=script)
    gw = start(gateway, alone, hedge={"after": "10ms", "max": 2}).allow("there is one target only", '"hedge": {', " ^")
    with gw.connect() as wire:
        wire.ask("/")
        alone.arrived.get(timeout=10)
        threading.Event().wait(0.1)
        script.go.set()
        assert wire.response().status == 200
    assert len(alone.requests) == 1 and gw.metric("maitred_upstream_hedges_total") == 0


def test_two_hedges_ask_three_targets(gateway, origin):
    scripts = [Slow() for _ in range(3)]
    services = [origin(f"s{i}", script=s) for i, s in enumerate(scripts)]
    gw = start(gateway, *services, hedge={"after": "20ms", "max": 2})
    with gw.connect() as wire:
        wire.ask("/")
        for service in services:
            service.arrived.get(timeout=10)
        scripts[2].go.set()
        assert wire.response().status == 200
    line = gw.line(path="/")
    assert (line["tries"], line["hedged"]) == (3, 2)
    for s in scripts:
        s.go.set()


def test_a_hedge_that_fails_last_leaves_the_upstream_that_takes_over_an_ordinary_try(gateway, origin):
    hung = [Slow(), Slow()]
    a, b = (origin(n, script=s) for n, s in zip("ab", hung))
    spare = origin("spare")
    first = upstream(a, b, hedge={"after": "30ms"}, retry={"attempts": 1, "per_try_timeout": "150ms"}, fallback={"upstream": "spare", "on": "failure"})
    gw = gateway(upstreams={"app": first, "spare": upstream(spare)}, routes=[{"proxy": "app"}], workers=1)
    assert gw.get("/").status == 200
    line = gw.line(path="/")
    assert (line["upstream"], line["target"], line.get("hedged"), line.get("hedge_won")) == ("spare", spare.address, 1, None)
    assert gw.metric("maitred_upstream_hedges_total", upstream="app") == 1
    assert gw.metric("maitred_upstream_hedges_won_total", upstream="spare") == 0
    assert gw.metric("maitred_upstream_retries_active") == 0
    for script in hung:
        script.go.set()


def test_the_budget_bounds_the_hedges_of_a_service_that_is_slow_as_a_whole(gateway, origin):
    count, scripts = 40, [Slow() for _ in range(2)]
    services = [origin(f"s{i}", script=s) for i, s in enumerate(scripts)]
    gw = start(gateway, *services, hedge={"after": "20ms"}, retry={"budget": "20%", "budget_min": 1})
    wires = [gw.connect() for _ in range(count)]
    for wire in wires:
        wire.ask("/")
    gw.wait_for_metric(8, "maitred_upstream_hedges_total")
    threading.Event().wait(0.2)  # ten times the delay
    assert count <= sum(len(s.requests) for s in services) <= count * 1.2 + 1
    for s in scripts:
        s.go.set()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    gw.wait_for_metric(0, "maitred_upstream_retries_active")


def test_a_quantile_hedges_nothing_until_it_knows_how_long_answers_take(gateway, origin):
    script = Slow(slow=lambda call: call.request.target == "/slow")
    services = [origin(n, script=script) for n in "ab"]
    gw = start(gateway, *services, hedge={"after": "p95"})
    with gw.connect() as wire:
        for _ in range(120):
            assert wire.get("/").status == 200
        threading.Event().wait(0.15)  # a worker looks the quantile up every tenth of a second
        before = gw.metric("maitred_upstream_hedges_total")
        wire.ask("/slow")
        gw.wait_for_metric(before + 1, "maitred_upstream_hedges_total")
        script.go.set()
        assert wire.response().status == 200

