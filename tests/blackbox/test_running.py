"""The process: its signals, its logs, its user, and what it tells the service manager."""
import grp
import json
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import threading

import pytest

from kit import ports
from kit.gateway import BINARY, base_config, upstream, wait_until
from kit.wire import connect

ROUTE = [{"match": {"path": "/one"}, "respond": {"body": "1"}}]
OTHER = [{"match": {"path": "/two"}, "respond": {"body": "2"}}]


# ---- the service manager ----


def test_the_service_manager_is_told_of_ready_reloading_and_stopping(gateway):
    gw = gateway(routes=ROUTE)
    assert gw.notify.seen[0]["READY"] == "1" and int(gw.notify.seen[0]["MAINPID"]) == gw.pid
    gw.kill(signal.SIGHUP)
    reloading = gw.notify.next()
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
    assert gw.notify.next()["READY"] == "1"
    assert gw.stop() == 0
    assert gw.notify.next()["STOPPING"] == "1"


def test_a_failed_reload_is_ready_again(gateway):
    gw = gateway(routes=ROUTE).allow("configuration in force stays", "unknown field", "required field")
    gw.write("frob: 1\n")
    gw.kill(signal.SIGHUP)
    assert "RELOADING" in gw.notify.next() and "READY" in gw.notify.next()
    gw.write(gw.config)


def test_an_abstract_notify_socket_is_spoken_to(folder):
    name = f"gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(10)
        config = folder / "a.yaml"
        config.write_text(json.dumps(base_config(ports.free_port(), ports.free_port(), access_log="off")))
        process = subprocess.Popen([BINARY, "run", "-c", config], env=dict(os.environ, NOTIFY_SOCKET="@" + name), stderr=subprocess.DEVNULL)
        assert b"READY=1" in sock.recv(1000)
        process.terminate()
        assert process.wait(10) == 0


# ---- HUP ----


def test_hup_puts_the_new_file_in_force(gateway):
    gw = gateway(routes=ROUTE)
    with gw.connect() as wire:
        assert wire.get("/one").text == "1"
        gw.reload({**gw.config, "routes": OTHER})
        assert wire.get("/one").status == 404
        assert wire.get("/two").text == "2"  # on the connection that was there before
    assert gw.metric("maitred_reloads_total", result="success") == 1
    assert gw.metric("maitred_configuration_generation") == 2


@pytest.mark.parametrize("mistake", [
    "frob: 1\n", "", "a: [", '{"listeners": ["127.0.0.1:1"], "routes": [{"proxy": "nobody"}]}',
    '{"listeners": ["127.0.0.1:1"], "routes": [{"match": {"regex": "("}, "respond": 200}]}'])
def test_a_reload_with_a_mistake_changes_nothing_and_says_what_is_wrong(gateway, mistake):
    gw = gateway(routes=ROUTE).allow("")
    gw.write(mistake)
    gw.kill(signal.SIGHUP)
    gw.errors.wait(lambda e: e[0] == "error" and "stays" in e[2], "that the configuration stays")
    assert gw.errors.has(lambda e: e[0] == "error" and re.search(r"gateway\.yaml:\d+:\d+: ", e[2]))
    assert gw.get("/one").text == "1"
    assert gw.metric("maitred_reloads_total", result="failure") == 1
    assert gw.metric("maitred_configuration_generation") == 1
    gw.reload(gw.config)
    assert gw.get("/one").text == "1"


def test_a_reload_to_a_port_in_use_changes_nothing(gateway):
    gw = gateway(routes=ROUTE).allow("in use", "stays", "cannot listen")
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        config = {**gw.config, "routes": OTHER, "listeners": [f"127.0.0.1:{gw.port}", "127.0.0.1:%d" % taken.getsockname()[1]]}
        gw.write(config)
        gw.kill(signal.SIGHUP)
        gw.errors.wait(lambda e: "stays" in e[2], "that the configuration stays")
    assert gw.get("/one").text == "1"
    gw.reload(config)  # it is free now
    gw._note_descriptors()
    assert gw.get("/two").text == "2"


def test_a_reload_adds_and_removes_listeners_without_closing_a_connection(gateway):
    gw = gateway(routes=ROUTE)
    old, new = gw.port, ports.free_port()
    wire = gw.connect()
    assert wire.get("/one").status == 200
    gw.reload({**gw.config, "listeners": [f"127.0.0.1:{new}"]})
    gw.port = new
    with gw.connect() as other:
        assert other.get("/one").status == 200
    wait_until(lambda: refuses(old), "nothing listens on the old port")
    assert wire.get("/one").status == 200  # its listener is gone: it ends with an answer
    wire.close()


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_request_in_progress_ends_on_the_configuration_it_began_with(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (release.wait(20), call.answer(200, "slow")))
    policies = [{"headers": {"response": {"set": {"X-Generation": "first"}}}}]
    gw = gateway(to=service, routes=[{"proxy": "app", "policies": policies}])
    with gw.connect() as wire:
        wire.ask("/")
        service.wait_for_request()
        gw.reload({k: v for k, v in {**gw.config, "routes": OTHER}.items() if k != "upstreams"})
        gw.reload()
        release.set()
        response = wire.response()
        assert (response.text, response.get("X-Generation")) == ("slow", "first")
        assert wire.get("/two").text == "2"


