"""Targets by name: resolved at start, again as their time says, without ever holding up a request."""
import pytest

from kit import ports
from kit.gateway import upstream, wait_until
from kit.load import Load
from kit.name_server import NameServer


@pytest.fixture(autouse=True)  # so that it outlives the gateways that ask it
def names():
    server = NameServer()
    yield server
    server.stop()


def at(origin, host, port):
    return origin(host, host=host, port=port, script=lambda call: call.answer(200, call.origin.name))


def resolving(gateway, names, target, **more):
    return gateway(to=target, resolver={"servers": [names.address]}, workers=more.pop("workers", 2), **more)


def seen(gw, count=12):
    with gw.connect() as wire:
        return {wire.get("/").text for _ in range(count)}


def test_a_name_stands_for_all_its_addresses(gateway, origin, names):
    port = ports.free_port()
    services = [at(origin, f"127.0.0.{i}", port) for i in (11, 12, 13)]
    names.set("app.test", *(s.name for s in services))
    gw = resolving(gateway, names, f"app.test:{port}")
    assert seen(gw) == {s.name for s in services}  # from the first request on
    assert gw.line(path="/")["target"].startswith("app.test:")


def test_a_name_is_resolved_again_when_its_time_is_over(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port), at(origin, "127.0.0.12", port)
    names.set("app.test", "127.0.0.11", ttl=1)
    gw = resolving(gateway, names, f"app.test:{port}")
    assert seen(gw) == {"127.0.0.11"}
    names.set("app.test", "127.0.0.12", ttl=1)
    wait_until(lambda: seen(gw) == {"127.0.0.12"}, "the new address is used")


def test_a_long_time_to_live_is_kept_to(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port)
    names.set("long.test", "127.0.0.11", ttl=3600)
    names.set("short.test", "127.0.0.11", ttl=1)
    gw = resolving(gateway, names, [f"long.test:{port}", f"short.test:{port}"])
    assert seen(gw) == {"127.0.0.11"}
    asked = [names.asked.get(timeout=10) for _ in range(4)]
    assert asked.count("long.test") == 1 and asked.count("short.test") == 3


def test_a_name_that_stops_resolving_keeps_its_last_addresses(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port)
    names.set("app.test", "127.0.0.11", ttl=1)
    gw = resolving(gateway, names, f"app.test:{port}").allow("its last targets stay")
    assert seen(gw) == {"127.0.0.11"}
    names.fail("app.test")
    gw.errors.wait(lambda e: e[1] == "discovery" and "last targets stay" in e[2], "that the last targets stay")
    assert seen(gw) == {"127.0.0.11"}


def test_a_name_that_does_not_resolve_is_a_503_until_it_does(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port)
    gw = resolving(gateway, names, f"app.test:{port}").allow("it has no targets yet", "its last targets stay")
    response = gw.get("/none")
    assert response.status == 503
    assert gw.line(path="/none")["error"] == {"side": "upstream", "word": "name_unresolved"}
    names.set("app.test", "127.0.0.11")
    wait_until(lambda: gw.get("/").status == 200, "the name resolves")  # a failure is asked about again soon


def test_names_and_addresses_mix_and_the_same_address_counts_once(gateway, origin, names):
    port = ports.free_port()
    services = [at(origin, f"127.0.0.{i}", port) for i in (11, 12)]
    names.set("app.test", "127.0.0.11", "127.0.0.12")
    gw = resolving(gateway, names, [f"app.test:{port}", services[0].address], workers=1)
    with gw.connect() as wire:
        got = [wire.get("/").text for _ in range(10)]
    assert got.count("127.0.0.11") == got.count("127.0.0.12") == 5


def test_requests_are_served_while_a_name_server_says_nothing(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port)
    names.set("app.test", "127.0.0.11", ttl=1)
    gw = resolving(gateway, names, f"app.test:{port}").allow("it has no targets yet", "its last targets stay")
    assert seen(gw) == {"127.0.0.11"}
    while not names.asked.empty():
        names.asked.get()
    names.silent = True
    names.asked.get(timeout=10)  # it is being asked now
    assert seen(gw, 50) == {"127.0.0.11"}
    assert gw.admin("/healthz").status == 200
    names.silent = False  # the next time it is asked


def test_a_reload_with_a_new_name_waits_for_nothing_and_uses_it_when_it_is_known(gateway, origin, names):
    port = ports.free_port()
    at(origin, "127.0.0.11", port), at(origin, "127.0.0.12", port)
    names.set("one.test", "127.0.0.11")
    names.set("two.test", "127.0.0.12")
    gw = resolving(gateway, names, f"one.test:{port}")
    assert seen(gw) == {"127.0.0.11"}
    gw.reload({**gw.config, "upstreams": {"app": upstream(f"two.test:{port}")}})
    wait_until(lambda: seen(gw, 2) == {"127.0.0.12"}, "the new name is used")


@pytest.mark.tsan
@pytest.mark.slow
def test_addresses_that_come_and_go_under_load_fail_no_request(gateway, origin, names):
    port = ports.free_port()
    services = [at(origin, f"127.0.0.{i}", port) for i in (11, 12, 13)]
    names.set("app.test", "127.0.0.11", ttl=1)
    gw = resolving(gateway, names, f"app.test:{port}")
    with Load(gw.port, clients=3, fresh=1, pause=0.002) as load:
        for addresses in (("127.0.0.12", "127.0.0.13"), ("127.0.0.11",), ("127.0.0.11", "127.0.0.12", "127.0.0.13")):
            names.set("app.test", *addresses, ttl=1)
            counts = {s.name: len(s.requests) for s in services}
            wait_until(lambda: all(len(s.requests) > counts[s.name] for s in services if s.name in addresses), "the new addresses are used")
        load.served(50)
