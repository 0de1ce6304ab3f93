"""Each algorithm in the whole gateway, with two workers: shares, keys, who is passed by."""
import threading
from collections import Counter

import pytest

from kit.gateway import run


def who(response):
    return response.get("X-Who")


def named(call):
    call.answer(200, call.origin.name, [("X-Who", call.origin.name)])


def services(origin, names="abcd", script=named):
    return [origin(name, script=script) for name in names]


def upstream(targets, weights=None, **settings):
    weights = weights or [1] * len(targets)
    return {"upstreams": {"app": {"targets": [{"address": t.address, "weight": w} for t, w in zip(targets, weights)],
                                  **settings}},
            "routes": [{"proxy": "app"}]}


def in_parallel(gw, connections, each):
    """So many connections, which the kernel spreads over the workers, with so many requests each; who served them."""
    seen, lock = Counter(), threading.Lock()

    def client():
        with gw.connect() as wire:
            mine = Counter(who(wire.get("/")) for _ in range(each))
        with lock:
            seen.update(mine)

    threads = [threading.Thread(target=client) for _ in range(connections)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return seen


@pytest.mark.tsan
def test_round_robin_is_exactly_even_over_two_workers(gateway, origin):
    gw = gateway(workers=2, **upstream(services(origin, "abc"), [3, 2, 1]))
    assert in_parallel(gw, 12, 25) == {"a": 150, "b": 100, "c": 50}


@pytest.mark.parametrize("table", ["maglev", "ring", "rendezvous"])
def test_a_key_keeps_its_target_on_every_worker_and_after_a_restart(gateway, origin, table):
    config = upstream(services(origin), algorithm="hash", hash={"key": "{header.X-User}", "table": table})
    gw = gateway(workers=2, **config)
    users = [f"user-{n}" for n in range(40)]
    places = {user: who(gw.get("/", fields=[("X-User", user)])) for user in users}
    assert set(places.values()) == set("abcd")
    for _ in range(3):  # each on a connection of its own
        for user in users:
            assert who(gw.get("/", fields=[("X-User", user)])) == places[user]
    gw.stop()
    again = gateway(workers=1, **config)
    assert {user: who(again.get("/", fields=[("X-User", user)])) for user in users} == places


def test_a_client_keeps_its_target_by_its_address(gateway, origin):
    gw = gateway(workers=2, **upstream(services(origin), algorithm="ip_hash"))
    assert len(in_parallel(gw, 8, 5)) == 1


def test_only_the_keys_of_a_target_that_left_move(gateway, origin):
    targets = services(origin)
    settings = {"algorithm": "hash", "hash": {"key": "{query.k}", "table": "rendezvous"}}
    before = gateway(**upstream(targets, **settings))
    keys = [f"/?k={n}" for n in range(60)]
    old = {key: who(before.get(key)) for key in keys}
    before.stop()
    after = gateway(**upstream(targets[1:], **settings))
    new = {key: who(after.get(key)) for key in keys}
    assert {key for key in keys if new[key] != old[key]} == {key for key in keys if old[key] == "a"}


def test_a_bound_keeps_one_popular_key_from_filling_its_target(gateway, origin):
    release = threading.Event()

    def script(call):
        release.wait(20)
        named(call)

    targets = services(origin, "abcd", script)
    gw = gateway(workers=2, **upstream(targets, algorithm="hash", hash={"key": "{path}", "bounded_load": "150%"}))
    wires = []
    for n in range(16):
        wires.append(gw.connect())
        wires[-1].ask("/popular")
        gw.wait_for_metric(n + 1, "maitred_target_requests_in_flight")
    busy = [gw.metric("maitred_target_requests_in_flight", target=t.address) for t in targets]
    assert max(busy) == 6, busy  # 150 % of the mean of four
    release.set()
    for wire in wires:
        assert wire.response().status == 200
        wire.close()


def test_the_one_that_answers_soonest_serves(gateway, origin):
    release = threading.Event()

    def slow(call):
        release.wait(0.05)
        named(call)

    gw = gateway(workers=2, **upstream([origin("slow", script=slow), origin("fast", script=named)],
                                       algorithm="least_response_time"))
    assert in_parallel(gw, 1, 5)["fast"] >= 3
    seen = in_parallel(gw, 2, 30)
    release.set()
    assert seen["fast"] > 50, seen


@pytest.mark.parametrize("algorithm", ["random", "power_of_two"])
def test_chance_follows_the_weights(gateway, origin, algorithm):
    gw = gateway(workers=2, **upstream(services(origin, "ab"), [3, 1], algorithm=algorithm))
    seen = in_parallel(gw, 1, 400)  # two at once, and the power of two would see the other
    assert abs(seen["a"] - 300) <= 45, seen  # five sigma of a coin that falls so


@pytest.mark.parametrize("settings, message", [
    ("algorithm: hash", "`hash` needs a key"),
    ("algorithm: ip_hash\n    hash: '{path}'", "`ip_hash` has its own key"),
    ("hash: { table: ring }", "`hash` has no effect with `algorithm: round_robin`"),
    ("algorithm: hash\n    hash: { key: '{path}', bounded_load: 99% }", "from 100% (the mean) to 1000%"),
    ("algorithm: hash\n    hash: { key: '{path}', table: rings }", "did you mean `ring`?"),
])
def test_settings_that_do_not_fit_together_are_named(tmp_path, settings, message):
    file = tmp_path / "x.yaml"
    file.write_text("listeners: [ 127.0.0.1:8080 ]\nupstreams:\n  app:\n    targets: [ 127.0.0.1:9001 ]\n"
                    f"    {settings}\nroutes: [ {{ proxy: app }} ]\n")
    result = run("check", file)
    assert result.returncode != 0
    assert message in result.stderr