def test_targets_change_by_a_reload_and_kept_connections_of_the_others_stay(gateway, origin):
    a, b, c = (origin(n, script=lambda call: call.answer(200, call.origin.name)) for n in "abc")
    gw = gateway(to=[a, b], workers=1)
    with gw.connect() as wire:
        assert {wire.get("/").text for _ in range(4)} == {"a", "b"}
        gw.reload({**gw.config, "upstreams": {"app": upstream(b, c)}})
        assert {wire.get("/").text for _ in range(4)} == {"b", "c"}
    a.threads[1].join(10)
    assert a.wires[0].eof  # what is no target any more is let go


def test_what_a_reload_cannot_change_is_said(gateway):
    gw = gateway(routes=ROUTE, workers=1).allow("stays", "restart")
    gw.reload({**gw.config, "workers": 2})
    gw.errors.wait(lambda e: e[0] == "warning" and "workers" in e[2], "of workers")
    assert gw.metric("maitred_workers") == 1


# ---- TERM ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_it_ends_at_once_when_nothing_is_in_progress(gateway, number):
    gw = gateway(routes=ROUTE)
    idle = gw.connect()
    assert idle.get("/one").status == 200
    assert gw.stop(number, timeout=5) == 0
    assert idle.is_closed()
    idle.close()
    gw.errors.wait(lambda e: e[1] == "stop" and "ended" in e[2], "that it has ended")


def test_term_lets_what_is_in_progress_end_and_takes_nothing_new(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (release.wait(20), call.answer(200, "done")))
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/")
        service.wait_for_request()
        gw.kill(signal.SIGTERM)
        gw.notify.wait_for("STOPPING")
        wait_until(lambda: refuses(gw.port), "nothing listens any more")
        assert gw.admin("/readyz").status == 503 and gw.admin("/healthz").status == 200
        release.set()
        response = wire.response()
        assert response.text == "done" and response.get("Connection") == "close"
        assert wire.is_closed()
    assert gw._exit_code(gw.pid, 10) == 0
    gw.pid = None


def test_what_does_not_end_within_the_drain_time_is_cut(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (release.wait(20), call.close()))
    gw = gateway(to=service, timeouts={"drain": "300ms"})
    with gw.connect() as wire:
        wire.ask("/")
        service.wait_for_request()
        assert gw.stop(timeout=5) == 0
        assert wire.is_gone()
    release.set()


def test_a_second_term_cuts_at_once(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (release.wait(20), call.close()))
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/")
        service.wait_for_request()
        gw.kill(signal.SIGTERM)
        gw.notify.wait_for("STOPPING")
        assert gw.stop(timeout=5) == 0
        assert wire.is_gone()
    release.set()


def test_signals_that_come_too_late_change_nothing(gateway, origin):
    release = threading.Event()
    service = origin(script=lambda call: (release.wait(20), call.answer(200, "done")))
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/")
        service.wait_for_request()
        gw.kill(signal.SIGTERM)
        gw.notify.wait_for("STOPPING")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGPIPE):
            gw.kill(number)
        release.set()
        assert wire.response().text == "done"
    assert gw._exit_code(gw.pid, 10) == 0
    gw.pid = None


def test_it_serves_on_when_it_is_out_of_descriptors_and_recovers(gateway, origin):
    gw = gateway(to=origin(), workers=1).allow("cannot accept", "Too many open files")
    resource.prlimit(gw.pid, resource.RLIMIT_NOFILE, (len(gw.descriptors()) + 12, 4096))
    kept = gw.connect()
    assert kept.get("/").status == 200
    others = [gw.connect() for _ in range(30)]
    for wire in others:
        wire.ask("/")
    gw.errors.wait(lambda e: "Too many open files" in e[2], "of too many files")
    response = kept.get("/")  # which has its connections
    assert response.status in (200, 502, 503)
    for wire in others[:15]:
        wire.close()
    for wire in others[15:]:
        assert wire.response().status in (200, 502, 503)
        wire.close()
    assert kept.get("/").status == 200
    kept.close()


