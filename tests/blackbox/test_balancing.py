"""Which target serves: turns, weights, who is least busy, who is full."""
import threading
from collections import Counter

import pytest

from kit import ports
from kit.gateway import upstream


def who(response):
    return response.get("X-Who")


def named(call):
    call.answer(200, call.origin.name, [("X-Who", call.origin.name)])


def three(origin, **more):
    return [origin(name, script=named, **more) for name in "abc"]


def test_targets_take_turns(gateway, origin):
    with gateway(to=three(origin), workers=1).connect() as wire:
        order = "".join(who(wire.get("/")) for _ in range(12))
    assert order in ("abc" * 5)  # from wherever it begins
    assert Counter(order) == {"a": 4, "b": 4, "c": 4}


def test_weights_are_smooth_and_not_in_runs(gateway, origin):
    a, b, c = three(origin)
    targets = [{"address": a.address, "weight": 5}, b.address, c.address]
    gw = gateway(workers=1, upstreams={"app": {"targets": targets}}, routes=[{"proxy": "app"}])
    with gw.connect() as wire:
        order = "".join(who(wire.get("/")) for _ in range(21))
    assert Counter(order) == {"a": 15, "b": 3, "c": 3}
    assert any(order[i:i + 7] == "aabacaa" for i in range(7)) or any(order[i:i + 7] == "aacabaa" for i in range(7)), order
    assert "aaaaa" not in order


def test_a_weight_of_zero_takes_no_new_requests(gateway, origin):
    a, b, _ = three(origin)
    gw = gateway(upstreams={"app": {"targets": [{"address": a.address, "weight": 0}, b.address]}}, routes=[{"proxy": "app"}])
    with gw.connect() as wire:
        assert {who(wire.get("/")) for _ in range(10)} == {"b"}


def test_an_upstream_without_a_target_to_pick_answers_503(gateway, origin):
    a = origin("a")
    gw = gateway(upstreams={"app": {"targets": [{"address": a.address, "weight": 0}]}}, routes=[{"proxy": "app"}])
    gw.allow("every target has weight 0", '"targets": [', "^")
    assert gw.get("/").status == 503
    assert gw.line(path="/")["error"] == {"side": "upstream", "word": "no_target"}


