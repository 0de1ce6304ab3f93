"""Active health checks: who is asked what and how often, what becomes of the answers, and what clients see of it."""
import re
import time
from collections import Counter

import pytest

from kit import ports
from kit.certificates import Authority, TlsOrigin
from kit.gateway import upstream, wait_until
from kit.http2 import H2Origin, answer
from kit.load import Load
from kit.name_server import NameServer
from kit.wire import TIMEOUT, Request

FAST = {"interval": "400ms", "fast_interval": "30ms", "timeout": "400ms", "unhealthy_after": 3, "healthy_after": 2}
SERVING, NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"
TOLD = ("is unhealthy", "is not ready")  # what the error log may hold where a test has targets fail


class Checked:
    """The script of a service whose checks are answered as told and whose other requests say who it is."""

    def __init__(self, status=200, body=b""):
        self.status, self.body, self.silent = status, body, False
        self.probes, self.served = [], 0

    def __call__(self, call):
        if call.request.path not in ("/health", "/ready"):
            self.served += 1
            call.answer(200, call.origin.name, [("X-Who", call.origin.name)])
            return
        self.probes.append((time.monotonic(), call.request))
        if self.silent:
            call.wire.rest()  # until the gateway gives up
            call.close()
        else:
            call.answer(self.status, self.body)


@pytest.fixture
def service(origin):
    def make(name="a", **more):
        script = Checked(**more)
        made = origin(name, script=script)
        made.checked = script
        return made

    return make


def health(gw, target, check="liveness"):
    return gw.metric("maitred_target_health", target=getattr(target, "address", target), check=check)


def becomes(gw, target, value, check="liveness"):
    gw.wait_for_metric(value, "maitred_target_health", target=getattr(target, "address", target), check=check)


def passes(gw, count=1, check="liveness", result="passed"):
    gw.wait_for_metric(lambda v: v >= count, "maitred_health_probes_total", check=check, result=result)


def asked(one, more=1):
    """Waits for so many further probes."""
    before = len(one.checked.probes)
    wait_until(lambda: len(one.checked.probes) >= before + more, "further probes")


def settled(*services, path="/health"):
    """Each has been found well: it was asked a second time, so the first answer has been heard."""
    wait_until(lambda: all(sum(r.path == path for _, r in list(s.checked.probes)) >= 2 for s in services), "probes of all")


def told(gw, *words):
    return gw.errors.wait(lambda e: e[1] == "health" and all(w in e[2] for w in words), f"of health with {words}")[2]


def who(gw, count=12):
    with gw.connect() as wire:
        return Counter(wire.get("/").get("X-Who") for _ in range(count))


def watched(gateway, *services, check=None, settings=None, **sections):
    settings = {"health_check": {"path": "/health", **FAST, **(check or {})}, **(settings or {})}
    return gateway(to=list(services), upstream_settings=settings, **sections).allow(*TOLD)


# ---- verdicts ----


def test_three_failures_take_a_target_out_and_two_passes_bring_it_back(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b)
    settled(a, b)
    assert set(who(gw)) == {"a", "b"}
    a.checked.status = 503
    assert "3 probes failed, the last: status 503" in told(gw, f"target {a.address} of `app` is unhealthy")
    becomes(gw, a, 0)
    assert gw.metric("maitred_target_up", target=a.address) == 0
    assert set(who(gw)) == {"b"}
    a.checked.status = 200
    assert "2 probes passed" in told(gw, f"target {a.address} of `app` is healthy again")
    becomes(gw, a, 1)
    assert set(who(gw)) == {"a", "b"}
    assert gw.metric("maitred_health_transitions_total", check="liveness", to="unhealthy") == 1
    assert gw.metric("maitred_health_transitions_total", check="liveness", to="healthy") == 1
    assert sum("is unhealthy" in e[2] for e in gw.errors.items) == 1, "a change is said once"


def test_two_failures_between_passes_change_nothing(gateway, origin):
    asked_for = []

    def flapping(call):
        asked_for.append(call.request)
        call.answer(200 if len(asked_for) % 3 == 1 else 500)

    gw = watched(gateway, origin("a", script=flapping))
    wait_until(lambda: len(asked_for) >= 12, "probes")
    assert gw.metric("maitred_health_probes_total", result="status") >= 6
    assert gw.metric("maitred_health_transitions_total", to="unhealthy") == 0


