"""Circuit breakers and fallbacks: what clients see of services that fail, how many of them, and how it ends."""
import json
from collections import Counter

import pytest

from kit import ports
from kit.gateway import upstream, wait_until

CLOSED, OPEN = 0, 1
TOLD = ("the circuit to",)
# 2 workers or 1, a pick's order and the moment of an answer must not matter: rows are exact, open lasts as long as the test wants
ROW = {"failure_ratio": "0", "consecutive_failures": 5, "open_for": "1h", "ramp": "0", "probes": 1}


class Moody:
    """The script of a service that does as it is told: a status, `close`, or `hang`."""

    def __init__(self, mood=200):
        self.mood, self.served = mood, 0

    def __call__(self, call):
        self.served += 1
        if self.mood == "hang":
            call.wire.rest()
            call.close()
        elif self.mood == "close":
            call.read_body()
            call.close()
        else:
            call.answer(self.mood, call.origin.name, [("X-Who", call.origin.name)])


@pytest.fixture
def moody(origin):
    def make(name="a", mood=200):
        script = Moody(mood)
        made = origin(name, script=script)
        made.moody = script
        return made

    return make


def statuses(gw, count, target="/"):
    return [gw.get(target).status for _ in range(count)]


def state(gw, target="", name="app"):
    return gw.metric("maitred_circuit_state", upstream=name, target=target)


def told(gw, *words):
    return gw.errors.wait(lambda e: e[1] == "circuit" and all(w in e[2] for w in words), f"of a circuit with {words}")[2]


# ---- the upstream's ----


def test_failures_in_a_row_open_it_and_then_nothing_is_sent(gateway, moody):
    service = moody(mood=500)
    gw = gateway(to=service, upstream_settings={"circuit_breaker": ROW}).allow(*TOLD)
    assert statuses(gw, 20) == [500] * 5 + [503] * 15
    assert service.moody.served == 5
    assert "5 failures in a row" in told(gw, "all targets of `app` is open")
    assert sum("is open" in e[2] for e in gw.errors.items) == 1, "a change is said once, whichever worker made it"
    assert state(gw) == OPEN
    assert gw.metric("maitred_circuit_opened_total", upstream="app", target="") == 1
    assert gw.metric("maitred_circuit_rejected_total", upstream="app") == 15
    assert gw.metric("maitred_errors_total", side="upstream", error="circuit_open") == 15


def test_an_open_circuit_is_answered_at_once_with_the_time_to_come_back(gateway, moody):
    gw = gateway(to=moody(mood=500), upstream_settings={"circuit_breaker": {**ROW, "open_for": "30s"}}).allow(*TOLD)
    statuses(gw, 5)
    response = gw.get("/")
    assert response.status == 503
    assert 1 <= int(response.get("Retry-After")) <= 30
    assert response.get("Content-Type") == "application/problem+json"
    problem = json.loads(response.text)
    assert problem["status"] == 503 and "circuit_open" in problem["type"]
    line = gw.line(status=503)
    assert line["error"]["word"] == "circuit_open" and line["error"]["side"] == "upstream" and line.get("tries", 0) == 0
    assert gw.get("/", method="HEAD").status == 503


def test_a_share_of_failures_opens_it_once_there_are_enough_requests(gateway, moody):
    service = moody()
    settings = {"circuit_breaker": {"failure_ratio": "50%", "min_requests": 20, "window": "1h", "open_for": "1h"}}
    gw = gateway(to=service, upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 11) == [200] * 11
    service.moody.mood = 503
    assert statuses(gw, 11) == [503] * 11 and service.moody.served == 22  # 11 of 22: with the 22nd it opens
    assert "11 of 22 tries failed (50 %)" in told(gw, "is open")
    assert statuses(gw, 3) == [503] * 3 and service.moody.served == 22


@pytest.mark.parametrize("mood, word, status", [("close", "closed_before_response", 502), ("hang", "response_timeout", 504)])
def test_tries_without_an_answer_are_failures(gateway, moody, mood, word, status):
    service = moody(mood=mood)
    settings = {"circuit_breaker": {**ROW, "consecutive_failures": 2}, "timeouts": {"response": "200ms"}, "retry": {"attempts": 1}}
    gw = gateway(to=service, upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 4) == [status] * 2 + [503] * 2
    assert gw.line(status=status)["error"]["word"] == word


def test_refused_connections_open_it_with_their_retries_counted_each(gateway):
    refused = f"127.0.0.1:{ports.free_port()}"
    settings = {"circuit_breaker": {**ROW, "consecutive_failures": 4}, "retry": {"attempts": 2, "backoff": "0"}}
    gw = gateway(to=refused, upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 4) == [502, 502, 503, 503]