def test_its_unix_sockets_are_gone_when_it_has_ended(gateway, folder):
    path = folder / "listen.sock"
    gw = gateway(listeners=[f"unix:{path}"], routes=ROUTE)
    with connect(str(path)) as wire:
        assert wire.get("/one").status == 200
    assert gw.stop() == 0
    assert not path.exists()


def test_a_unix_socket_that_a_crash_left_behind_is_taken_over(gateway, folder):
    path = folder / "listen.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    gateway(listeners=[f"unix:{path}"], routes=ROUTE)
    with connect(str(path)) as wire:
        assert wire.get("/one").status == 200


# ---- USR1 ----


def test_usr1_reopens_the_access_log_and_loses_no_line(gateway, folder):
    log = folder / "access.log"
    gw = gateway(routes=ROUTE, access_log=str(log))
    with gw.connect() as wire:
        for i in range(100):
            wire.get(f"/one?{i}")
            if i == 49:
                log.rename(folder / "access.log.1")
                gw.kill(signal.SIGUSR1)
                wait_until(log.exists, "the log is made anew")
        wait_until(lambda: len(lines(log)) + len(lines(folder / "access.log.1")) == 100, "all lines are there")
    queries = [json.loads(l)["query"] for l in lines(folder / "access.log.1") + lines(log)]
    assert sorted(queries, key=int) == [str(i) for i in range(100)]
    assert lines(log), "the new file is used"


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_the_access_log_is_appended_to(gateway, folder):
    log = folder / "access.log"
    log.write_text("what was there\n")
    log.chmod(0o666)
    gateway(routes=ROUTE, access_log=str(log)).get("/one")
    wait_until(lambda: len(lines(log)) == 2, "a line is added")
    assert lines(log)[0] == "what was there"


# ---- the user ----


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestAsRoot:
    @pytest.fixture
    def low_port(self):
        return ports.free_low_port() or pytest.skip("no low port is free")

    def test_root_becomes_the_user_and_keeps_only_the_right_to_low_ports(self, gateway, low_port):
        gw = gateway(routes=ROUTE, user="nobody")
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{gw.pid}/status") if ":\t" in line)
        nobody = pwd.getpwnam("nobody")
        assert set(status["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(status["Gid"].split()) == {str(nobody.pw_gid)}
        assert "0" not in status["Groups"].split()
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE
        assert status["NoNewPrivs"].strip() == "1"
        for task in os.listdir(f"/proc/{gw.pid}/task"):
            text = open(f"/proc/{gw.pid}/task/{task}/status").read()
            assert re.search(r"Uid:\t(\d+)", text)[1] == str(nobody.pw_uid), "a thread stayed root"
        gw.reload({**gw.config, "listeners": [f"127.0.0.1:{low_port}"]})
        gw.port = low_port
        assert gw.get("/one").status == 200

    def test_low_ports_survive_an_upgrade(self, gateway, low_port):
        gw = gateway(routes=ROUTE, user="nobody", listeners=[f"127.0.0.1:{low_port}"])
        gw.port = low_port
        gw.upgrade()
        assert gw.get("/one").status == 200
        gw.reload()
        assert gw.get("/one").status == 200

    def test_the_default_user_is_nobody(self, gateway):
        gw = gateway(routes=ROUTE, user=None)
        assert re.search(r"Uid:\t(\d+)", open(f"/proc/{gw.pid}/status").read())[1] == str(pwd.getpwnam("nobody").pw_uid)

    def test_an_unknown_user_is_told_and_nothing_starts(self, folder):
        config = folder / "a.yaml"
        config.write_text(json.dumps(base_config(ports.free_port(), ports.free_port(), user="nobody-of-that-name")))
        result = subprocess.run([BINARY, "run", "-c", config], capture_output=True, text=True, timeout=20)
        assert result.returncode == 1 and "nobody-of-that-name" in result.stderr

    def test_a_log_of_its_own_is_written_after_the_drop(self, gateway, folder):
        log = folder / "access.log"
        gw = gateway(routes=ROUTE, user="nobody", access_log=str(log))
        gw.get("/one")
        wait_until(lambda: len(lines(log)) == 1, "a line is written")

    def test_started_as_somebody_else_it_stays_so(self, folder):
        user = pwd.getpwnam("nobody")
        config = folder / "a.yaml"
        port = ports.free_port()
        config.write_text(json.dumps(base_config(port, ports.free_port(), user="root", access_log="off")))
        process = subprocess.Popen([BINARY, "run", "-c", config], user=user.pw_uid, group=grp.getgrgid(user.pw_gid).gr_gid,
                                   extra_groups=[], stderr=subprocess.PIPE, text=True, cwd="/")
        try:
            wait_until(lambda: not refuses(port), "it listens")
        finally:
            process.terminate()
            assert process.wait(10) == 0
            process.stderr.close()


