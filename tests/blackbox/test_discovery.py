"""Targets that are found: SRV records and watched files, what changes with them, and what stays when they fail."""
import json
from collections import Counter

import pytest

import kit.gateway
from kit import ports
from kit.gateway import run, wait_until
from kit.load import Load
from kit.name_server import NameServer


@pytest.fixture
def names():
    server = NameServer()
    yield server
    server.stop()


def named(call):
    call.answer(200, call.origin.name, [("X-Who", call.origin.name)])


@pytest.fixture
def services(origin):
    """Four, on addresses and ports of their own; by name."""
    return {name: origin(name, script=named, host=f"127.0.0.{11 + i}", port=ports.free_port()) for i, name in enumerate("abcd")}


def put(path, content):
    """Replaced in one step, as whoever cares does it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(content if isinstance(content, str) else json.dumps(content))
    temporary.chmod(0o644)
    temporary.rename(path)


def tally(gw, count=12, **more):
    with gw.connect() as wire:
        return Counter(wire.get("/", **more).get("X-Who") for _ in range(count))


def becomes(gw, wanted):
    wait_until(lambda: set(tally(gw)) == set(wanted), f"{wanted} serve")


def following(gateway, targets, names=None, **more):
    settings = more.pop("settings", {})
    resolver = {"resolver": {"servers": [names.address]}} if names else {}
    return gateway(upstreams={"app": {"targets": targets, **settings}}, routes=[{"proxy": "app"}], **resolver, **more)


def updates(gw, result, source):
    return gw.metric("maitred_discovery_updates_total", upstream="app", source=source, result=result)


# ---- SRV ----

SERVICE = "_http._tcp.app.test"


def give_srv(names, services, *records, ttl=1):
    for service in services.values():
        names.set(f"{service.name}.test", service.address.split(":")[0], ttl=3600)
    names.set_srv(SERVICE, *((priority, weight, services[name].port, f"{name}.test") for priority, weight, name in records), ttl=ttl)


def test_hosts_ports_and_weights_come_from_srv_records(gateway, services, names):
    give_srv(names, services, (10, 30, "a"), (10, 10, "b"))
    gw = following(gateway, [{"srv": SERVICE}], names, workers=1)
    assert tally(gw, 40) == {"a": 30, "b": 10}  # from the first request on
    assert gw.line(path="/")["target"].startswith(("a.test:", "b.test:"))


def test_large_weights_keep_their_proportion_and_zeros_are_equals(gateway, services, names):
    give_srv(names, services, (1, 60000, "a"), (1, 20000, "b"))
    gw = following(gateway, [{"srv": SERVICE}], names, workers=1)
    assert tally(gw, 40) == {"a": 30, "b": 10}
    give_srv(names, services, (1, 0, "c"), (1, 0, "d"))
    becomes(gw, "cd")
    assert tally(gw, 40) == {"c": 20, "d": 20}


def test_the_next_priority_serves_when_the_first_is_gone(gateway, services, names):
    give_srv(names, services, (10, 1, "a"), (20, 1, "b"))
    gw = following(gateway, [{"srv": SERVICE}], names)
    assert set(tally(gw)) == {"a"}
    services["a"].kill()
    with gw.connect() as wire:
        assert [wire.get("/").get("X-Who") for _ in range(4)] == ["b"] * 4  # each by a further try


def test_srv_records_are_asked_for_again_when_their_time_is_over(gateway, services, names):
    give_srv(names, services, (1, 1, "a"), ttl=1)
    gw = following(gateway, [{"srv": SERVICE}], names)
    assert set(tally(gw)) == {"a"}
    give_srv(names, services, (1, 1, "b"), ttl=3600)
    becomes(gw, "b")
    while not names.asked.empty():
        names.asked.get()
    give_srv(names, services, (1, 1, "c"), ttl=3600)
    names.set_srv("_other._tcp.app.test", (1, 1, services["d"].port, "d.test"), ttl=1)
    gw.reload({**gw.config, "upstreams": {**gw.config["upstreams"], "other": {"targets": [{"srv": "_other._tcp.app.test"}]}},
               "routes": [{"match": {"path": "/other"}, "proxy": "other"}, {"proxy": "app"}]})
    for _ in range(3):  # one second each; the name of the long one is not among what is asked
        assert names.asked.get(timeout=10) != SERVICE
    assert set(tally(gw)) == {"b"}


def test_a_change_of_hosts_waits_until_the_new_ones_are_known(gateway, services, names):
    give_srv(names, services, (1, 1, "a"))
    gw = following(gateway, [{"srv": SERVICE}], names)
    gw.allow("b.test", "its last targets stay")
    give_srv(names, services, (1, 1, "b"))
    names.fail("b.test")
    gw.errors.wait(lambda e: "last targets stay" in e[2], "that the last targets stay")
    assert set(tally(gw)) == {"a"}
    names.set("b.test", "127.0.0.12")
    becomes(gw, "b")


@pytest.mark.parametrize("code", [2, 3], ids=["SERVFAIL", "NXDOMAIN"])
def test_a_failing_name_server_changes_nothing(gateway, services, names, code):
    give_srv(names, services, (1, 1, "a"))
    gw = following(gateway, [{"srv": SERVICE}], names).allow("its last targets stay")
    assert set(tally(gw)) == {"a"}
    names.fail(SERVICE, code)
    gw.errors.wait(lambda e: e[1] == "discovery" and "last targets stay" in e[2], "that the last targets stay")
    assert set(tally(gw)) == {"a"}
    assert updates(gw, "failed", "srv") >= 1 and updates(gw, "changed", "srv") == 1
    give_srv(names, services, (1, 1, "b"))
    becomes(gw, "b")
    gw.errors.wait(lambda e: e[0] == "notice" and "answers again" in e[2], "that it answers again")


def test_a_service_that_nobody_knows_is_a_503_until_there_is_one(gateway, services, names):
    gw = following(gateway, [{"srv": SERVICE}], names).allow("it has no targets yet")
    assert gw.get("/none").status == 503
    assert gw.line(path="/none")["error"]["word"] == "name_unresolved"
    give_srv(names, services, (1, 1, "a"))
    becomes(gw, "a")


# ---- files ----


@pytest.fixture
def targets(folder):
    return folder / "targets.yaml"


def test_a_file_of_targets_is_read_at_the_start_and_followed(gateway, services, targets):
    put(targets, f"- {services['a'].address}\n- {{ address: {services['b'].address}, weight: 3 }}\n")
    gw = following(gateway, [{"file": str(targets)}], workers=1)
    assert tally(gw, 40) == {"a": 10, "b": 30}
    put(targets, {"targets": [services["c"].address]})  # JSON, and the long form
    becomes(gw, "c")
    assert updates(gw, "changed", "file") == 2


def test_a_relative_path_begins_at_the_folder_of_the_configuration(gateway, services, folder):
    own = folder / "gateway0"  # where the fixture puts the first gateway's configuration

    def later(*args):
        put(own / "targets.json", [services["a"].address])

    write = kit.gateway.Gateway.write
    try:
        kit.gateway.Gateway.write = lambda self, config: (later(), write(self, config))
        gw = following(gateway, [{"file": "targets.json"}])
    finally:
        kit.gateway.Gateway.write = write
    assert set(tally(gw)) == {"a"}


def test_a_broken_file_keeps_the_last_good_list_and_tells_the_place(gateway, services, targets):
    put(targets, [services["a"].address])
    gw = following(gateway, [{"file": str(targets)}])
    gw.allow("its last targets stay", "targets.yaml:")
    broken = {
        "- 127.0.0.1:80\n- nonsense\n": "targets.yaml:2:3: ",
        "- { address: 127.0.0.1:80, wieght: 3 }\n": "did you mean `weight`",
        "[": "targets.yaml:2:1: not valid YAML",
        "": "targets.yaml",
        "- { file: other.yaml }\n": "not `file` or `srv`",
        "- 127.0.0.1:80\n- 127.0.0.1:80\n": "the same target stands",
    }
    for text, told in broken.items():
        since = len(gw.errors.items)
        put(targets, text)
        gw.errors.wait(lambda e: e[0] == "error" and told in e[2], f"that tells {told}", since=since)
        assert set(tally(gw, 4)) == {"a"}
    put(targets, [services["b"].address])
    becomes(gw, "b")


def test_a_file_that_goes_away_keeps_its_targets(gateway, services, targets):
    put(targets, [services["a"].address])
    gw = following(gateway, [{"file": str(targets)}]).allow("the file is not there")
    targets.unlink()
    gw.errors.wait(lambda e: "the file is not there; its last targets stay" in e[2], "that it is not there")
    assert set(tally(gw)) == {"a"}
    put(targets, [services["b"].address])
    becomes(gw, "b")


def test_a_file_that_comes_later_is_a_503_until_then(gateway, services, targets):
    gw = following(gateway, [{"file": str(targets)}]).allow("it has no targets yet")
    assert gw.get("/").status == 503
    put(targets, [services["a"].address])
    becomes(gw, "a")
    put(targets, "[]")  # written down, so it is meant
    wait_until(lambda: gw.get("/").status == 503, "there is no target")


def test_a_file_behind_a_link_is_followed_when_the_link_moves(gateway, services, folder):
    """As Kubernetes mounts a ConfigMap."""
    for name in "ab":
        (folder / f"v{name}").mkdir()
        put(folder / f"v{name}" / "targets.yaml", [services[name].address])
    (folder / "data").symlink_to("va")
    (folder / "targets.yaml").symlink_to("data/targets.yaml")
    gw = following(gateway, [{"file": str(folder / "targets.yaml")}])
    assert set(tally(gw)) == {"a"}
    (folder / "data.new").symlink_to("vb")
    (folder / "data.new").rename(folder / "data")
    becomes(gw, "b")


def test_names_in_a_file_are_resolved_and_followed(gateway, services, targets, names):
    names.set("a.test", "127.0.0.11", ttl=1)
    put(targets, [f"a.test:{services['a'].port}", services["b"].address])
    gw = following(gateway, [{"file": str(targets)}], names)
    assert set(tally(gw)) == {"a", "b"}
    names.set("a.test")
    gw.allow("its last targets stay")
    gw.errors.wait(lambda e: "last targets stay" in e[2], "that the last targets stay")
    assert set(tally(gw)) == {"a", "b"}


def test_sources_and_addresses_mix_and_a_target_counts_once(gateway, services, targets, names):
    give_srv(names, services, (1, 1, "b"))
    put(targets, [services["a"].address, services["c"].address])
    gw = following(gateway, [services["a"].address, {"srv": SERVICE}, {"file": str(targets)}], names, workers=1)
    assert tally(gw, 30) == {"a": 10, "b": 10, "c": 10}


@pytest.mark.tsan
def test_a_file_replaced_under_traffic_fails_no_request(gateway, services, targets):
    put(targets, [s.address for s in services.values()])
    gw = following(gateway, [{"file": str(targets)}])
    with Load(gw.port, clients=3, fresh=1, pause=0.001) as load:
        for wanted in ("ab", "c", "abcd", "d", "ad"):
            put(targets, [services[name].address for name in wanted])
            counts = {s.name: len(s.requests) for s in services.values()}
            wait_until(lambda: all(len(services[n].requests) > counts[n] for n in wanted), f"{wanted} serve")
        load.served(50)


def test_a_target_that_stays_keeps_its_counts_and_its_keys(gateway, services, targets):
    put(targets, [services[n].address for n in "abc"])
    gw = following(gateway, [{"file": str(targets)}], settings={"algorithm": "hash", "hash": "{header.X-User}"})

    def placed():
        with gw.connect() as wire:
            return {user: wire.get("/", fields=[("X-User", f"user {user}")]).get("X-Who") for user in range(60)}

    before = placed()
    picks = gw.metric("maitred_target_picks_total", target=services["a"].address)
    assert picks > 0
    put(targets, [services[n].address for n in "dcba"])
    gw.wait_for_metric(4, "maitred_upstream_targets", upstream="app")
    wait_until(lambda: "d" in placed().values(), "the new one serves")
    after = placed()
    moved = {user for user in before if before[user] != after[user]}
    assert {after[user] for user in moved} == {"d"} or len([u for u in moved if after[u] != "d"]) <= 6  # Maglev moves a few more
    assert len(moved) <= 30
    assert gw.metric("maitred_target_picks_total", target=services["a"].address) >= picks


def test_a_reload_that_changes_something_else_asks_nobody_again(gateway, services, targets, names):
    give_srv(names, services, (1, 1, "a"), ttl=3600)
    gw = following(gateway, [{"srv": SERVICE}], names)
    assert set(tally(gw)) == {"a"}
    while not names.asked.empty():
        names.asked.get()
    gw.reload({**gw.config, "routes": [{"match": {"path": "/x"}, "respond": 204}, {"proxy": "app"}]})
    assert set(tally(gw)) == {"a"} and names.asked.empty()


def test_mistakes_in_a_target_are_told(folder):
    mistakes = {
        "{ srv: _http._tcp.app.test, address: 127.0.0.1:1 }": "expected one of `address`, `srv` and `file`",
        "{ weight: 3 }": "expected one of `address`, `srv` and `file`",
        "{ srv: 'a b' }": "no name that could have SRV records",
        "{ srv: app.test, weight: 3 }": "the weights come from the records",
        "{ file: targets.yaml, weight: 3 }": "the weights come from the file",
        "{ address: 127.0.0.1:1, backup: true, priority: 2 }": "a `backup` comes behind all priorities",
        "{ address: 127.0.0.1:1, priority: 101 }": "100",
    }
    for text, told in mistakes.items():
        config = folder / "wrong.yaml"
        config.write_text(f"listeners: [ 127.0.0.1:1 ]\nupstreams: {{ app: {{ targets: [ {text} ] }} }}\nroutes: [ {{ proxy: app }} ]\n")
        checked = run("check", "-c", config)
        assert checked.returncode != 0 and told in checked.stderr, (text, checked.stderr)