def test_the_first_probe_decides_alone(gateway, service):
    a, b = service("a", status=500), service("b")
    gw = watched(gateway, a, b, check={"interval": "1h", "fast_interval": "30ms", "timeout": "5s"})
    assert "its first probe failed: status 500" in told(gw, f"target {a.address}")
    assert set(who(gw)) == {"b"}


def test_probes_come_faster_while_they_contradict_what_is_known(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b, check={"interval": "400ms", "fast_interval": "20ms", "unhealthy_after": 8, "jitter": 0})
    asked(a, 3)
    times = [t for t, _ in a.checked.probes[-3:]]
    assert all(later - earlier >= 0.3 for earlier, later in zip(times, times[1:])), "not below the interval"
    before = len(a.checked.probes)
    a.checked.status = 500
    told(gw, f"target {a.address} of `app` is unhealthy: 8 probes failed")
    bad = [t for t, _ in a.checked.probes[before:]][:8]
    meanwhile = sum(bad[0] < t < bad[-1] for t, _ in b.checked.probes)
    assert meanwhile < 4, "the other one is asked at the interval"


def test_a_service_that_does_not_answer_in_time_is_unhealthy(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b)
    settled(a, b)
    a.checked.silent = True
    assert "the last: no answer within 400ms" in told(gw, f"target {a.address}")
    assert set(who(gw)) == {"b"}


def test_clients_see_no_error_once_a_target_is_known_to_be_down(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b, settings={"retry": {"attempts": 1}})
    settled(a, b)
    a.kill()
    told(gw, f"target {a.address}", "is unhealthy")
    load = Load(gw.port, clients=3, fresh=1)
    load.served(300)
    load.stop()
    assert not load.failed, load.failed[:3]
    assert b.checked.served >= 300


def test_idle_connections_to_a_target_that_is_given_up_are_closed(gateway, service):
    a = service("a")
    gw = watched(gateway, a, settings={"panic_threshold": 0})
    assert who(gw, 3) == {"a": 3}
    gw.wait_for_metric(lambda v: v >= 1, "maitred_upstream_connections_idle")
    a.checked.status = 500
    told(gw, "is unhealthy")
    # before the service itself, whose patience is twice as long, closes it
    wait_until(lambda: gw.metric("maitred_upstream_connections_idle") == 0, "it is closed", TIMEOUT / 2)


# ---- the question ----


def test_a_probe_asks_as_it_is_told_to(gateway, service):
    a = service("a")
    gw = watched(gateway, a, check={"path": "/health?deep=1", "method": "OPTIONS", "host": "internal.test",
                                    "headers": {"Authorization": "Bearer of-checks", "X-Check": "yes"}})
    passes(gw)
    request = a.checked.probes[0][1]
    assert (request.method, request.target) == ("OPTIONS", "/health?deep=1")
    assert (request.get("Host"), request.get("Authorization"), request.get("X-Check")) == ("internal.test", "Bearer of-checks", "yes")
    assert re.fullmatch(r"maitred-health/\d+\.\d+\.\d+", request.get("User-Agent"))
    assert request.get("Connection") == "close"


def test_a_path_alone_is_a_check_and_the_host_is_the_targets(gateway, service):
    a = service("a")
    gw = gateway(to=a, upstream_settings={"health_check": "/health"}).allow(*TOLD)
    passes(gw)
    assert a.checked.probes[0][1].get("Host") == a.address


@pytest.mark.parametrize("expected, status, well", [
    (None, 399, True), (None, 400, False), ([200], 204, False), (["200-204", 503], 503, True), (["200-204", 503], 205, False)])
def test_statuses_are_judged_by_their_ranges(gateway, service, expected, status, well):
    a = service("a", status=status)
    gw = watched(gateway, a, check={"expect_status": expected} if expected else {})
    passes(gw, result="passed" if well else "status")
    assert health(gw, a) == well


def test_a_text_in_the_body_is_looked_for(gateway, service):
    a = service("a", body=b"x" * 20000 + b"database: up\n")
    gw = watched(gateway, a, check={"expect_body": "database: up"})
    passes(gw, 2)
    a.checked.body = b"database: down\n"
    assert "body lacks `database: up`" in told(gw, f"target {a.address}")


