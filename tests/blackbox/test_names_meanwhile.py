"""What goes on while names are not known yet, or become others."""
import signal
import threading

import pytest

from kit import ports
from kit.gateway import Gateway, base_config
from kit.name_server import NameServer


@pytest.fixture
def names():
    server = NameServer()
    server.set("app.test", "127.0.0.1")
    yield server
    server.stop()


def config_of(names, service, **upstream):
    target = f"app.test:{service.port}"
    return {"upstreams": {"app": {"targets": [target], **upstream}}, "routes": [{"proxy": "app"}], "resolver": {"servers": [names.address]}}


def test_a_reload_that_changes_an_upstream_of_names_serves_the_old_one_until_they_are_known(gateway, origin, names):
    service = origin()
    gw = gateway(**config_of(names, service))
    names.may_answer.clear()
    while not names.asked.empty():
        names.asked.get()
    reload = threading.Thread(target=gw.reload, args=({**gw.config, **config_of(names, service, algorithm="least_connections")},))
    reload.start()
    names.asked.get(timeout=10)
    with gw.connect() as wire:
        assert wire.get("/").status == 200
        names.may_answer.set()
        reload.join(10)
        assert wire.get("/").status == 200


def test_addresses_that_change_under_a_request_leave_its_log_line_whole(gateway, origin, names):
    going_on = threading.Event()

    def waits(call):
        going_on.wait(10)
        call.answer(200)

    service = origin(script=waits)
    gw = gateway(**config_of(names, service))
    with gw.connect() as wire:
        wire.ask("/")
        service.arrived.get(timeout=10)
        names.set("app.test", "127.0.0.2")
        gw.wait_for_metric(lambda v: v == 0, "maitred_target_up", target=f"app.test:{service.port} (127.0.0.1)")
        going_on.set()
        assert wire.response().status == 200
    assert gw.line(path="/")["target"] == f"app.test:{service.port} (127.0.0.1)"


def test_it_can_be_stopped_while_it_waits_for_names(folder, origin, names):
    names.may_answer.clear()
    port = ports.free_port()
    gw = Gateway(folder, base_config(port, ports.free_port(), **config_of(names, origin())))
    gw._wait_ready = lambda: None
    gw._note_descriptors = lambda: None
    gw.start()
    names.asked.get(timeout=10)
    assert gw.stop(signal.SIGTERM) == 0
    gw.finish()


def test_a_reload_while_it_waits_for_names_is_what_comes_into_force(folder, origin, names):
    service = origin()
    names.may_answer.clear()
    port = ports.free_port()
    gw = Gateway(folder, base_config(port, ports.free_port(), **config_of(names, service)))
    wait_ready, gw._wait_ready, gw._note_descriptors = gw._wait_ready, lambda: None, lambda: None
    gw.start()
    names.asked.get(timeout=10)
    gw.write({**gw.config, "routes": [{"respond": 204}]})
    gw.kill(signal.SIGHUP)
    gw.notify.wait_for("RELOADING")
    names.may_answer.set()
    wait_ready()
    gw.port = port
    assert gw.get("/").status == 204
    assert gw.stop(signal.SIGTERM) == 0
    gw.finish()
