"""Reloads, upgrades and dying targets under load: nobody outside notices."""
import asyncio
import os
import signal
import threading

import pytest
import websockets

from kit.gateway import SANITIZED, THREAD_SANITIZED, upstream, wait_until
from kit.load import Load
from kit.origin import Origin
from kit.wire import connect
from test_tunnels import UPGRADE, echo, websocket_service  # noqa: F401: a fixture

RELOADS = 200 if not THREAD_SANITIZED else 60


def variant(config, number, *origins):
    """Another configuration each time: other routes, other policies, targets coming and going, a listener more or less."""
    own = [{"match": {"path": f"/only/{number}"}, "respond": 200}, {"match": {"prefix": "/ws"}, "proxy": "sockets"}]
    policies = [{"headers": {"response": {"set": {"X-Generation": str(number)}}}}] if number % 2 else []
    targets = origins if number % 3 else origins[:1]
    return {**config, "routes": [*own, {"policies": policies, "proxy": "app"}],
            "upstreams": {**config["upstreams"], "app": upstream(*targets, keep_alive_connections=16 + number % 5)}}


class Sockets(threading.Thread):
    """WebSocket clients that talk all the time and must never be closed, or (`comes_back`) only with 1001."""

    def __init__(self, port, count, comes_back=False):
        super().__init__()
        self.port, self.count, self.failed, self.rounds = port, count, [], 0
        self.comes_back, self.farewells = comes_back, 0
        self.ready, self.stopping = threading.Barrier(2), threading.Event()
        self.start()
        self.ready.wait(20)

    async def _connected(self, number, barrier):
        async with websockets.connect(f"ws://127.0.0.1:{self.port}/ws/{number}") as socket:
            await barrier()
            while not self.stopping.is_set():
                await socket.send(f"{number}:{self.rounds}")
                await socket.recv()
                self.rounds += 1
                await asyncio.sleep(0.01)

    async def _talk(self, number, barrier):
        async def again():
            pass

        try:
            while not self.stopping.is_set():
                try:
                    await self._connected(number, barrier)
                except websockets.ConnectionClosed as closed:
                    if not self.comes_back or closed.code != 1001:
                        raise
                    self.farewells += 1
                barrier = again
        except Exception as error:
            self.failed.append(repr(error))

    async def _all(self):
        connected = 0

        async def barrier():
            nonlocal connected
            connected += 1
            if connected == self.count:
                await asyncio.get_running_loop().run_in_executor(None, self.ready.wait, 20)

        await asyncio.gather(*(self._talk(n, barrier) for n in range(self.count)))

    def run(self):
        asyncio.run(self._all())

    def finish(self):
        self.stopping.set()
        self.join(30)
        assert not self.failed, self.failed
        assert self.rounds > self.count