def test_without_a_path_a_connection_is_enough(gateway, origin):
    a, b = origin("a", on_connect=lambda wire: wire.rest()), ports.free_port()
    gw = gateway(to=[a, f"127.0.0.1:{b}"], upstream_settings={"health_check": FAST}).allow(*TOLD)
    assert "its first probe failed: connection refused" in told(gw, f"127.0.0.1:{b}")
    passes(gw, 3)
    assert health(gw, a) == 1 and health(gw, f"127.0.0.1:{b}") == 0
    assert all(not w.received for w in a.wires), "nothing is sent"


def test_another_port_can_be_asked(gateway, origin, service):
    a, watchdog = origin("a", script=lambda call: call.answer(200, "", [("X-Who", "a")])), service("watchdog")
    gw = watched(gateway, a, check={"port": watchdog.port})
    passes(gw, 2)
    assert not a.requests
    watchdog.checked.status = 500
    told(gw, f"target {a.address} of `app` is unhealthy")


def test_probes_begin_with_a_proxy_header_of_their_own(gateway, origin):
    heads = []

    def on_connect(wire):
        heads.append(wire._line())
        wire.head(Request)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    a = origin("a", on_connect=on_connect)
    gw = watched(gateway, a, settings={"proxy_protocol": "v1"})
    passes(gw)
    assert heads[0] == b"PROXY UNKNOWN"


# ---- TLS, HTTP/2, gRPC ----


@pytest.fixture
def authority(folder):
    return Authority(folder)


def test_probes_speak_the_upstreams_tls_and_resume_its_sessions(gateway, authority):
    a = TlsOrigin(authority.issue("a.test"), name="a", script=Checked())
    gw = watched(gateway, a, settings={"tls": {"ca": str(authority.path), "server_name": "a.test"}})
    try:
        passes(gw, 4)
        assert {h["name"] for h in a.handshakes} == {"a.test"}
        assert any(h["reused"] for h in a.handshakes)
    finally:
        a.stop()


def test_a_certificate_that_is_not_trusted_fails_the_check(gateway, authority, folder):
    stranger = Authority(folder, "stranger")
    a = TlsOrigin(authority.issue("a.test"), name="a", script=Checked())
    gw = watched(gateway, a, settings={"tls": {"ca": str(stranger.path), "server_name": "a.test"}})
    try:
        assert "the TLS handshake failed (unknown_authority)" in told(gw, f"target {a.address}")
        assert gw.metric("maitred_health_probes_total", result="tls") >= 1
    finally:
        a.stop()


def test_a_plain_port_beside_a_tls_service_can_be_asked(gateway, authority, service):
    a, plain = TlsOrigin(authority.issue("a.test"), name="a"), service("plain")
    gw = watched(gateway, a, check={"tls": False, "port": plain.port}, settings={"tls": {"ca": str(authority.path), "server_name": "a.test"}})
    try:
        passes(gw, 2)
        assert not a.handshakes
    finally:
        a.stop()


