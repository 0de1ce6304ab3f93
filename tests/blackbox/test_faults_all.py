"""All services down, nearly all, now and then, or others than before: which error it is, that it ends by itself, and who takes over."""
import json

import pytest

from kit import ports
from kit.crowd import Crowd, ask
from kit.faulty import ERROR, HANG, REFUSE, REFUSE_STREAM, RESET, WELL
from kit.gateway import wait_until
from kit.name_server import NameServer

ALL, CLIENTS = 60, 3
ROW = 3
ONCE, QUICK = {"attempts": 1}, {"backoff": "0"}
FAST = {"path": "/health", "interval": "700ms", "fast_interval": "20ms", "timeout": "600ms", "unhealthy_after": 2, "healthy_after": 1, "jitter": 0}
EJECT = {"consecutive_5xx": ROW, "base_ejection": "1h", "max_ejection": "1h", "max_ejected": "100%"}
TOLD = ("is ejected", "is unhealthy", "is not ready", "last targets stay")

versions = pytest.mark.parametrize("version", ["h1", "h2"])
methods = pytest.mark.parametrize("method", ["GET", "POST"])


@pytest.fixture
def three(faulty, gateway):
    """A gateway before three services that behave like this: (gateway, services)."""
    def make(version="h1", how=WELL, **settings):
        made = [faulty(name, version).be(how) for name in "abc"]
        settings = {"protocol": "h2" if version == "h2" else "http1", "retry": QUICK, **settings}
        return gateway(to=made, upstream_settings=settings, workers=2).allow(*TOLD), made

    return make


def all_be(services, how):
    for service in services:
        service.be(how)


def reached(services):
    return sum(s.count for s in services)


def told(gw, text, count=1, since=0):
    return gw.errors.wait(lambda e: text in e[2], f"that says {text}", count=count, since=since)


def none_failed(seen, *serving, count=ALL):
    assert len(seen.seen) >= count and not seen.failed, (seen.words(), seen.failed[:2])
    assert not serving or set(seen.who()) == set(serving)


def errors_of(gw, seen):
    """What the access log says of those that failed: {(side, word, tries)}."""
    paths = {s.path for s in seen.failed}
    lines = gw.access.wait(lambda l: isinstance(l, dict) and l["path"] in paths, "of what failed", count=len(paths))
    return {(l["error"]["side"], l["error"]["word"], l["tries"]) for l in lines}


# ---- all down ----


@versions
@pytest.mark.parametrize("method, how, status, words, tries", [
    ("GET", REFUSE, 502, {"connect_refused"}, {3}), ("POST", REFUSE, 502, {"connect_refused"}, {3}),
    ("GET", RESET, 502, {"reset", "closed_before_response"}, {3}), ("POST", RESET, 502, {"reset", "closed_before_response"}, {1}),
    ("POST", HANG, 504, {"response_timeout"}, {1})])
def test_when_all_are_down_each_answer_says_how_and_the_first_after_their_return_is_well(three, version, method, how, status, words, tries):
    gw, services = three(version, how, **({"timeouts": {"response": "200ms"}} if how == HANG else {}))
    seen = ask(gw.port, 12, clients=CLIENTS, method=method)
    assert {s.status for s in seen.seen} == {status} and set(seen.words()) <= words
    assert {(side, t) for side, _, t in errors_of(gw, seen)} == {("upstream", t) for t in tries}
    if how != HANG:
        all_be(services, WELL)
        none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method, prefix="/later"), *"abc")


@methods
def test_when_all_refuse_streams_each_answer_says_so_and_the_first_after_is_well(three, method):
    gw, services = three("h2", REFUSE_STREAM)
    assert ask(gw.port, 12, clients=CLIENTS, method=method).words() == {"stream_refused": 12}
    all_be(services, WELL)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method, prefix="/later"), *"abc")


@versions
@methods
def test_when_all_are_known_to_be_down_and_panic_is_off_nothing_is_sent_until_a_check_passes(three, version, method):
    gw, services = three(version, ERROR, health_check=FAST, panic_threshold=0)
    told(gw, "is unhealthy", count=3)
    seen = ask(gw.port, ALL, clients=CLIENTS, method=method)
    assert seen.words() == {"no_target": ALL} and {s.status for s in seen.seen} == {503}
    assert errors_of(gw, seen) == {("upstream", "no_target", 0)} and reached(services) == 0
    services[0].be(WELL)
    told(gw, "is healthy again")
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method, prefix="/later"), "a")
    assert reached(services[1:]) == 0