@pytest.mark.tsan
def test_shares_hold_over_workers_and_connections(gateway, origin):
    a, b, c = three(origin)
    targets = [{"address": a.address, "weight": 3}, {"address": b.address, "weight": 2}, c.address]
    gw = gateway(workers=2, upstreams={"app": {"targets": targets}}, routes=[{"proxy": "app"}])
    seen, lock = Counter(), threading.Lock()

    def client():
        with gw.connect() as wire:
            mine = Counter(who(wire.get("/")) for _ in range(60))
        with lock:
            seen.update(mine)

    threads = [threading.Thread(target=client) for _ in range(10)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sum(seen.values()) == 600
    assert abs(seen["a"] - 300) <= 30 and abs(seen["b"] - 200) <= 30 and abs(seen["c"] - 100) <= 30, seen
    assert gw.metric("maitred_target_picks_total", target=a.address) == seen["a"]


def test_least_connections_goes_where_fewest_are_busy(gateway, origin):
    release = threading.Event()

    def script(call):
        if call.request.path == "/hold":
            release.wait(20)
        named(call)

    services = [origin(name, script=script) for name in "abc"]
    gw = gateway(to=services, upstream_settings={"algorithm": "least_connections"})
    held = [gw.connect() for _ in range(2)]
    for wire in held:  # two targets get one each
        wire.ask("/hold")
        gw.wait_for_metric(lambda v, n=held.index(wire) + 1: v == n, "maitred_target_requests_in_flight")
    busy = {labels["target"] for labels, value in gw.metrics()["maitred_target_requests_in_flight"] if value}
    assert len(busy) == 2
    free = next(s for s in services if s.address not in busy)
    with gw.connect() as wire:
        assert {who(wire.get("/")) for _ in range(10)} == {free.name}
    release.set()
    for wire in held:
        assert wire.response().status == 200
        wire.close()


def test_least_connections_counts_over_all_workers_and_by_weight(gateway, origin):
    release = threading.Event()

    def script(call):
        release.wait(20)
        named(call)

    a, b = (origin(name, script=script) for name in "ab")
    gw = gateway(workers=2, routes=[{"proxy": "app"}], upstreams={"app": {
        "algorithm": "least_connections", "targets": [{"address": a.address, "weight": 3}, b.address]}})
    wires = []
    for i in range(12):
        wires.append(gw.connect())
        wires[-1].ask("/")
        gw.wait_for_metric(i + 1, "maitred_target_requests_in_flight")
    assert gw.metric("maitred_target_requests_in_flight", target=a.address) == 9
    assert gw.metric("maitred_target_requests_in_flight", target=b.address) == 3
    release.set()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()


def test_among_equals_least_connections_takes_turns(gateway, origin):
    gw = gateway(to=three(origin), upstream_settings={"algorithm": "least_connections"}, workers=1)
    with gw.connect() as wire:
        assert Counter(who(wire.get("/")) for _ in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_a_full_target_is_passed_by_and_a_full_upstream_says_so(gateway, origin):
    release = threading.Event()

    def script(call):
        release.wait(20)
        named(call)

    services = [origin(name, script=script) for name in "ab"]
    gw = gateway(to=services, upstream_settings={"max_requests_per_target": 2})
    wires = []
    for i in range(4):
        wires.append(gw.connect())
        wires[-1].ask("/hold")
        gw.wait_for_metric(i + 1, "maitred_target_requests_in_flight")
    for service in services:
        assert gw.metric("maitred_target_requests_in_flight", target=service.address) == 2
    assert gw.get("/full").status == 503
    assert gw.line(path="/full")["error"] == {"side": "upstream", "word": "upstream_full"}
    release.set()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()
    assert gw.get("/again").status == 200


@pytest.mark.tsan
def test_connections_to_a_target_are_limited_over_all_workers(gateway, origin):
    service = origin(script=lambda call: (pause.wait(0.01), named(call)))
    pause = threading.Event()
    gw = gateway(to=service, workers=2, upstream_settings={"max_connections_per_target": 3})
    statuses, lock = Counter(), threading.Lock()

    def client():
        for _ in range(10):
            status = gw.get("/").status
            with lock:
                statuses[status] += 1

    threads = [threading.Thread(target=client) for _ in range(8)]
    [t.start() for t in threads]
    highest = 0
    while any(t.is_alive() for t in threads):
        highest = max(highest, gw.metric("maitred_target_connections"))
    [t.join() for t in threads]
    assert highest <= 3
    assert set(statuses) <= {200, 503} and statuses[200] > 0
    assert gw.get("/after").status == 200


def test_idle_connections_are_kept_up_to_the_number_set(gateway, origin):
    release = threading.Barrier(7)

    def script(call):
        release.wait(20)
        named(call)

    service = origin(script=script)
    gw = gateway(to=service, workers=1, upstream_settings={"keep_alive_connections": 2})
    wires = [gw.connect() for _ in range(6)]
    for wire in wires:
        wire.ask("/")
    release.wait(20)
    for wire in wires:
        assert wire.response().status == 200
    gw.wait_for_metric(2, "maitred_upstream_connections_idle")
    for wire in wires:
        wire.close()


def test_no_connection_is_kept_when_none_shall_be(gateway, origin):
    service = origin(script=named)
    gw = gateway(to=service, upstream_settings={"keep_alive_connections": 0})
    with gw.connect() as wire:
        for _ in range(3):
            assert wire.get("/").status == 200
    assert len(service.wires) == 3
    assert gw.metric("maitred_upstream_connections_idle") == 0


def test_an_idle_connection_is_closed_after_its_time(gateway, origin):
    service = origin(script=named)
    gw = gateway(to=service, upstream_settings={"timeouts": {"idle": "200ms"}})
    assert gw.get("/").status == 200
    gw.wait_for_metric(0, "maitred_upstream_connections_idle")
    service.threads[1].join(10)
    assert service.wires[0].eof


def test_a_connection_to_a_service_ends_after_its_number_of_requests(gateway, origin):
    service = origin(script=named)
    gw = gateway(to=service, workers=1, upstream_settings={"max_requests_per_connection": 2})
    with gw.connect() as wire:
        for _ in range(4):
            assert wire.get("/").status == 200
    assert len(service.wires) == 2
    assert [r.get("Connection") for r in service.requests] == [None, "close", None, "close"]


def test_connections_are_kept_by_each_worker_and_used_again(gateway, origin):
    service = origin(script=named)
    gw = gateway(to=service, workers=2)
    for _ in range(30):
        assert gw.get("/").status == 200
    assert len(service.wires) <= 2
    assert gw.metric("maitred_upstream_connections_reused_total") >= 28


def test_upstreams_do_not_share_connections_or_turns(gateway, origin):
    a, b, _ = three(origin)
    gw = gateway(upstreams={"one": upstream(a), "two": upstream(b)},
                 routes=[{"match": {"prefix": "/one"}, "proxy": "one"}, {"match": {"prefix": "/two"}, "proxy": "two"}])
    with gw.connect() as wire:
        for _ in range(5):
            assert who(wire.get("/one/x")) == "a"
            assert who(wire.get("/two/x")) == "b"


def test_a_target_of_a_closed_port_does_not_take_requests_from_the_others(gateway, origin):
    a = origin("a", script=named)
    gw = gateway(to=[f"127.0.0.1:{ports.free_port()}", a])
    with gw.connect() as wire:
        for _ in range(20):
            assert who(wire.get("/")) == "a"
    assert gw.metric("maitred_upstream_connect_failures_total") > 0


def test_an_idle_connection_that_the_service_closes_is_let_go_at_once(gateway, origin):
    service = origin(script=named)
    gw = gateway(to=service, workers=1)
    assert gw.get("/").status == 200
    gw.wait_for_metric(1, "maitred_upstream_connections_idle")
    service.wires[0].end()
    gw.wait_for_metric(0, "maitred_upstream_connections_idle")
    assert gw.metric("maitred_target_connections") == 0