@pytest.fixture
def h2_service():
    made = []

    def make(script, **more):
        made.append(H2Origin("a", script=script, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert not one.faults, one.faults


def test_http2_services_are_asked_over_http2(gateway, h2_service):
    a = h2_service(lambda stream: answer(stream, 204))
    gw = watched(gateway, a, settings={"protocol": "h2"})
    passes(gw, 2)
    fields = dict(a.requests[0].fields)
    assert (fields[":method"], fields[":path"], fields[":authority"]) == ("GET", "/health", a.address)


def test_a_service_that_does_not_speak_http2_is_said_to(gateway, service):
    a = service("a")
    a.on_connect = lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    gw = watched(gateway, a, settings={"protocol": "h2"})
    assert "its first probe failed: it does not speak HTTP/2" in told(gw, f"target {a.address}")


def reply(message, status="0"):
    def script(stream):
        stream.body()
        stream.send_head([(":status", "200"), ("content-type", "application/grpc")])
        if message:
            stream.send(message)
        stream.end([("grpc-status", status)])

    return script


def grpc_watched(gateway, a, **check):
    return gateway(to=a, upstream_settings={"protocol": "h2", "health_check": {"type": "grpc", **FAST, **check}}).allow(*TOLD)


def test_grpc_services_are_asked_by_their_health_service(gateway, h2_service):
    bodies = []

    def script(stream):
        bodies.append(stream.body())
        stream.send_head([(":status", "200"), ("content-type", "application/grpc")])
        stream.send(SERVING if len(bodies) < 3 else NOT_SERVING)
        stream.end([("grpc-status", "0")])

    a = h2_service(script)
    gw = grpc_watched(gateway, a, service="users.Users")
    assert "it says that it is not serving" in told(gw, f"target {a.address}")
    fields = dict(a.requests[0].fields)
    assert (fields[":method"], fields[":path"]) == ("POST", "/grpc.health.v1.Health/Check")
    assert (fields["content-type"], fields["te"], fields["grpc-timeout"]) == ("application/grpc", "trailers", "400m")
    assert bodies[0] == b"\0\0\0\0\x0d\x0a\x0busers.Users"


@pytest.mark.parametrize("status, words", [
    ("12", "it has no gRPC health service (unimplemented)"), ("5", "it does not know the service `x` (not_found)"),
    ("14", "the call ended with unavailable")])
def test_calls_that_fail_say_how(gateway, h2_service, status, words):
    a = h2_service(reply(b"", status))
    gw = grpc_watched(gateway, a, service="x")
    assert words in told(gw, f"target {a.address}")


def test_the_health_service_of_grpc_itself_is_understood(gateway):
    grpc = pytest.importorskip("grpc")
    from kit.calls import CallService

    state = {"": SERVING[5:]}
    a = CallService()
    a.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda request, context: state[""])}),))
    gw = grpc_watched(gateway, a, timeout="1s", interval="1s")
    try:
        passes(gw, 2)
        state[""] = NOT_SERVING[5:]
        assert "it says that it is not serving" in told(gw, f"target {a.address}")
    finally:
        a.stop()


# ---- readiness ----


def test_a_target_that_is_not_ready_gets_no_new_work(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b, settings={"readiness_check": {"path": "/ready", **FAST}})
    settled(a, b)
    settled(a, b, path="/ready")
    a.checked.status = 503  # both fail: the reasons stay apart
    told(gw, f"target {a.address} of `app` is not ready: 3 probes failed")
    told(gw, f"target {a.address} of `app` is unhealthy: 3 probes failed")
    assert (health(gw, a), health(gw, a, "readiness")) == (0, 0)
    assert set(who(gw)) == {"b"}


def test_readiness_alone_leaves_idle_connections_and_liveness_alone(gateway, service):
    a, b = service("a"), service("b")
    gw = watched(gateway, a, b, settings={"readiness_check": {"path": "/ready", **FAST, "expect_status": 200}})
    statuses = {"/health": 200, "/ready": 503}
    a.script = lambda call: call.answer(statuses[call.request.path]) if call.request.path in statuses else a.checked(call)
    told(gw, f"target {a.address} of `app` is not ready")
    passes(gw, 3)
    assert (health(gw, a), health(gw, a, "readiness")) == (1, 0)
    assert set(who(gw)) == {"b"}
    statuses["/ready"] = 200
    told(gw, f"target {a.address} of `app` is ready again")
    assert set(who(gw)) == {"a", "b"}


def test_sessions_stay_with_a_target_that_is_not_ready_and_leave_one_that_is_unhealthy(gateway, service):
    a, b = service("a"), service("b")
    statuses = {"/health": 200, "/ready": 200}
    a.script = lambda call: call.answer(statuses[call.request.path]) if call.request.path in statuses else a.checked(call)
    gw = watched(gateway, a, b, settings={"readiness_check": {"path": "/ready", **FAST}, "sticky": {"cookie": "sid"}})
    cookies = {}
    while "a" not in cookies:
        response = gw.get("/")
        cookies[response.get("X-Who")] = response.get("Set-Cookie").partition(";")[0]

    def of_session():
        return gw.get("/", fields=[("Cookie", cookies["a"])]).get("X-Who")

    statuses["/ready"] = 503
    told(gw, f"target {a.address} of `app` is not ready")
    assert [of_session() for _ in range(6)] == ["a"] * 6
    assert {gw.get("/").get("X-Who") for _ in range(6)} == {"b"}, "nobody else comes"
    statuses["/health"] = 503
    told(gw, f"target {a.address} of `app` is unhealthy")
    assert {of_session() for _ in range(6)} == {"b"}


# ---- agents ----