def test_when_all_are_ejected_and_panic_is_off_each_costs_one_row_and_time_lets_them_back(three):
    gw, services = three(how=ERROR, outlier_detection={**EJECT, "base_ejection": "1s"}, panic_threshold=0, retry=ONCE)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert 3 * ROW <= reached(services) == seen.words()[503] <= 3 * (ROW + CLIENTS - 1)
    assert seen.words()["no_target"] == ALL - reached(services)
    all_be(services, WELL)
    told(gw, "is let back", count=3)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/later"), *"abc")


# ---- panic ----


def test_a_check_that_fails_everywhere_while_the_services_are_well_costs_no_request(three):
    gw, services = three(health_check=FAST)
    for service in services:
        service.probes_see = ERROR
    told(gw, "is unhealthy", count=3)
    none_failed(ask(gw.port, ALL, clients=CLIENTS), *"abc")


@pytest.mark.parametrize("settings, failed", [
    ({"retry": ONCE}, 40), ({}, 0), ({"retry": ONCE, "panic_threshold": 0}, 0), ({"retry": ONCE, "panic_threshold": "33%"}, 0)],
    ids=["panic: two thirds", "panic and retries: none", "no panic: none", "a lower threshold: none"])
def test_with_two_of_three_down_a_panic_spends_tries_on_them_and_without_one_the_third_takes_all(three, settings, failed):
    gw, services = three(health_check=FAST, **settings)
    all_be(services[:2], REFUSE)
    told(gw, "is unhealthy", count=2)
    seen = ask(gw.port, ALL, clients=CLIENTS)
    assert len(seen.failed) == failed, seen.words()
    assert set(seen.who()) == {"c"}


# ---- backups ----


@pytest.fixture
def backed(faulty, gateway):
    def make(version="h1", **settings):
        a, spare = faulty("a", version), faulty("spare", version)
        settings = {"protocol": "h2" if version == "h2" else "http1", "retry": QUICK, **settings}
        targets = [{"address": a.address}, {"address": spare.address, "backup": True}]
        return gateway(upstreams={"app": {"targets": targets, **settings}}, routes=[{"proxy": "app"}]).allow(*TOLD), a, spare

    return make


@versions
@methods
def test_a_backup_serves_every_request_that_the_first_refuses_and_none_once_it_is_back(backed, version, method):
    gw, a, spare = backed(version)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method), "a")
    a.be(REFUSE)
    gw.wait_for_metric(0, "maitred_upstream_connections_idle")
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method, prefix="/down"), "spare")
    a.be(WELL)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, method=method, prefix="/back"), "a")
    assert spare.count == ALL


def test_with_a_health_check_the_backup_is_reached_by_the_first_try(backed):
    gw, a, spare = backed(health_check=FAST, retry=ONCE)
    a.be(REFUSE)
    told(gw, f"target {a.address} of `app` is unhealthy")
    none_failed(ask(gw.port, ALL, clients=CLIENTS), "spare")
    a.be(WELL)
    told(gw, f"target {a.address} of `app` is healthy again")
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/back"), "a")
    assert spare.count == ALL


# ---- now and then ----


@pytest.mark.tsan
@versions
def test_a_target_that_comes_and_goes_under_load_costs_no_get(three, version):
    gw, (a, b, c) = three(version)
    with Crowd(gw.port, clients=CLIENTS) as seen:
        for _ in range(4):
            a.wait_for(a.count + 5).be(REFUSE)
            seen.more(20)
            a.be(WELL)
    none_failed(seen, *"abc", count=80)


def test_a_target_that_comes_and_goes_under_load_costs_no_more_than_one_post_of_each_client_each_time(three):
    gw, (a, b, c) = three()
    times = 4
    with Crowd(gw.port, clients=CLIENTS, method="POST") as seen:
        for _ in range(times):
            a.wait_for(a.count + 5).be(REFUSE)
            seen.more(20)
            a.be(WELL)
    assert len(seen.failed) <= CLIENTS * times and set(seen.words()) <= {"closed_before_response", "reset"}, seen.words()
    paths = [path for s in (a, b, c) for _, path, _ in s.got]
    assert len(paths) == len(set(paths)), "none was sent twice"


@versions
def test_a_service_that_fails_its_readiness_and_ends_what_it_has_before_it_stops_costs_no_request_of_any_method(three, version):
    gw, (a, b, c) = three(version, readiness_check=FAST, retry=ONCE)
    with Crowd(gw.port, clients=CLIENTS, method="POST") as seen:
        a.wait_for(10).probes_see = ERROR
        told(gw, f"target {a.address} of `app` is not ready")
        wait_until(lambda: gw.metric("maitred_target_requests_in_flight", target=a.address) == 0, "what was under way has ended")
        a.be(REFUSE)
        seen.more(30)
    none_failed(seen, *"abc", count=40)


