"""Outlier detection: targets that fail real requests are ejected, come back, and few clients notice."""
from collections import Counter

import pytest

from kit import ports
from kit.gateway import upstream, wait_until

TOLD = ("is ejected", "is unhealthy")
ALONE = ("there is one target only", '"outlier_detection": {', " ^")  # as it is printed when the gateway starts
FAST = {"interval": "200ms", "base_ejection": "1h", "max_ejection": "1h"}


class Moody:
    def __init__(self):
        self.status, self.served = 200, 0

    def __call__(self, call):
        if call.request.path == "/health":
            call.answer(self.health)
            return
        self.served += 1
        if self.status == "hang":
            call.wire.rest()
            call.close()
        else:
            call.answer(self.status, call.origin.name)

    health = 200


@pytest.fixture
def services(origin):
    def make(count):
        made = []
        for i in range(count):
            made.append(origin(f"s{i}", script=Moody()))
        return made

    return make


def statuses(gw, count):
    with gw.connect() as wire:
        return Counter(wire.get("/").status for _ in range(count))


def told(gw, *words):
    return gw.errors.wait(lambda e: e[1] == "outlier" and all(w in e[2] for w in words), f"of an outlier with {words}")[2]


def test_five_failures_in_a_row_are_all_that_clients_see(gateway, services):
    bad, *good = services(4)
    gw = gateway(to=[bad, *good], upstream_settings={"outlier_detection": FAST}).allow(*TOLD)
    bad.script.status = 500
    assert statuses(gw, 100) == {500: 5, 200: 95}
    assert "5 failures in a row" in told(gw, f"target {bad.address} of `app` is ejected")
    assert gw.metric("maitred_target_ejections_total", upstream="app", reason="consecutive_5xx") == 1
    assert gw.metric("maitred_targets_ejected", upstream="app") == 1
    assert gw.metric("maitred_target_up", target=bad.address) == 0


def test_a_target_that_refuses_is_ejected_and_no_client_sees_it(gateway, services):
    refused = f"127.0.0.1:{ports.free_port()}"
    gw = gateway(to=[refused, *services(3)], upstream_settings={"outlier_detection": FAST, "retry": {"backoff": "0"}}).allow(*TOLD)
    assert statuses(gw, 60) == {200: 60}
    told(gw, f"target {refused} of `app` is ejected")
    assert gw.metric("maitred_target_picks_total", target=refused) == 5


def test_a_target_that_hangs_is_ejected_for_its_timeouts(gateway, services):
    bad, good = services(2)
    bad.script.status = "hang"
    settings = {"outlier_detection": {**FAST, "consecutive_5xx": 2}, "timeouts": {"response": "200ms"}, "retry": {"attempts": 1}}
    gw = gateway(to=[bad, good], upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 20) == {504: 2, 200: 18}


def test_only_so_many_are_ejected(gateway, services):
    all_bad = services(4)
    for one in all_bad:
        one.script.status = 500
    gw = gateway(to=all_bad, upstream_settings={"outlier_detection": {**FAST, "max_ejected": "50%"}}).allow(*TOLD)
    statuses(gw, 80)
    assert gw.metric("maitred_targets_ejected", upstream="app") == 2


def test_the_only_target_is_never_ejected(gateway, services):
    (only,) = services(1)
    only.script.status = 500
    gw = gateway(to=only, upstream_settings={"outlier_detection": {**FAST, "max_ejected": "100%"}}).allow(*ALONE)
    assert statuses(gw, 20) == {500: 20}
    only.script.status = 200
    assert statuses(gw, 5) == {200: 5}


def test_one_that_was_ejected_comes_back_after_its_time(gateway, services):
    bad, good = services(2)
    bad.script.status = 500
    settings = {"outlier_detection": {**FAST, "base_ejection": "300ms"}}
    gw = gateway(to=[bad, good], upstream_settings=settings).allow(*TOLD)
    assert statuses(gw, 20)[500] == 5
    bad.script.status = 200
    told(gw, f"target {bad.address} of `app` is let back")
    before = bad.script.served
    assert statuses(gw, 20) == {200: 20}
    assert bad.script.served > before
    assert gw.metric("maitred_targets_ejected", upstream="app") == 0