@pytest.fixture
def agent(origin):
    def make(says):
        def on_connect(wire):
            if made.question is not None:
                made.question = wire.exactly(4)
            wire.send(made.says)

        made = origin("agent", on_connect=on_connect)
        made.says, made.question = says, None
        return made

    return make


def with_agent(gateway, one, *services, **settings):
    check = {"port": one.port, "interval": "50ms", **settings}
    return gateway(to=list(services), upstream_settings={"agent_check": check, "panic_threshold": 0}).allow("says nothing")


def test_an_agent_says_how_much_its_target_takes(gateway, agent, service):
    one, a = agent(b"up ready 100%\n"), service("a")
    gw = with_agent(gateway, one, a)
    passes(gw, 1, "agent")
    assert who(gw) == {"a": 12}
    one.says = b"maint\n"
    assert "100%, in maintenance, up" in told(gw, f"the agent of target {a.address} of `app` says")
    assert gw.get("/").status == 503
    one.says = b"ready 25% maxconn:30\r\n"
    told(gw, "25%, ready, up")
    assert who(gw) == {"a": 12}, "there is no other"
    assert gw.metric("maitred_target_agent_share", target=a.address) == 0.25
    one.says = b"down#disk full"
    assert told(gw, "25%, ready, down").endswith(": disk full")
    assert gw.get("/").status == 503
    one.says = b"up\n"
    told(gw, "25%, ready, up", "")
    wait_until(lambda: gw.get("/").status == 200, "it serves again")


def test_a_share_of_the_weight_moves_requests_to_the_others(gateway, origin, service):
    port = ports.free_port()
    for host, says in (("127.0.0.31", b"10%\n"), ("127.0.0.32", b"100%\n")):
        origin("agent", host=host, port=port, on_connect=lambda wire, says=says: wire.send(says))
    script = lambda call: call.answer(200, "", [("X-Who", call.origin.name)])
    a, b = (origin(name, host=host, script=script) for name, host in (("a", "127.0.0.31"), ("b", "127.0.0.32")))
    gw = gateway(to=[a, b], upstream_settings={"agent_check": {"port": port, "interval": "50ms"}}).allow("says nothing")
    gw.wait_for_metric(lambda v: abs(v - 1.1) < 0.001, "maitred_target_agent_share")
    passes(gw, 2, "agent")
    assert 1 <= who(gw, 300)["a"] <= 60, "a tenth of its half, by lot"


def test_an_agent_that_is_gone_changes_nothing(gateway, agent, service):
    one, a = agent(b"drain\n"), service("a")
    gw = with_agent(gateway, one, a)
    told(gw, "100%, drains, up")
    one.stop_listening()
    assert "connection refused; what it said last stands" in told(gw, f"the agent of target {a.address} of `app` says nothing")
    assert gw.get("/").status == 503
    gw.reload(config_with(gw, agent_check=None))
    assert gw.get("/").status == 200


def test_an_agent_may_be_asked_with_words(gateway, agent, service):
    one, a = agent(b"up\n"), service("a")
    one.question = b""
    gw = with_agent(gateway, one, a, send="app\n")
    passes(gw, 1, "agent")
    assert one.question == b"app\n"


# ---- when too few are left ----


def test_when_all_are_down_all_serve(gateway, service):
    a, b = service("a", status=500), service("b", status=500)
    gw = watched(gateway, a, b)
    for one in (a, b):
        told(gw, f"target {one.address}")
    assert set(who(gw)) == {"a", "b"}


def test_without_panic_nobody_serves_when_all_are_down(gateway, service):
    a = service("a", status=500)
    gw = watched(gateway, a, settings={"panic_threshold": 0})
    told(gw, f"target {a.address}")
    response = gw.get("/")
    assert response.status == 503
    assert gw.line(path="/")["error"] == {"side": "upstream", "word": "no_target"}
    a.checked.status = 200
    told(gw, "is healthy again")
    assert gw.get("/").status == 200


def test_a_backup_takes_over_while_the_others_are_down(gateway, service):
    a, b = service("a"), service("b")
    targets = [a.address, {"address": b.address, "backup": True}]
    gw = gateway(upstreams={"app": {"targets": targets, "health_check": {"path": "/health", **FAST}}}, routes=[{"proxy": "app"}]).allow(*TOLD)
    settled(a, b)
    assert set(who(gw)) == {"a"}
    a.checked.status = 500
    told(gw, f"target {a.address} of `app` is unhealthy")
    assert set(who(gw)) == {"b"}
    a.checked.status = 200
    told(gw, f"target {a.address} of `app` is healthy again")
    assert set(who(gw)) == {"a"}


