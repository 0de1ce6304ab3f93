"""How many requests a failing service gets, and how many of them clients see, until it is taken out: by outlier detection, by health
checks, by breakers; and what it costs to let it back while it still fails.

Nothing is tried again here unless a test says so, so each request that meets a failure is an error.  A row of failures is counted over
both workers: what can come on top of it is what the other clients have under way when it is full.
"""
import re

import pytest

from kit.crowd import Crowd, ask
from kit.faulty import CUT, ERROR, EVERY_OTHER, HANG, REFUSE, RESET, WELL

ALL, CLIENTS = 60, 4
ROW = 3                     # failures in a row
BOUND = ROW + CLIENTS - 1   # those, and one of each other client
ONCE = {"attempts": 1}
EJECT = {"consecutive_5xx": ROW, "base_ejection": "1h", "max_ejection": "1h"}
FAST = {"path": "/health", "interval": "700ms", "fast_interval": "20ms", "timeout": "600ms", "unhealthy_after": 2, "healthy_after": 1, "jitter": 0}
BREAK = {"consecutive_failures": ROW, "failure_ratio": 0, "open_for": "1h", "ramp": 0}
TOLD = ("is ejected", "is unhealthy", "is open for")

failures = pytest.mark.parametrize("version, how", [("h1", REFUSE), ("h1", RESET), ("h2", RESET), ("h1", HANG), ("h2", HANG), ("h1", ERROR), ("h1", CUT), ("h2", CUT)])


@pytest.fixture
def three(faulty, gateway):
    """A gateway before a, which fails, and b and c: (gateway, a, b, c)."""
    def make(version="h1", how=WELL, **settings):
        made = [faulty(name, version).be(how if name == "a" else WELL) for name in "abc"]
        settings = {"protocol": "h2" if version == "h2" else "http1", "retry": ONCE, **settings}
        if how == HANG:  # what is well has to be sure to answer in it
            settings["timeouts"] = {"response": "600ms"}
        return gateway(to=made, upstream_settings=settings, workers=2).allow(*TOLD), *made

    return make


def told(gw, text, count=1):
    return gw.errors.wait(lambda e: text in e[2], f"that says {text}", count=count)


def times_told(gw, text):
    return sum(text in e[2] for e in list(gw.errors.items))


def tries_on(gw, service):
    return gw.metric("maitred_target_picks_total", target=service.address)


def none_failed(seen, count=ALL):
    assert len(seen.seen) == count and not seen.failed, (seen.words(), seen.failed[:2])


# ---- outlier detection ----


@failures
def test_outlier_detection_bounds_errors_to_a_full_row_and_what_was_under_way(three, version, how):
    gw, a, b, c = three(version, how, outlier_detection=EJECT)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert ROW <= len(seen.failed) <= BOUND, seen.words()
    assert tries_on(gw, a) == len(seen.failed)
    assert f"{ROW} failures in a row" in told(gw, f"target {a.address} of `app` is ejected")[2]
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"))
    assert tries_on(gw, a) == len(seen.failed)


@pytest.mark.parametrize("version, how", [("h1", REFUSE), ("h1", RESET), ("h2", RESET)])
def test_with_retries_no_get_fails_and_the_same_row_ends_the_tries_that_are_lost(three, version, how):
    gw, a, b, c = three(version, how, outlier_detection=EJECT, retry={"backoff": "0"})
    none_failed(ask(gw.port, ALL, clients=3))
    told(gw, f"target {a.address} of `app` is ejected")
    assert ROW <= tries_on(gw, a) <= ROW + 2


def test_no_more_than_the_share_allowed_is_ejected_and_the_rest_goes_on_failing(three):
    gw, a, b, c = three(how=ERROR, outlier_detection={**EJECT, "max_ejected": "10%"})
    b.be(ERROR)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    told(gw, "is ejected")
    assert gw.metric("maitred_targets_ejected") == gw.metric("maitred_target_ejections_total") == 1
    assert len(seen.failed) == a.count + b.count > BOUND and c.count >= ALL // 3