def test_a_target_that_returns_begins_with_a_tenth_of_its_share(three):
    gw, (a, b, c) = three(health_check=FAST, slow_start="1h", retry=ONCE)
    a.be(REFUSE)
    told(gw, "is unhealthy")
    a.be(WELL)
    told(gw, "is healthy again")
    none_failed(ask(gw.port, 300, clients=CLIENTS), *"abc", count=300)
    assert 0 < a.count <= 40, a.count  # a tenth of 150 by lot at most, and six sigma


# ---- others than before ----


@pytest.fixture
def names():
    server = NameServer()
    yield server
    server.stop()


@versions
@methods
def test_a_name_that_changes_under_traffic_fails_no_request_and_the_old_address_gets_none_any_more(gateway, faulty, names, version, method):
    port = ports.free_port()
    old, new = (faulty(name, version, host=host, port=port) for name, host in (("old", "127.0.0.11"), ("new", "127.0.0.12")))
    names.set("app.test", "127.0.0.11")
    settings = {"targets": [f"app.test:{port}"], "protocol": "h2" if version == "h2" else "http1", "retry": ONCE}
    gw = gateway(upstreams={"app": settings}, routes=[{"proxy": "app"}], resolver={"servers": [names.address]})
    with Crowd(gw.port, clients=CLIENTS, method=method) as seen:
        old.wait_for(20)
        names.set("app.test", "127.0.0.12")
        new.wait_for(20)
        gw.wait_for_metric(0, "maitred_target_requests_in_flight", target=f"app.test:{port} (127.0.0.11)")
        old.be(REFUSE)
        seen.more(20)
    none_failed(seen, "old", "new", count=40)


@methods
def test_a_name_server_that_fails_under_traffic_changes_nothing(gateway, faulty, names, method):
    a = faulty("a", host="127.0.0.11")
    names.set("app.test", "127.0.0.11")
    gw = gateway(upstreams={"app": {"targets": [f"app.test:{a.port}"], "retry": ONCE}}, routes=[{"proxy": "app"}], resolver={"servers": [names.address]}).allow(*TOLD)
    with Crowd(gw.port, clients=CLIENTS, method=method) as seen:
        a.wait_for(10)
        names.fail("app.test")
        told(gw, "last targets stay")
        seen.more(20)
    none_failed(seen, "a", count=30)


@methods
def test_a_list_of_targets_that_changes_under_traffic_fails_no_request_even_of_a_slow_service(gateway, faulty, folder, method):
    services = {name: faulty(name) for name in "abc"}
    services["a"].delay = 0.05
    path = folder / "targets.json"

    def put(wanted):
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps([services[name].address for name in wanted]))
        temporary.chmod(0o644)
        temporary.rename(path)

    put("ab")
    gw = gateway(upstreams={"app": {"targets": [{"file": str(path)}], "retry": ONCE}}, routes=[{"proxy": "app"}])
    with Crowd(gw.port, clients=CLIENTS, method=method) as seen:
        for wanted in ("bc", "a", "abc", "c"):
            seen.more(10)
            put(wanted)
            gw.wait_for_metric(len(wanted), "maitred_upstream_targets", upstream="app")
            for name in wanted:
                services[name].wait_for(services[name].count + 2)
        wait_until(lambda: services["a"].serving == services["b"].serving == 0, "what was under way has ended")
        before = services["a"].count + services["b"].count
        seen.more(20)
        assert services["a"].count + services["b"].count == before
    none_failed(seen, *"abc")


def test_nothing_is_ever_sent_to_a_disabled_target_not_even_when_it_alone_is_left(gateway, faulty, origin):
    says, agent_port, services = {}, ports.free_port(), []
    for i, name in enumerate("abc"):
        host = f"127.0.0.{21 + i}"
        services.append(faulty(name, host=host))
        says[name] = "maint" if name == "a" else "ready"
        origin(name, on_connect=lambda wire, name=name: wire.send(says[name] + "\n"), host=host, port=agent_port)
    agent = {"port": agent_port, "interval": "50ms", "jitter": 0}
    gw = gateway(to=services, upstream_settings={"agent_check": agent, "health_check": FAST, "retry": QUICK}).allow(*TOLD, "agent")
    a, b, c = services
    gw.wait_for_metric(0, "maitred_target_up", target=a.address)
    none_failed(ask(gw.port, ALL, clients=CLIENTS), "b", "c")
    all_be([b, c], REFUSE)
    told(gw, "is unhealthy", count=2)
    seen = ask(gw.port, ALL, clients=CLIENTS, prefix="/down")
    assert seen.words() == {"connect_refused": ALL} and a.count == 0
    says["a"] = "ready"
    gw.wait_for_metric(1, "maitred_target_up", target=a.address)
    none_failed(ask(gw.port, ALL, clients=CLIENTS, prefix="/ready"), "a")
