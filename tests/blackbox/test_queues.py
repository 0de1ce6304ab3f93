"""Limits of upstreams and targets, and the queue of those who wait for a permit."""
import threading
from collections import Counter

import pytest

from kit.gateway import run
from kit.wire import connect


class Held:
    """A script whose requests stand until they are released, one by one or all; it counts what goes on at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.gates = {}      # by path
        self.order = []      # paths, as they came
        self.now = self.most = 0
        self.open = False    # whoever comes is let through
        self.came = threading.Condition(self.lock)

    def gate(self, path):
        return self.gates.setdefault(path, threading.Event())

    def __call__(self, call):
        path = call.request.target
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(path)
            gate = self.gate(path)
            if self.open:
                gate.set()
            self.came.notify_all()
        assert gate.wait(20)
        with self.lock:
            self.now -= 1
        call.answer(200, path, [("X-Who", call.origin.name)])

    def wait_for(self, count):
        with self.lock:
            assert self.came.wait_for(lambda: len(self.order) >= count, 15), self.order

    def release(self, path):
        with self.lock:
            self.gate(path).set()

    def release_all(self):
        with self.lock:
            self.open = True
            for gate in self.gates.values():
                gate.set()


@pytest.fixture
def held():
    made = Held()
    yield made
    made.release_all()


def ask(gw, path, **more):
    wire = gw.connect()
    wire.ask(path, **more)
    return wire


def waiting(gw, count):
    gw.wait_for_metric(count, "maitred_upstream_queue_waiting", upstream="app")


def ask_in_turn(gw, paths):
    """Each is in the queue before the next one comes."""
    wires = []
    for i, path in enumerate(paths):
        wires.append(ask(gw, path))
        waiting(gw, i + 1)
    return wires


def finish(wires):
    for wire in wires:
        assert wire.response().status == 200
        wire.close()


def test_a_full_upstream_says_which_limit_and_when_to_come_back(gateway, origin, held):
    gw = gateway(to=origin(script=held), upstream_settings={"max_requests": 1})
    first = ask(gw, "/first")
    held.wait_for(1)
    response = gw.get("/second")
    assert response.status == 503 and response.get("Retry-After") == "1"
    assert "`max_requests`" in response.text
    assert gw.line(path="/second")["error"] == {"side": "upstream", "word": "upstream_full"}
    assert gw.metric("maitred_upstream_limit", upstream="app", limit="requests") == 1
    assert gw.metric("maitred_upstream_requests_in_flight", upstream="app") == 1
    held.release_all()
    finish([first])
    assert gw.get("/third").status == 200


def crowd(gw, clients, each):
    statuses, lock = Counter(), threading.Lock()

    def client(number):
        with gw.connect() as wire:
            for i in range(each):
                status = wire.get(f"/{number}-{i}").status
                with lock:
                    statuses[status] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    assert not any(t.is_alive() for t in threads)
    return statuses


@pytest.mark.tsan
@pytest.mark.parametrize("settings, per_target, in_all", [
    ({"max_requests": 3}, 3, 3),
    ({"max_requests_per_target": 2}, 2, 4),
    ({"max_requests": 3, "max_requests_per_target": 2}, 2, 3),
    ({"max_connections_per_target": 2}, 2, 4),
    ({"max_connections": 3}, 3, 3),
], ids=["upstream", "targets", "both", "connections_of_targets", "connections"])
def test_limits_are_exact_over_workers_and_everybody_is_served(gateway, origin, settings, per_target, in_all):
    lock, now, most = threading.Lock(), Counter(), Counter()
    pause = threading.Event()

    def script(call):
        with lock:
            for what in (call.origin.name, "all"):
                now[what] += 1
                most[what] = max(most[what], now[what])
        pause.wait(0.002)
        with lock:
            for what in (call.origin.name, "all"):
                now[what] -= 1
        call.answer(200)

    services = [origin(name, script=script) for name in "ab"]
    gw = gateway(to=services, workers=2, upstream_settings={**settings, "queue": {"size": 100, "timeout": "20s"}})
    assert crowd(gw, clients=12, each=15) == {200: 180}
    assert most["all"] == in_all and max(most["a"], most["b"]) <= per_target
    waiting(gw, 0)
    assert gw.metric("maitred_upstream_queue_waits_total", upstream="app") > 0
    assert gw.metric("maitred_upstream_queue_timeouts_total", upstream="app") == 0


def test_a_service_never_sees_more_connections_than_the_upstream_may_have(gateway, origin):
    lock, open_now, most = threading.Lock(), [0], [0]
    pause = threading.Event()

    def on_connect(wire):
        with lock:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        try:
            service._requests(wire)
        finally:
            with lock:
                open_now[0] -= 1

    service = origin(on_connect=on_connect, script=lambda call: (pause.wait(0.002), call.answer(200)))
    gw = gateway(to=service, workers=2, upstream_settings={"max_connections": 2, "queue": {"timeout": "20s"}})
    assert crowd(gw, clients=8, each=10) == {200: 80}
    # a connection that the gateway has closed may be told to the service behind the next one
    assert gw.metric("maitred_upstream_connections", upstream="app") <= 2
    assert most[0] <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_those_who_wait_are_served_in_their_order(gateway, origin, held, workers):
    gw = gateway(to=origin(script=held), workers=workers, upstream_settings={"max_requests": 1, "queue": {}})
    first = ask(gw, "/0")
    held.wait_for(1)
    wires = ask_in_turn(gw, [f"/{i}" for i in range(1, 7)])
    for i in range(7):
        held.release(f"/{i}")
        held.wait_for(min(i + 2, 7))
    finish([first] + wires)
    assert held.order == [f"/{i}" for i in range(7)]
    assert held.most == 1


def test_the_queue_is_bounded_over_all_workers(gateway, origin, held):
    gw = gateway(to=origin(script=held), workers=2, upstream_settings={"max_requests": 1, "queue": {"size": 3}})
    wires = [ask(gw, "/0")]
    held.wait_for(1)
    wires += ask_in_turn(gw, ["/1", "/2", "/3"])
    response = gw.get("/more")
    assert response.status == 503 and response.get("Retry-After") == "1"
    assert gw.line(path="/more")["error"]["word"] == "queue_full"
    assert gw.metric("maitred_upstream_queue_refused_total", upstream="app") == 1
    held.release_all()
    finish(wires)


def test_who_waits_too_long_gets_503_and_the_time_is_in_the_log(gateway, origin, held):
    gw = gateway(to=origin(script=held), upstream_settings={"max_requests": 1, "queue": {"timeout": "150ms"}})
    first = ask(gw, "/first")
    held.wait_for(1)
    response = gw.get("/late")
    assert response.status == 503 and response.get("Retry-After") == "1"
    line = gw.line(path="/late")
    assert line["error"] == {"side": "upstream", "word": "queue_timeout"}
    assert line["queue_ms"] >= 149
    assert "tries" not in line or line["tries"] == 0
    assert gw.metric("maitred_upstream_queue_timeouts_total", upstream="app") == 1
    waiting(gw, 0)
    held.release_all()
    finish([first])
    assert "queue_ms" not in gw.line(path="/first")
    assert gw.get("/again").status == 200


def test_a_client_that_leaves_frees_its_place(gateway, origin, held):
    gw = gateway(to=origin(script=held), upstream_settings={"max_requests": 1, "queue": {"size": 1}})
    first = ask(gw, "/first")
    held.wait_for(1)
    gone = ask(gw, "/gone")
    waiting(gw, 1)
    gone.reset()
    waiting(gw, 0)
    second = ask(gw, "/second")
    waiting(gw, 1)
    held.release_all()
    finish([first, second])
    assert held.order == ["/first", "/second"]


def test_the_response_timeout_begins_behind_the_wait(gateway, origin, held):
    settings = {"max_requests": 1, "queue": {"timeout": "20s"}, "timeouts": {"response": "400ms"}, "retry": {"attempts": 1}}
    gw = gateway(to=origin(script=held), upstream_settings=settings)
    first = ask(gw, "/first")
    held.wait_for(1)
    second = ask(gw, "/second")
    assert first.response().status == 504  # which gives the second its turn, with all of its own time
    held.wait_for(2)
    held.release_all()
    finish([second])
    assert gw.line(path="/second")["queue_ms"] > 0


def test_the_time_of_the_whole_exchange_holds_the_wait(gateway, origin, held):
    gw = gateway(to=origin(script=held), upstream_settings={"max_requests": 1, "queue": {"timeout": "20s"}},
                 routes=[{"match": {"path": "/short"}, "timeout": "200ms", "proxy": "app"}, {"proxy": "app"}])
    first = ask(gw, "/first")
    held.wait_for(1)
    assert gw.get("/short").status == 504
    assert gw.line(path="/short")["error"]["word"] == "exchange_timeout"
    waiting(gw, 0)
    held.release_all()
    finish([first])


def test_a_session_waits_for_its_own_target_while_others_are_served(gateway, origin, held):
    services = [origin(name, script=held) for name in "ab"]
    held.open = True
    gw = gateway(to=services, upstream_settings={"sticky": {}, "max_requests_per_target": 1, "queue": {}}, workers=2)
    response = gw.get("/begin")
    cookie = ("Cookie", response.get("Set-Cookie").split(";")[0])
    mine = response.get("X-Who")
    held.open = False
    held.gates.clear()
    busy = ask(gw, "/busy", fields=[cookie])
    held.wait_for(2)
    session = ask(gw, "/session", fields=[cookie])
    waiting(gw, 1)
    held.release("/other")
    assert gw.get("/other").get("X-Who") != mine
    waiting(gw, 1)
    held.release_all()
    assert busy.response().get("X-Who") == mine
    assert session.response().get("X-Who") == mine
    busy.close(), session.close()


def test_those_who_wait_survive_a_reload_and_get_the_raised_limit(gateway, origin, held):
    service = origin(script=held)
    gw = gateway(to=service, workers=2, upstream_settings={"max_requests": 1, "queue": {}})
    wires = [ask(gw, "/0")]
    held.wait_for(1)
    wires += ask_in_turn(gw, ["/1", "/2"])
    config = dict(gw.config)
    config["upstreams"] = {"app": {"targets": [service.address], "max_requests": 8, "queue": {"size": 50}}}
    gw.reload(config)
    waiting(gw, 2)
    held.release_all()
    finish(wires)
    assert gw.get("/after").status == 200
    waiting(gw, 0)


def test_a_target_may_have_limits_of_its_own(gateway, origin, held):
    a, b = [origin(name, script=held) for name in "ab"]
    targets = [{"address": a.address, "max_requests": 1}, {"address": b.address, "max_requests": 3}]
    gw = gateway(upstreams={"app": {"targets": targets, "max_requests_per_target": 9, "queue": {}}}, routes=[{"proxy": "app"}])
    wires = []
    for i in range(4):
        wires.append(ask(gw, f"/{i}"))
        held.wait_for(i + 1)
    wires += ask_in_turn(gw, ["/4"])
    assert (len(a.requests), len(b.requests)) == (1, 3)
    assert gw.metric("maitred_target_limit", upstream="app", target=a.address, limit="requests") == 1
    held.release_all()
    finish(wires)


def test_a_wait_ends_when_a_service_dies_and_the_request_goes_where_there_is_room(gateway, origin, held):
    a, b = [origin(name, script=held) for name in "ab"]
    gw = gateway(to=[a, b], upstream_settings={"max_requests_per_target": 1, "queue": {}})
    wires = [ask(gw, "/0"), ask(gw, "/1")]
    held.wait_for(2)
    waiter = ask(gw, "/2")
    waiting(gw, 1)
    held.release("/0")
    assert wires[0].response().status == 200
    held.wait_for(3)
    held.release_all()
    finish([wires[1], waiter])
    wires[0].close()


def test_idle_connections_of_one_target_make_room_for_another(gateway, origin):
    a, b = [origin(name, script=lambda call: call.answer(200, b"", [("X-Who", call.origin.name)])) for name in "ab"]
    gw = gateway(to=[a, b], workers=2, upstream_settings={"max_connections": 1, "queue": {"timeout": "10s"}})
    seen = Counter()
    for _ in range(12):
        with gw.connect() as wire:
            response = wire.get("/")
            assert response.status == 200
            seen[response.get("X-Who")] += 1
    assert seen == {"a": 6, "b": 6}


def test_a_queue_without_a_limit_is_warned_of(folder):
    path = folder / "maitred.yaml"
    path.write_text("listeners: [ 127.0.0.1:8080 ]\nupstreams: { app: { targets: [ 127.0.0.1:9 ], queue: on } }\nroutes: [ { proxy: app } ]\n")
    checked = run("check", str(path))
    assert checked.returncode == 0
    assert "nothing is limited, so nobody will wait" in checked.stdout + checked.stderr


def test_a_limit_that_finds_itself_protects_a_service_that_can_do_little_at_once(gateway, origin):
    servers, lock, queued, most = threading.Semaphore(3), threading.Lock(), [0], [0]
    pause = threading.Event()

    def script(call):
        with lock:
            queued[0] += 1
            most[0] = max(most[0], queued[0])
        with servers:
            pause.wait(0.003)
        with lock:
            queued[0] -= 1
        call.answer(200)

    settings = {"adaptive_concurrency": {"min": 2, "max": 40, "initial": 30}, "queue": {"timeout": "30s"}}
    gw = gateway(to=origin(script=script), workers=2, upstream_settings=settings)
    assert gw.metric("maitred_upstream_limit", upstream="app", limit="adaptive") == 30
    limits = []
    while len(limits) < 8 and (not limits or limits[-1] >= 25):  # how soon it finds it depends on the machine
        assert crowd(gw, clients=40, each=50) == {200: 2000}
        limits.append(gw.metric("maitred_upstream_limit", upstream="app", limit="adaptive"))
    assert most[0] <= 40
    assert limits[-1] < 25, limits