def test_failures_between_successes_make_no_row_but_their_percentage_ejects(three):
    row_only, _, _, _ = three(how=EVERY_OTHER, outlier_detection={**EJECT, "consecutive_5xx": 2})
    assert ask(row_only.port, ALL, clients=1).words() == {503: ALL // 3 // 2}
    assert times_told(row_only, "is ejected") == 0
    percentage = {"threshold": "40%", "min_requests": 6, "min_targets": 1}
    gw, a, b, c = three(how=EVERY_OTHER, outlier_detection={**EJECT, "interval": "100ms", "failure_percentage": percentage})
    with Crowd(gw.port) as seen:
        told(gw, f"target {a.address} of `app` is ejected")
    assert len(seen.failed) == a.count // 2
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"))


@pytest.mark.tsan
def test_each_return_of_a_target_that_still_fails_costs_one_more_row_and_lasts_longer(three):
    gw, a, b, c = three(how=ERROR, outlier_detection={**EJECT, "base_ejection": "100ms"})
    with Crowd(gw.port, clients=CLIENTS) as seen:
        lines = told(gw, f"target {a.address} of `app` is ejected", count=2)
    times = [float(re.search(r"ejected for ([\d.]+) s", line[2])[1]) for line in lines]
    assert times == [0.1, 0.2]
    assert a.count == len(seen.failed) <= (times_told(gw, "is let back") + 1) * BOUND


def test_an_ejected_target_that_is_well_again_is_let_back_and_serves(three):
    gw, a, b, c = three(how=ERROR, outlier_detection={**EJECT, "base_ejection": "100ms"})
    with Crowd(gw.port, clients=CLIENTS) as seen:
        told(gw, "is ejected")
        a.be(WELL)
        told(gw, "is let back")
    assert ROW <= len(seen.failed) <= BOUND
    later = ask(gw.port, ALL, clients=CLIENTS, prefix="/later")
    none_failed(later)
    assert set(later.who()) == set("abc")


# ---- health checks ----


@pytest.mark.parametrize("version, how", [("h1", REFUSE), ("h2", REFUSE), ("h1", HANG), ("h2", HANG), ("h1", ERROR), ("h1", RESET), ("h1", CUT)])
def test_nothing_goes_to_a_target_once_its_health_check_has_failed(three, version, how):
    gw, a, b, c = three(version, health_check={**FAST, "expect_body": "a"} if how == CUT else FAST)
    if how == CUT:
        b.name = c.name = "a b or c"
    none_failed(ask(gw.port, ALL // 4, clients=CLIENTS), ALL // 4)
    a.be(how)
    told(gw, f"target {a.address} of `app` is unhealthy")
    before = tries_on(gw, a)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"))
    assert tries_on(gw, a) == before


def test_with_retries_and_health_checks_a_service_that_goes_under_load_costs_no_get(three):
    gw, a, b, c = three(health_check=FAST, retry={"backoff": "0"})
    with Crowd(gw.port, clients=3) as seen:
        a.wait_for(10).be(REFUSE)
        told(gw, f"target {a.address} of `app` is unhealthy")
        seen.more(30)
        a.be(WELL)
        told(gw, f"target {a.address} of `app` is healthy again")
        a.wait_for(a.count + 10)
    assert not seen.failed, seen.words()


def test_a_target_that_passes_its_checks_while_it_fails_is_kept_by_them_and_ejected_for_its_answers(three):
    """Each of the two sees what the other does not."""
    gw, a, b, c = three(health_check=FAST)
    a.probes_see = WELL
    a.be(ERROR)
    assert ask(gw.port, ALL, clients=CLIENTS).words() == {503: ALL // 3}
    gw, a, b, c = three(how=ERROR, outlier_detection=EJECT)
    assert ROW <= len(ask(gw.port, ALL, clients=CLIENTS).failed) <= BOUND


# ---- a breaker before each target ----


@failures
def test_a_targets_breaker_that_opens_bounds_what_it_gets_to_a_row_and_what_was_under_way(three, version, how):
    gw, a, b, c = three(version, how, target_circuit_breaker=BREAK)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert ROW <= len(seen.failed) <= BOUND, seen.words()
    assert tries_on(gw, a) == len(seen.failed)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"))
    assert tries_on(gw, a) == len(seen.failed)


@pytest.mark.tsan
def test_a_targets_breaker_lets_one_probe_through_each_time_it_is_half_open_until_it_succeeds(three):
    gw, a, b, c = three(how=ERROR, target_circuit_breaker={**BREAK, "open_for": "100ms", "probes": 1})
    with Crowd(gw.port, clients=CLIENTS) as seen:
        told(gw, f"target {a.address} of `app` is open for", count=4)
    probes = times_told(gw, "is half open")
    assert seen.words() == {503: a.count} and 3 <= probes and a.count <= BOUND + probes
    a.be(WELL)
    with Crowd(gw.port, clients=CLIENTS, prefix="/later") as seen:
        told(gw, f"the circuit to target {a.address} of `app` is closed")
        a.wait_for(a.count + 10)
    assert not seen.failed, seen.words()


# ---- a breaker before all ----


@pytest.fixture
def failing(three):
    """All three fail."""
    def make(how=ERROR, **settings):
        gw, *services = three(how=how, **settings)
        for service in services:
            service.be(how)
        return gw, services

    return make


def reached(services):
    return sum(s.count for s in services)


@pytest.mark.parametrize("how", [ERROR, RESET, HANG])
def test_an_open_circuit_bounds_what_the_services_get_and_answers_503_at_once(failing, how):
    gw, services = failing(how, circuit_breaker=BREAK)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    refused = [s for s in seen.failed if s.word == "circuit_open"]
    assert ROW <= reached(services) == ALL - len(refused) <= BOUND
    assert all(s.status == 503 and int(s.fields.get("Retry-After")) in range(3590, 3601) for s in refused)
    lines = gw.access.wait(lambda l: l.get("error", {}).get("word") == "circuit_open", "of what was refused", count=len(refused))
    assert all(l["error"]["side"] == "upstream" and l["tries"] == 0 and "target" not in l for l in lines)


def test_a_fixed_fallback_bounds_errors_to_those_that_open_the_circuit(failing):
    gw, services = failing(circuit_breaker=BREAK, fallback={"status": 200, "body": "sorry"})
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert ROW <= len(seen.failed) == reached(services) <= BOUND
    assert [s.body for s in seen.seen if s not in seen.failed] == [b"sorry"] * (ALL - len(seen.failed))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_upstream_takes_over_when_the_circuit_opens_and_failures_too_when_it_is_told_to(gateway, faulty, method):
    a, d = faulty("a").be(REFUSE), faulty("d")
    first = {"targets": [a.address], "circuit_breaker": BREAK, "retry": ONCE}
    upstreams = {"app": {**first, "fallback": "spare"}, "spare": {"targets": [d.address]}}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}]).allow(*TOLD)
    seen = ask(gw.port, ALL, clients=CLIENTS, method=method)
    assert ROW <= len(seen.failed) <= BOUND and seen.who() == {"d": ALL - len(seen.failed)}
    upstreams["app"]["fallback"] = {"upstream": "spare", "on": ["unavailable", "failure"]}
    gw = gateway(upstreams=upstreams, routes=[{"proxy": "app"}]).allow(*TOLD)
    seen = ask(gw.port, ALL, clients=CLIENTS, method=method)
    none_failed(seen)
    assert seen.who() == {"d": ALL}


def test_a_circuit_closes_when_its_probes_succeed_and_no_request_fails_any_more(failing):
    gw, services = failing(circuit_breaker={**BREAK, "open_for": "100ms", "probes": 2})
    with Crowd(gw.port, clients=CLIENTS) as seen:
        told(gw, "is open for", count=2)
        bound = BOUND + 2 * (times_told(gw, "is half open") + 1)
        assert reached(services) <= bound
        for service in services:
            service.be(WELL)
        told(gw, "the circuit to all targets of `app` is closed")
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"))


def test_a_circuit_opens_for_answers_that_are_slow_though_all_are_good(failing):
    gw, services = failing(WELL, circuit_breaker={"latency": {"above": "50ms", "ratio": "100%"}, "failure_ratio": 0, "min_requests": 4, "open_for": "1h"})
    for service in services:
        service.delay = 0.15
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert 4 <= reached(services) == len(seen.seen) - len(seen.failed) <= 4 + CLIENTS - 1
    assert set(seen.words()) == {"circuit_open"}