def test_a_target_that_fails_more_often_than_the_others_is_ejected_by_its_rate(gateway, services):
    bad, *good = services(6)
    settings = {"outlier_detection": {**FAST, "interval": "2s", "consecutive_5xx": 0, "failure_percentage": 0, "success_rate": {"min_targets": 5, "min_requests": 5}}}
    gw = gateway(to=[bad, *good], upstream_settings=settings).allow(*TOLD)
    bad.script.status = 503

    def ejected():
        statuses(gw, 120)
        return gw.metric("maitred_target_ejections_total", upstream="app", reason="success_rate") == 1

    wait_until(ejected, "an ejection by success rate")
    assert "tries succeeded" in told(gw, f"target {bad.address}")


def test_a_share_of_failures_ejects_too(gateway, services):
    bad, good = services(2)
    settings = {"outlier_detection": {**FAST, "interval": "1s", "consecutive_5xx": 0, "success_rate": 0,
                                      "failure_percentage": {"threshold": "85%", "min_targets": 1, "min_requests": 5}}}
    gw = gateway(to=[bad, good], upstream_settings=settings).allow(*TOLD)
    bad.script.status = 500

    def ejected():
        statuses(gw, 60)
        return gw.metric("maitred_target_ejections_total", upstream="app", reason="failure_percentage") == 1

    wait_until(ejected, "an ejection by failure percentage")
    assert "tries failed" in told(gw, f"target {bad.address}")


def test_an_ejection_outlives_a_reload_and_ends_with_its_settings(gateway, services):
    bad, good = services(2)
    bad.script.status = 500
    gw = gateway(to=[bad, good], upstream_settings={"outlier_detection": FAST}).allow(*TOLD)
    assert statuses(gw, 20)[500] == 5
    gw.reload({**gw.config, "upstreams": {"app": upstream(bad, good, algorithm="random", outlier_detection=FAST)}})
    assert statuses(gw, 20) == {200: 20}
    assert gw.metric("maitred_targets_ejected", upstream="app") == 1
    gw.reload({**gw.config, "upstreams": {"app": upstream(bad, good)}})
    assert statuses(gw, 20)[500] == 10


def test_a_target_that_leaves_and_returns_is_not_ejected_any_more(gateway, services):
    bad, good = services(2)
    bad.script.status = 500
    gw = gateway(to=[bad, good], upstream_settings={"outlier_detection": FAST}).allow(*TOLD, *ALONE)
    assert statuses(gw, 20)[500] == 5
    gw.reload({**gw.config, "upstreams": {"app": upstream(good, outlier_detection=FAST)}})
    gw.wait_for_metric(0, "maitred_targets_ejected", upstream="app")
    bad.script.status = 200
    gw.reload({**gw.config, "upstreams": {"app": upstream(bad, good, outlier_detection=FAST)}})
    before = bad.script.served
    assert statuses(gw, 20) == {200: 20} and bad.script.served == before + 10


def test_a_check_that_passes_again_lets_it_back(gateway, services):
    bad, good = services(2)
    check = {"path": "/health", "interval": "400ms", "fast_interval": "30ms", "timeout": "400ms", "unhealthy_after": 1, "healthy_after": 1}
    gw = gateway(to=[bad, good], upstream_settings={"outlier_detection": FAST, "health_check": check}).allow(*TOLD)
    bad.script.status = 500
    wait_until(lambda: statuses(gw, 10) and gw.metric("maitred_targets_ejected", upstream="app") == 1, "an ejection")
    bad.script.health = 503
    gw.wait_for_metric(0, "maitred_target_health", target=bad.address)
    bad.script.health = bad.script.status = 200
    gw.wait_for_metric(0, "maitred_targets_ejected", upstream="app")
    assert statuses(gw, 10) == {200: 10}
