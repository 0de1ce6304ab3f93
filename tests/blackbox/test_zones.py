"""Priorities, backups and zones: who serves first, how much spills over, and when."""
import json
from collections import Counter

import pytest

from kit.gateway import wait_until


def named(call):
    call.answer(200, call.origin.name, [("X-Who", call.origin.name)])


class Services:
    """Services whose health checks fail when they are told to."""

    def __init__(self, origin):
        self.origin, self.ill, self.all = origin, set(), {}

    def __call__(self, name):
        def script(call):
            if call.request.path == "/health":
                call.answer(503 if name in self.ill else 200)
            else:
                named(call)

        if name not in self.all:
            self.all[name] = self.origin(name, script=script)
        return self.all[name].address


@pytest.fixture
def services(origin):
    return Services(origin)


CHECK = {"path": "/health", "interval": "200ms", "fast_interval": "20ms", "unhealthy_after": 1, "healthy_after": 1}


def tally(gw, count=400):
    with gw.connect() as wire:
        return Counter(wire.get("/").get("X-Who") for _ in range(count))


def started(gateway, targets, zone=None, env=None, **settings):
    config = {"upstreams": {"app": {"targets": targets, "panic_threshold": 0, **settings}}, "routes": [{"proxy": "app"}]}
    return gateway(**config, **({"zone": zone} if zone else {}), workers=1, env=env)


def become_ill(gw, services, *names):
    gw.allow("is unhealthy")
    services.ill = set(names)
    for name, service in services.all.items():
        gw.wait_for_metric(0 if name in names else 1, "maitred_target_up", target=service.address)


def near(share, wanted, spread=0.1):
    return abs(share - wanted) <= spread


def test_the_first_priority_serves_alone_while_it_can(gateway, services):
    targets = [{"address": services("a")}, {"address": services("b"), "priority": 1}, {"address": services("c"), "backup": True}]
    assert set(tally(started(gateway, targets), 60)) == {"a"}


def test_a_backup_serves_when_all_before_it_are_ill_and_no_longer(gateway, services):
    targets = [services("a"), services("b"), {"address": services("c"), "backup": True}]
    gw = started(gateway, targets, health_check=CHECK)
    assert set(tally(gw, 30)) == {"a", "b"}
    become_ill(gw, services, "a", "b")
    assert set(tally(gw, 30)) == {"c"}
    become_ill(gw, services)
    assert set(tally(gw, 30)) == {"a", "b"}


def test_a_priority_spills_over_what_its_available_targets_are_not_meant_for(gateway, services):
    """2 of 4 at 1.4 carry 0.7; the rest goes to the next."""
    targets = [*map(services, "abcd"), {"address": services("x"), "priority": 1}]
    gw = started(gateway, targets, health_check=CHECK)
    become_ill(gw, services, "a")  # 3 of 4: 1.05, which is enough
    assert "x" not in tally(gw, 100)
    become_ill(gw, services, "a", "b")
    seen = tally(gw, 1000)
    assert near(seen["x"] / 1000, 0.3, 0.07) and set(seen) == {"c", "d", "x"}, seen


def test_overprovisioning_can_be_set(gateway, services):
    targets = [services("a"), services("b"), {"address": services("x"), "priority": 1}]
    gw = started(gateway, targets, health_check=CHECK, overprovision=2)
    become_ill(gw, services, "a")  # half of them, at 2, carry all
    assert set(tally(gw, 60)) == {"b"}


def test_the_own_zone_serves_first_and_spills_over_to_the_others(gateway, services):
    targets = [{"address": services(n), "zone": "north" if n in "abcd" else "south"} for n in "abcdxy"]
    gw = started(gateway, targets, zone="north", health_check=CHECK)
    assert set(tally(gw, 60)) == set("abcd")
    become_ill(gw, services, "a", "b")  # the zone carries 0.7 of it
    seen = tally(gw, 1000)
    assert near((seen["x"] + seen["y"]) / 1000, 0.3, 0.07) and set(seen) == set("cdxy"), seen
    become_ill(gw, services, "a", "b", "c", "d")
    assert set(tally(gw, 60)) == {"x", "y"}


def test_another_zone_of_the_first_priority_comes_before_the_second_priority(gateway, services):
    targets = [{"address": services("a"), "zone": "north"}, {"address": services("x"), "zone": "south"},
               {"address": services("b"), "zone": "north", "priority": 1}]
    gw = started(gateway, targets, zone="north", health_check=CHECK, overprovision=2)
    become_ill(gw, services, "a")
    assert set(tally(gw, 60)) == {"x"}


def test_without_a_zone_of_its_own_a_gateway_takes_all_alike(gateway, services):
    targets = [{"address": services("a"), "zone": "north"}, {"address": services("x"), "zone": "south"}]
    assert tally(started(gateway, targets), 60) == {"a": 30, "x": 30}


def test_the_zone_comes_from_the_environment_and_a_target_without_one_is_near(gateway, services):
    targets = [{"address": services("a"), "zone": "north"}, {"address": services("x"), "zone": "south"}, services("b")]
    gw = started(gateway, targets, zone="${ZONE}", env={"ZONE": "south"})
    assert set(tally(gw, 60)) == {"x", "b"}


def test_a_reload_with_another_zone_counts_at_once(gateway, services):
    targets = [{"address": services("a"), "zone": "north"}, {"address": services("x"), "zone": "south"}]
    gw = started(gateway, targets, zone="north")
    assert set(tally(gw, 30)) == {"a"}
    gw.reload({**gw.config, "zone": "south"})
    assert set(tally(gw, 30)) == {"x"}


def test_priorities_in_a_file_are_followed(gateway, services, folder):
    path = folder / "targets.json"

    def put(*targets):
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(targets))
        temporary.chmod(0o644)
        temporary.rename(path)

    put({"address": services("a")}, {"address": services("b"), "backup": True})
    gw = started(gateway, [{"file": str(path)}])
    assert set(tally(gw, 30)) == {"a"}
    put({"address": services("a"), "priority": 1}, {"address": services("b")})
    wait_until(lambda: set(tally(gw, 10)) == {"b"}, "the other one is first")
    put({"address": services("a"), "weight": 0}, {"address": services("b"), "backup": True})
    gw.allow("weight 0")
    wait_until(lambda: set(tally(gw, 10)) == {"b"}, "the backup serves where the first weigh nothing")