# ---- reloads ----


def config_with(gw, **settings):
    config = dict(gw.config)
    config["upstreams"] = {"app": {**config["upstreams"]["app"], **settings}}
    return config


def test_a_reload_keeps_what_is_known_and_asks_no_earlier(gateway, service):
    a, b = service("a", status=500), service("b")
    slow = {"path": "/health", "interval": "1h", "fast_interval": "30ms", "timeout": "5s"}
    gw = gateway(to=[a, b], upstream_settings={"health_check": slow}).allow(*TOLD)
    told(gw, f"target {a.address}")
    passes(gw)
    for change in ({}, {"slow_start": "10ms"}, {"health_check": {**slow, "unhealthy_after": 2}}):  # taken over, and twice built anew
        gw.reload(config_with(gw, **change))
        assert set(who(gw)) == {"b"}
        assert (health(gw, a), health(gw, b)) == (0, 1)
    assert (len(a.checked.probes), len(b.checked.probes)) == (1, 1), "an interval of an hour has not passed"
    assert gw.metric("maitred_health_transitions_total", to="unhealthy") == 1


def test_checks_that_are_taken_out_bar_nobody(gateway, service):
    a, b = service("a", status=500), service("b")
    gw = watched(gateway, a, b)
    told(gw, f"target {a.address}")
    gw.reload(config_with(gw, health_check=None))
    assert set(who(gw)) == {"a", "b"}
    assert gw.metrics("maitred_target_health") == {}
    before = len(a.checked.probes)
    gw.reload(config_with(gw, health_check={"path": "/health", **FAST}))
    wait_until(lambda: len(a.checked.probes) > before, "it is asked again")


def test_reloads_follow_the_settings_of_checks(gateway, service):
    a = service("a")
    gw = watched(gateway, a)
    passes(gw)
    gw.reload(config_with(gw, health_check={"path": "/ready", **FAST}))
    wait_until(lambda: a.checked.probes[-1][1].path == "/ready", "the new path is asked for")


@pytest.fixture(autouse=True)  # so that it outlives the gateways that ask it
def names():
    server = NameServer()
    yield server
    server.stop()


def test_targets_that_come_by_name_are_asked_and_those_that_go_are_not(gateway, origin, names):
    port = ports.free_port()
    services = [origin(f"127.0.0.{i}", host=f"127.0.0.{i}", port=port, script=Checked()) for i in (21, 22)]
    names.set("app.test", services[0].name)
    gw = gateway(to=f"app.test:{port}", upstream_settings={"health_check": {"path": "/health", **FAST}}, resolver={"servers": [names.address]}).allow(*TOLD)
    wait_until(lambda: services[0].script.probes, "the first is asked")
    assert services[0].script.probes[0][1].get("Host") == f"app.test:{port}"
    names.set("app.test", services[1].name)
    wait_until(lambda: services[1].script.probes, "the second is asked")
    wait_until(lambda: len(gw.metrics("maitred_target_health")["maitred_target_health"]) == 1, "the first is forgotten")
    before = len(services[0].script.probes)
    passes(gw, gw.metric("maitred_health_probes_total", result="passed") + 3)
    assert len(services[0].script.probes) <= before + 1  # one may have been on its way


# ---- configuration ----


@pytest.mark.parametrize("check, words", [
    ({"type": "grpc"}, "gRPC needs HTTP/2"),
    ({"type": "tcp", "path": "/"}, "a check of type `tcp` has no `path`"),
    ({"path": "/", "interval": "1s", "timeout": "2s"}, "may not take longer"),
    ("health", "begins with `/`"),
])
def test_contradictions_are_told(folder, check, words):
    import json

    from kit.gateway import base_config, run

    path = folder / "wrong.yaml"
    path.write_text(json.dumps(base_config(ports.free_port(), ports.free_port(), upstreams={
        "app": upstream("127.0.0.1:9", health_check=check)}, routes=[{"proxy": "app"}])))
    result = run("check", path)
    assert result.returncode != 0
    assert words in result.stderr and "upstreams.app.health_check" in result.stderr