def test_slow_answers_open_it(gateway, origin):
    def slow(call):
        call.read_body()
        wait_until(lambda: slow.released, "the test to go on")
        call.answer(200)

    slow.released = True
    service = origin("a", script=slow)
    settings = {"circuit_breaker": {"latency": {"above": "1ms", "ratio": "100%"}, "failure_ratio": "0", "min_requests": 2, "open_for": "1h", "window": "1h"}}
    gw = gateway(to=service, upstream_settings=settings).allow(*TOLD)
    for _ in range(2):  # each has surely waited longer than a millisecond
        slow.released = False
        with gw.connect() as wire:
            wire.ask("/")
            arrived = service.wait_for_request()
            assert arrived and wire.is_quiet(0.05)
            slow.released = True
            assert wire.response().status == 200
    assert gw.get("/").status == 503
    assert "2 of 2 answers took longer than 1 ms" in told(gw, "is open")


def test_statuses_that_are_failures_are_chosen(gateway, moody):
    service = moody(mood=500)
    settings = {"circuit_breaker": {**ROW, "consecutive_failures": 2, "failure_statuses": [429, "502-504"]}}
    gw = gateway(to=service, upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 4) == [500] * 4
    service.moody.mood = 429
    assert statuses(gw, 3) == [429, 429, 503]


def test_it_closes_when_its_probes_succeed(gateway, moody):
    service = moody(mood=500)
    gw = gateway(to=service, upstream_settings={"circuit_breaker": {**ROW, "open_for": "300ms", "probes": 2}}).allow(*TOLD)
    statuses(gw, 5)
    service.moody.mood = 200
    wait_until(lambda: gw.get("/").status == 200, "a probe")
    told(gw, "half open")
    wait_until(lambda: gw.get("/").status == 200, "a second one")
    told(gw, "is closed")
    assert statuses(gw, 10) == [200] * 10
    assert state(gw) == CLOSED


def test_a_probe_that_fails_opens_it_again_for_longer(gateway, moody):
    service = moody(mood=500)
    settings = {"circuit_breaker": {**ROW, "open_for": "200ms", "open_max": "1h"}}
    gw = gateway(to=service, upstream_settings=settings).allow(*TOLD)
    statuses(gw, 5)
    told(gw, "is open for 0.2 s")
    wait_until(lambda: gw.get("/").status == 500, "a probe")
    assert "a probe failed" in told(gw, "is open for 0.4 s")
    assert service.moody.served == 6


def test_a_probe_that_hangs_does_not_wedge_it(gateway, moody):
    service = moody(mood=500)
    gw = gateway(to=service, upstream_settings={"circuit_breaker": {**ROW, "open_for": "200ms"}}).allow(*TOLD)
    statuses(gw, 5)
    service.moody.mood = "hang"
    with gw.connect() as wire:
        wait_until(lambda: hangs_as_a_probe(wire, service), "a probe under way")
        service.moody.mood = 200
        wait_until(lambda: gw.get("/").status == 200, "another probe in its place")
        told(gw, "is closed")


def hangs_as_a_probe(wire, service):
    """Asks on this connection until the request reaches the service and hangs there."""
    before = service.moody.served
    wire.ask("/")
    if not wire.is_quiet(0.05):
        assert wire.response().status == 503
        return False
    return service.moody.served > before


def test_the_state_outlives_a_reload_and_ends_with_its_settings(gateway, moody):
    service = moody(mood=500)
    gw = gateway(to=service, upstream_settings={"circuit_breaker": ROW}).allow(*TOLD)
    statuses(gw, 5)
    changed = {"app": upstream(service, circuit_breaker={**ROW, "consecutive_failures": 50}, algorithm="random")}
    gw.reload({**gw.config, "upstreams": changed})
    assert statuses(gw, 5) == [503] * 5 and service.moody.served == 5
    gw.reload({**gw.config, "upstreams": {"app": upstream(service)}})
    assert statuses(gw, 5) == [500] * 5


# ---- a target's ----


def test_a_targets_own_breaker_leaves_the_rest_to_the_others(gateway, moody):
    bad, good = moody("bad", mood=500), moody("good")
    gw = gateway(to=[bad, good], upstream_settings={"target_circuit_breaker": ROW}).allow(*TOLD)
    seen = Counter(statuses(gw, 60))
    assert seen == {200: 55, 500: 5}
    assert bad.moody.served == 5
    told(gw, f"target {bad.address} of `app` is open")
    assert state(gw, bad.address) == OPEN and state(gw, good.address) == CLOSED
    assert gw.metric("maitred_target_up", target=bad.address) == 0


def test_a_target_comes_back_after_its_probes(gateway, moody):
    bad, good = moody("bad", mood=500), moody("good")
    settings = {"target_circuit_breaker": {**ROW, "open_for": "300ms", "probes": 2}}
    gw = gateway(to=[bad, good], upstream_settings=settings).allow(*TOLD)
    wait_until(lambda: bad.moody.served >= 5 or not statuses(gw, 2), "its failures")
    bad.moody.mood = 200
    wait_until(lambda: statuses(gw, 4) and state(gw, bad.address) == CLOSED and bad.moody.served > 7, "its return")
    assert set(statuses(gw, 20)) == {200}