@pytest.mark.slow
@pytest.mark.tsan
@pytest.mark.timeout(180)
def test_a_storm_of_reloads_fails_no_request_closes_no_connection_and_leaves_no_memory(gateway, origin, websocket_service):  # noqa: F811
    services = [origin(n, script=lambda call: call.answer(200, "x" * 500)) for n in "ab"]
    gw = gateway(upstreams={"app": upstream(*services), "sockets": upstream(websocket_service)},
                 routes=[{"match": {"prefix": "/ws"}, "proxy": "sockets"}, {"proxy": "app"}])
    sockets = Sockets(gw.port, 5)
    with Load(gw.port, clients=4, fresh=2) as load:
        load.served(200)
        for i in range(RELOADS // 4):
            gw.reload(variant(gw.config, i, *services))
        load.served(20)
        settled = gw.rss()
        for i in range(RELOADS - RELOADS // 4):
            gw.reload(variant(gw.config, i, *services))
            load.served(5)
        load.served(50)
        grown = gw.rss() - settled
        assert load.reconnects == 0, "a kept connection was closed"
    sockets.finish()
    assert gw.metric("maitred_reloads_total", result="success") == RELOADS
    if not SANITIZED:
        assert grown < 3 << 20, grown


@pytest.mark.slow
@pytest.mark.tsan
def test_reloads_that_come_faster_than_they_are_done_end_in_the_last_one(gateway):
    gw = gateway(routes=[{"match": {"path": "/0"}, "respond": 200}])

    with Load(gw.port, clients=2, fresh=1, ask=lambda wire, *unused: wire.get("/0")) as load:
        load.served(20)
        for i in range(1, 51):
            gw.write({**gw.config, "routes": [{"match": {"path": f"/{i}"}, "respond": 200}, {"match": {"path": "/0"}, "respond": 200}]})
            os.kill(gw.pid, signal.SIGHUP)
        wait_until(lambda: gw.get("/50").status == 200, "the last one is in force")
        load.served(20)


@pytest.mark.slow
@pytest.mark.tsan
@pytest.mark.timeout(120)
def test_upgrades_under_load_fail_no_request_and_cut_no_tunnel(gateway, origin, websocket_service):  # noqa: F811
    services = [origin(n, script=lambda call: call.answer(200, "x" * 500)) for n in "ab"]
    gw = gateway(upstreams={"app": upstream(*services), "sockets": upstream(websocket_service)},
                 routes=[{"match": {"prefix": "/ws"}, "proxy": "sockets"}, {"proxy": "app"}])
    sockets = Sockets(gw.port, 3, comes_back=True)
    first = gw.pid
    with Load(gw.port, clients=4, fresh=2) as load:
        load.served(100)
        for _ in range(3):
            gw.upgrade()
            load.served(100)
        assert gw.pid != first
    gw.wait_for_old()
    sockets.finish()
    assert sockets.farewells >= 3
    gw.reload()
    assert gw.get("/after").status == 200


def test_an_upgrade_hands_over_and_the_old_process_ends_well(gateway, origin):
    gw = gateway(to=origin())
    old = gw.pid
    with gw.connect() as wire:
        assert wire.get("/before").status == 200
        gw.upgrade()
        response = wire.get("/during")  # the old process: idle connections end with the answer to their next request
        while response.get("Connection") is None:  # it has not heard yet
            assert response.status == 200
            response = wire.get("/during")
        assert response.status == 200 and response.get("Connection") == "close"
        assert wire.is_closed()
    gw.wait_for_old()
    assert gw.pid != old
    assert gw.get("/after").status == 200
    assert gw.admin("/readyz").status == 200


def test_a_request_in_progress_is_finished_by_the_old_process(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (call.request.path == "/slow" and release.wait(20), call.answer(200, "done")))
    gw = gateway(to=service)
    with gw.connect() as slow:
        slow.ask("/slow")
        service.wait_for_request()
        gw.upgrade()
        assert gw.get("/new").status == 200
        release.set()
        assert slow.response().text == "done"
    gw.wait_for_old()


def test_a_tunnel_is_kept_by_the_old_process_for_as_long_as_the_drain_allows(gateway, origin):
    gw = gateway(to=origin(script=echo))
    with gw.connect() as wire:
        assert wire.get("/up", fields=UPGRADE).status == 101
        gw.upgrade()
        wire.send(b"still")
        assert wire.exactly(5) == b"STILL"
        wire.end()
        assert wire.rest() == b"bye"
    gw.wait_for_old()


def test_unix_sockets_survive_an_upgrade(gateway, folder):
    path, admin = str(folder / "gate;way=1,2%3B.sock"), str(folder / "admin.sock")
    gw = gateway(listeners=[f"unix:{path}"], admin=f"unix:{admin}", routes=[{"respond": 200}])
    gw.upgrade()
    gw.wait_for_old()
    for where, target in ((path, "/"), (admin, "/healthz")):
        with connect(where) as wire:
            assert wire.get(target).status == 200
    assert gw.stop() == 0
    assert not os.path.exists(path) and not os.path.exists(admin)


def test_an_upgrade_reads_the_file_anew(gateway):
    gw = gateway(routes=[{"match": {"path": "/one"}, "respond": 200}], workers=1)
    gw.write({**gw.config, "routes": [{"match": {"path": "/two"}, "respond": 200}], "workers": 2})
    gw.upgrade()
    gw.wait_for_old()
    assert gw.get("/two").status == 200
    assert gw.metric("maitred_workers") == 2


def test_an_upgrade_to_fewer_workers_loses_no_connection(gateway):
    gw = gateway(routes=[{"respond": 200}], workers=4)
    with Load(gw.port, clients=1, fresh=4) as load:
        load.served(100)
        gw.write({**gw.config, "workers": 1})
        gw.upgrade()
        load.served(300)
    gw.wait_for_old()
    assert gw.metric("maitred_workers") == 1
    for _ in range(20):  # on every socket that was handed over
        assert gw.get("/").status == 200


def test_an_upgrade_that_fails_leaves_the_old_process_serving(gateway):

    gw = gateway(routes=[{"respond": 200}]).allow("")
    with gw.connect() as wire:
        assert wire.get("/").status == 200
        gw.write("frob: 1\n")
        gw.kill(signal.SIGUSR2)
        gw.errors.wait(lambda e: e[1] == "upgrade" and e[0] == "error", "that the upgrade failed")
        assert wire.get("/").status == 200
        assert gw.get("/").status == 200
        assert gw.admin("/readyz").status == 200
        gw.write(gw.config)
        gw.upgrade()
        assert gw.get("/").status == 200
    gw.wait_for_old()


@pytest.mark.slow
@pytest.mark.tsan
def test_a_target_that_dies_and_comes_back_is_used_again(gateway, origin):


    a, b = (origin(n, script=lambda call: call.answer(200, call.origin.name)) for n in "ab")
    gw = gateway(to=[a, b], upstream_settings={"retry": {"attempts": 4, "budget": "100%", "backoff": "5ms"}})
    seen = set()

    def ask(wire, *unused):
        response = wire.get("/")
        seen.add(response.text)
        return response

    with Load(gw.port, clients=4, fresh=1, ask=ask) as load:
        load.served(100)
        a.kill()
        load.served(100)
        seen.clear()
        again = Origin("again", script=lambda call: call.answer(200, call.origin.name), port=a.port)
        try:
            load.served(400)
        finally:
            load.stop()
            again.stop()
    assert seen == {"again", "b"}