def test_with_all_targets_open_there_is_no_target(gateway, moody):
    a, b = moody("a", mood=500), moody("b", mood=500)
    gw = gateway(to=[a, b], upstream_settings={"target_circuit_breaker": ROW}).allow(*TOLD)
    assert Counter(statuses(gw, 30)) == {500: 10, 503: 20}
    assert gw.line(status=503)["error"]["word"] == "no_target"
    assert 3500 < int(gw.get("/").get("Retry-After")) <= 3600, "when the first of them is tried again"


# ---- fallbacks ----


def test_a_fixed_answer_serves_while_it_is_open(gateway, moody):
    service = moody(mood=500)
    fallback = {"status": 200, "content_type": "application/json", "body": '{"users": []}', "headers": {"X-Fallback": "yes"}}
    gw = gateway(to=service, upstream_settings={"circuit_breaker": ROW, "fallback": fallback}).allow(*TOLD)
    assert statuses(gw, 8) == [500] * 5 + [200] * 3
    response = gw.get("/")
    assert response.text == '{"users": []}' and response.get("Content-Type") == "application/json" and response.get("X-Fallback") == "yes"
    assert gw.metric("maitred_fallbacks_total", upstream="app") == 4
    with gw.connect() as wire:
        wire.ask("/", "POST", body=b"x" * 100000)
        assert wire.response().status == 200
        assert wire.get("/").status == 200, "the connection is in order"


def test_another_upstream_takes_over_with_the_whole_request(gateway, moody, origin):
    main, spare = moody("main", mood=500), origin("spare")
    upstreams = {"app": upstream(main, circuit_breaker=ROW, fallback="spare"), "spare": upstream(spare)}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}]).allow(*TOLD)
    statuses(gw, 5)
    with gw.connect() as wire:
        wire.ask("/x?y=1", "POST", body=b"hello")
        answer = wire.response()
    seen = json.loads(answer.text)
    assert answer.status == 200 and seen["origin"] == "spare" and seen["body"] == "hello" and seen["target"] == "/x?y=1"
    line = gw.line(path="/x")
    assert line["upstream"] == "spare" and line["target"] == spare.address and line["tries"] == 1
    assert gw.metric("maitred_upstream_requests_active") == 0
    assert gw.metric("maitred_fallbacks_total", upstream="app") == 1


def test_a_fallback_may_have_one_of_its_own(gateway, moody):
    a, b = moody("a", mood=500), moody("b", mood=500)
    upstreams = {
        "app": upstream(a, circuit_breaker=ROW, fallback="b"),
        "b": upstream(b, circuit_breaker=ROW, fallback={"status": 418, "body": "short and stout"}),
    }
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}]).allow(*TOLD)
    assert statuses(gw, 12) == [500] * 10 + [418] * 2
    assert (a.moody.served, b.moody.served) == (5, 5)


def test_it_serves_for_failed_tries_only_when_asked_to(gateway):
    refused = f"127.0.0.1:{ports.free_port()}"
    quick = {"attempts": 2, "backoff": "0"}
    upstreams = {
        "strict": upstream(refused, retry=quick, fallback={"status": 200}),
        "lenient": upstream(refused, retry=quick, fallback={"status": 200, "on": ["unavailable", "failure"]}),
    }
    gw = gateway(upstreams=upstreams, routes=[{"match": {"path": "/strict"}, "proxy": "strict"}, {"match": {"path": "/lenient"}, "proxy": "lenient"}])
    assert gw.get("/strict").status == 502
    assert gw.get("/lenient").status == 200


def test_who_takes_over_has_tries_of_its_own(gateway, moody):
    refused, quick = f"127.0.0.1:{ports.free_port()}", {"attempts": 2, "backoff": "0"}
    spare = moody("spare", mood="close")
    upstreams = {"app": upstream(refused, retry=quick, fallback={"upstream": "spare", "on": "failure"}), "spare": upstream(spare, retry=quick)}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}])
    assert gw.get("/").status == 502
    assert spare.moody.served == 2
    line = gw.line(status=502)
    assert (line["upstream"], line["tries"], line["retries"]) == ("spare", 4, 2)


def test_what_may_not_be_sent_twice_goes_to_no_other_upstream(gateway, moody, origin):
    main, spare = moody("main", mood="close"), origin("spare")
    upstreams = {"app": upstream(main, retry={"attempts": 1}, fallback={"upstream": "spare", "on": "failure"}), "spare": upstream(spare)}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}])
    assert gw.get("/").status == 200
    with gw.connect() as wire:
        wire.ask("/", "POST", body=b"hello")
        assert wire.response().status == 502
    assert len(spare.requests) == 1


def test_a_fallback_that_changes_is_followed_by_a_reload(gateway, moody, origin):
    main, old, new = moody("main", mood=500), origin("old"), origin("new")
    upstreams = {"app": upstream(main, circuit_breaker=ROW, fallback="spare"), "spare": upstream(old)}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}]).allow(*TOLD)
    statuses(gw, 5)
    assert json.loads(gw.get("/").text)["origin"] == "old"
    gw.reload({**gw.config, "upstreams": {**upstreams, "spare": upstream(new)}})
    assert json.loads(gw.get("/").text)["origin"] == "new"
    assert main.moody.served == 5, "the circuit stayed open"
