"""gRPC through the gateway with a real client and a real service: the four kinds of call, deadlines, statuses, retries."""
import json
import queue
import threading
import time

import pytest

from kit import ports
from kit.calls import WAIT, CallService, Channel
from kit.certificates import Authority
from kit.gateway import upstream
from kit.http2 import H2Origin, StreamReset, h2_connect, request_fields

grpc = pytest.importorskip("grpc")
CODE = grpc.StatusCode
MEGA = 1 << 20
SLACK = 0.02  # seconds: what is left of a deadline is rounded by two clocks on its way


@pytest.fixture
def called(gateway):
    """Starts a gateway in front of services, and gives a channel: called(service, ...)."""
    made = []

    def start(*services, settings=None, route=None, **sections):
        sections.setdefault("routes", [{"name": "calls", "proxy": "app", **(route or {})}])
        sections.setdefault("upstreams", {"app": upstream(*services, protocol="h2", **(settings or {}))})
        start.gw = gateway(**sections)
        made.append(Channel(start.gw.port))
        return made[-1]

    start.also = lambda: made.append(Channel(start.gw.port)) or made[-1]
    yield start
    for channel in made:
        channel.close()


@pytest.fixture
def service():
    """Makes services: service(name, ...)."""
    made = []

    def make(*args, **more):
        made.append(CallService(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def fails(code="UNAVAILABLE", details="not now", **metadata):
    return json.dumps([code, details, metadata]).encode()


# ---- the four kinds ----


def test_a_unary_call_with_metadata_both_ways(called, service):
    app = service()
    channel = called(app)
    answer, call = channel.unary_unary("Say").with_call(b"hello", timeout=WAIT, metadata=(("x-one", "1"), ("x-two-bin", b"\0\xfe")))
    assert answer == b"you said hello"
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (initial["x-initial"], initial["x-initial-bin"]) == ("one", b"\0\xff")
    assert (trailing["x-last"], trailing["x-last-bin"]) == ("two", b"\1\2")
    assert call.code() is CODE.OK
    (name, metadata, _), = app.calls
    assert (name, metadata["x-one"], metadata["x-two-bin"]) == ("Say", "1", b"\0\xfe")
    line = called.gw.line(route="calls")
    assert (line["status"], line["grpc_status"], line["path"], line["version"]) == (200, 0, "/test.Service/Say", "2")
    called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="calls", grpc_status="0")


def test_a_client_streams(called, service):
    channel = called(service())
    parts = [b"%d" % i * 1000 for i in range(300)]
    assert channel.stream_unary("Upload")(iter(parts), timeout=WAIT) == b"+".join(parts)


def test_a_service_streams(called, service):
    channel = called(service())
    got = list(channel.unary_stream("Download")(json.dumps([300, 5000]).encode(), timeout=WAIT))
    assert got == [bytes([i % 256]) * 5000 for i in range(300)]


def test_both_talk_in_turn(called, service):
    """Each message is answered before the next one is sent: nothing is held back anywhere."""
    channel = called(service())
    mine = queue.Queue()
    answers = channel.stream_stream("Chat")(iter(mine.get, None), timeout=WAIT)
    for i in range(20):
        mine.put(b"%d" % i)
        assert next(answers) == b"you said %d" % i
    mine.put(None)
    assert list(answers) == [] and answers.code() is CODE.OK


def test_both_stream_at_once_without_regard_to_each_other(called, service):
    channel = called(service())
    parts = [bytes([i % 256]) * 20000 for i in range(200)]
    assert list(channel.stream_stream("Chat")(iter(parts), timeout=WAIT)) == [b"you said " + p for p in parts]


def test_large_messages_go_both_ways(called, service):
    channel = called(service())
    data = bytes(range(256)) * (3 * MEGA // 256)
    assert channel.say(data) == b"you said " + data


def test_many_calls_share_connections(called, service):
    app = service()
    channel = called(app, workers=1)
    calls = [channel.unary_unary("Say").future(b"%d" % i, timeout=WAIT) for i in range(200)]
    assert [c.result() for c in calls] == [b"you said %d" % i for i in range(200)]
    assert called.gw.metric("maitred_upstream_connects_total") <= 8


def test_a_quiet_stream_is_not_cut(called, service):
    """Neither side's idle time for bodies counts: bidirectional streams are quiet for hours."""
    app = service()
    channel = called(app, timeouts={"request_body_idle": "100ms"})
    mine = queue.Queue()
    answers = channel.stream_stream("Chat")(iter(mine.get, None), timeout=WAIT)
    mine.put(b"one")
    assert next(answers) == b"you said one"
    time.sleep(0.4)  # far beyond what was configured
    mine.put(b"two")
    assert next(answers) == b"you said two"
    mine.put(None)
    assert list(answers) == []


def test_a_request_to_a_service_of_http1_is_not_let_be_quiet_for_calling_itself_a_call(gateway, origin):
    gw = gateway(to=origin(), timeouts={"request_body_idle": "100ms"})
    with h2_connect(gw.port) as wire:
        stream = wire.open(request_fields("POST", "/a.B/C", fields=[("content-type", "application/grpc"), ("te", "trailers")]), end=False)
        stream.send(b"one")
        assert dict(stream.head(WAIT))["grpc-status"] == "4"


def test_timeouts_of_the_upstream_that_are_written_down_count(called, service):
    app = service()
    channel = called(app, settings={"timeouts": {"body_idle": "100ms"}})
    mine = queue.Queue()
    answers = channel.stream_stream("HangOpen")(iter(mine.get, None), timeout=WAIT)
    mine.put(b"one")
    assert next(answers) == b"one"
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    mine.put(None)
    assert error.value.code() is not CODE.DEADLINE_EXCEEDED and app.cancelled.wait(WAIT)
    assert called.gw.line(route="calls")["error"]["word"] == "response_body_timeout"


def test_a_response_timeout_that_is_written_down_is_a_deadline_exceeded(called, service):
    app = service()
    channel = called(app, settings={"timeouts": {"response": "100ms"}})
    error = channel.error("Hang")
    assert error.code() is CODE.DEADLINE_EXCEEDED and "did not answer in time" in error.details()
    assert app.cancelled.wait(WAIT)


def test_calls_go_over_tls_on_both_sides(gateway, service, folder):
    authority = Authority(folder)
    app = service(certificate=authority.issue("service.test"))
    port = ports.free_port()
    tls = {"certificates": [authority.issue("a.test").pair]}
    gw = gateway(listeners=[{"address": f"127.0.0.1:{port}", "tls": tls}, f"127.0.0.1:{ports.free_port()}"],
                 upstreams={"app": upstream(app, protocol="h2", tls={"ca": str(authority.path), "server_name": "service.test"})},
                 routes=[{"name": "calls", "proxy": "app"}])
    channel = Channel(port, authority)
    try:
        parts = [bytes([i]) * 20000 for i in range(100)]
        assert list(channel.stream_stream("Chat")(iter(parts), timeout=WAIT)) == [b"you said " + p for p in parts]
        assert channel.error("Fail", fails("ABORTED", "no")).code() is CODE.ABORTED
    finally:
        channel.close()
    assert gw.line(route="calls", grpc_status=10)["tls"].startswith("TLSv1.")


# ---- deadlines ----


class Silent(H2Origin):
    """Takes a call and never answers (or never ends its answer), whatever time it was given: a service of gRPC's own
    would give up at the same moment as the gateway."""

    def __init__(self, first=b""):
        super().__init__(script=self._take)
        self.first, self.gone = first, threading.Event()

    def _take(self, stream):
        if self.first:
            stream.send_head([(":status", "200"), ("content-type", "application/grpc")])
            stream.send(self.first)
        stream.wait_over()
        self.gone.set()

    @property
    def told_ms(self):
        """The one call's grpc-timeout."""
        text = dict(self.requests[0].fields)["grpc-timeout"]
        assert text.endswith("m")
        return int(text[:-1])


@pytest.fixture
def silent():
    made = []
    yield lambda *args: made.append(Silent(*args)) or made[-1]
    for one in made:
        one.stop()
        assert not one.faults, one.faults



def test_a_deadline_reaches_the_service_and_is_no_longer_than_it_was(called, service):
    app = service()
    channel = called(app)
    channel.say(timeout=7)
    channel.unary_unary("Say")(b"x")  # without one
    assert 0 < app.calls[0][2] <= 7 + SLACK and app.calls[1][2] is None


def test_a_deadline_is_shortened_by_what_has_passed_at_each_try(called, service):
    def refuse(request, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "300"),))
        context.abort(CODE.UNAVAILABLE, "later")

    apps = [service(n, Say=grpc.unary_unary_rpc_method_handler(refuse)) for n in "ab"]
    channel = called(*apps, settings={"retry": {"on": "unavailable", "attempts": 2}})
    assert channel.error(timeout=8).code() is CODE.UNAVAILABLE
    first, second = (a.calls[0][2] for a in sorted(apps, key=lambda a: -a.calls[0][2]))
    assert first <= 8 + SLACK and second <= 8 - 0.3 + SLACK


def test_the_gateway_ends_a_call_at_its_deadline_and_says_so(called, silent):
    """Asked by hand: a client of gRPC would not wait for the answer."""
    app = silent()
    called(app)
    with h2_connect(called.gw.port) as wire:
        fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m")]
        stream = wire.open(request_fields("POST", "/test.Service/Hang", fields=fields), end=False)
        stream.send(b"\0\0\0\0\0", end=True)
        head = dict(stream.head())
        assert (head[":status"], head["content-type"], head["grpc-status"]) == ("200", "application/grpc", "4")
        assert head["grpc-message"] and "content-length" not in head and stream.body() == b""
    assert app.gone.wait(WAIT) and 0 < app.told_ms <= 200
    line = called.gw.line(route="calls")
    assert (line["grpc_status"], line["error"]["word"]) == (4, "deadline_exceeded") and line["duration_ms"] > 150


def test_a_deadline_behind_the_first_message_resets_the_stream(called, silent):
    app = silent(b"\0\0\0\0\1x")
    called(app)
    with h2_connect(called.gw.port) as wire:
        fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m")]
        stream = wire.open(request_fields("POST", "/test.Service/HangOpen", fields=fields), end=False)
        assert stream.head() and stream.some()
        with pytest.raises(StreamReset):
            stream.body()
    assert app.gone.wait(WAIT)
    line = called.gw.line(route="calls")
    assert line["complete"] is False and line["error"]["word"] == "deadline_exceeded" and "grpc_status" not in line


def test_the_routes_timeout_is_a_deadline_for_calls_without_one(called, silent):
    app = silent()
    channel = called(app, route={"timeout": "300ms"})
    error = channel.error("Hang", timeout=None)
    assert error.code() is CODE.DEADLINE_EXCEEDED and "took longer than allowed" in error.details()
    assert 0 < app.told_ms <= 300 and app.gone.wait(WAIT)


def test_a_long_deadline_is_capped(called, silent):
    app = silent()
    channel = called(app, route={"grpc": {"timeout_max": "300ms"}})
    error = channel.error("Hang", timeout=60)
    assert error.code() is CODE.DEADLINE_EXCEEDED and "its client allows" in error.details()
    assert 0 < app.told_ms <= 300


def test_a_deadline_can_be_left_to_the_service(called, service):
    app = service()
    called(app, route={"grpc": {"ignore_timeout": True}})
    with h2_connect(called.gw.port) as wire:
        fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")]
        stream = wire.open(request_fields("POST", "/test.Service/Say", fields=fields), end=False)
        stream.send(b"\0\0\0\0\0", end=True)
        assert dict(stream.head())[":status"] == "200" and stream.body()
    assert 0 < app.calls[0][2] <= 5 + SLACK


@pytest.mark.parametrize("timeout", ["", "1", "S", "1s", "-1S", "1.5S", "123456789S", "1 S", "1S, 2S"])
def test_a_malformed_deadline_is_an_invalid_argument(called, service, timeout):
    app = service()
    called(app)
    with h2_connect(called.gw.port) as wire:
        fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", timeout)]
        head = dict(wire.open(request_fields("POST", "/test.Service/Say", fields=fields), end=False).head())
        assert (head[":status"], head["grpc-status"]) == ("200", "3")
        good = wire.open(request_fields("POST", "/test.Service/Say", fields=fields[:2]), end=False)  # others go on
        good.send(b"\0\0\0\0\0", end=True)
        assert dict(good.head())[":status"] == "200" and good.body()
    assert len(app.calls) == 1
    assert called.gw.line(route="calls", grpc_status=3)["error"]["word"] == "bad_grpc_timeout"


# ---- statuses ----


@pytest.mark.parametrize("code", [CODE.NOT_FOUND, CODE.PERMISSION_DENIED, CODE.UNAUTHENTICATED, CODE.DATA_LOSS])
def test_a_services_status_is_passed_on_logged_and_counted(called, service, code):
    channel = called(service())
    error = channel.error("Fail", fails(code.name, "für 100 % sicher", **{"x-why": "because"}))
    assert (error.code(), error.details()) == (code, "für 100 % sicher")
    assert dict(error.trailing_metadata())["x-why"] == "because"
    number = code.value[0]
    assert called.gw.line(route="calls")["grpc_status"] == number
    called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="calls", grpc_status=str(number))


def test_a_status_behind_messages_is_passed_on_logged_and_counted(called, service):
    channel = called(service())
    answers = channel.unary_stream("FailLate")(b"ABORTED", timeout=WAIT)
    assert next(answers) == b"first"
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    assert (error.value.code(), error.value.details()) == (CODE.ABORTED, "too late")
    assert called.gw.line(route="calls")["grpc_status"] == 10
    called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="calls", grpc_status="10")


def test_counts_go_on_over_a_reload(called, service):
    channel = called(service())
    channel.say()
    called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="calls", grpc_status="0")
    config = json.loads(json.dumps(called.gw.config))
    config["routes"][0]["timeout"] = "50s"
    called.gw.reload(config)
    channel.say()
    called.gw.wait_for_metric(2, "maitred_grpc_calls_total", route="calls", grpc_status="0")


def test_a_service_that_is_down_is_unavailable(called, service):
    app = service()
    channel = called(app.address)
    app.stop()
    error = channel.error()
    assert error.code() is CODE.UNAVAILABLE and error.details() == "The service refused the connection"
    assert called.gw.line(route="calls")["error"]["word"] == "connect_refused"


def test_no_route_is_unimplemented_and_counted_without_a_route(called, service):
    channel = called(service(), routes=[{"match": {"prefix": "/test.Service"}, "proxy": "app"}])
    error = channel.error("Say", service="other.Service")
    assert error.code() is CODE.UNIMPLEMENTED and error.details() == "No route matches the request"
    called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="", grpc_status="12")


def test_a_refusal_by_the_route_is_told_as_a_status(called, service):
    app = service()
    channel = called(app, route={"body_limit": 1000})
    error = channel.error("Say", b"x" * 2000)
    assert error.code() is CODE.RESOURCE_EXHAUSTED and app.calls == []


def test_a_method_that_the_route_does_not_take_is_unimplemented(called, service):
    channel = called(service(), route={"match": {"prefix": "/", "methods": ["GET"]}})
    assert channel.error().code() is CODE.UNIMPLEMENTED


def test_a_service_that_breaks_off_behind_a_message_resets_the_call(called):
    def script(stream):
        stream.body()
        stream.send_head([(":status", "200"), ("content-type", "application/grpc")])
        stream.send(b"\0\0\0\0\1x")
        stream.reset("INTERNAL_ERROR")

    origin = H2Origin(script=script)
    try:
        channel = called(origin)
        answers = channel.unary_stream("Any")(b"x", timeout=WAIT)
        assert next(answers) == b"x"
        with pytest.raises(grpc.RpcError) as error:
            next(answers)
        assert error.value.code() is not CODE.OK
        assert "grpc_status" not in called.gw.line(route="calls")
        called.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="calls", grpc_status="none")
    finally:
        origin.stop()


def test_a_stream_goes_on_over_a_reload(called, service):
    channel = called(service())
    mine = queue.Queue()
    answers = channel.stream_stream("Chat")(iter(mine.get, None), timeout=WAIT)
    mine.put(b"before")
    assert next(answers) == b"you said before"
    called.gw.reload({**called.gw.config, "routes": [{"name": "none", "respond": 404}]})
    assert channel.error().code() is CODE.UNIMPLEMENTED  # what is new goes by the new configuration
    mine.put(b"after")
    assert next(answers) == b"you said after"
    mine.put(None)
    assert list(answers) == [] and answers.code() is CODE.OK


# ---- cancelling ----


def test_a_cancelled_unary_call_is_cancelled_at_the_service(called, service):
    app = service()
    channel = called(app)
    call = channel.unary_unary("Hang").future(b"x", timeout=30)
    assert app.began.wait(WAIT)
    call.cancel()
    assert app.cancelled.wait(WAIT)
    assert called.gw.line(route="calls")["status"] == 499


def test_a_cancelled_stream_is_cancelled_at_the_service(called, service):
    app = service()
    channel = called(app)
    mine = queue.Queue()
    answers = channel.stream_stream("HangOpen")(iter(mine.get, None), timeout=30)
    mine.put(b"one")
    assert next(answers) == b"one" and app.began.wait(WAIT)
    answers.cancel()
    mine.put(None)
    assert app.cancelled.wait(WAIT)


def test_a_call_whose_client_has_its_own_deadline_is_cancelled_at_the_service(called, service):
    app = service()
    channel = called(app)
    assert channel.error("Hang", timeout=0.3).code() is CODE.DEADLINE_EXCEEDED
    assert app.cancelled.wait(WAIT)


# ---- retries ----


def refuses(times, code=CODE.UNAVAILABLE, **metadata):
    """A `Say` that fails so many times without a message, then answers."""
    left, lock = [times], threading.Lock()

    def say(request, context):
        with lock:
            left[0] -= 1
            refusing = left[0] >= 0
        if refusing:
            context.set_trailing_metadata(tuple(metadata.items()))
            context.abort(code, "not now")
        return b"at last: " + request

    return grpc.unary_unary_rpc_method_handler(say)


RETRY = {"on": ["unavailable", "resource_exhausted"], "backoff": "0"}


def test_a_listed_status_is_tried_again(called, service):
    app = service(Say=refuses(2))
    channel = called(app, settings={"retry": RETRY})
    assert channel.say(b"x" * 20000) == b"at last: " + b"x" * 20000
    line = called.gw.line(route="calls")
    assert (line["grpc_status"], line["tries"], line["retries"]) == (0, 3, 2) and len(app.calls) == 3


def test_another_target_is_tried(called, service):
    bad, good = service("bad", Say=refuses(100)), service("good")
    channel = called(bad, good, settings={"retry": {**RETRY, "attempts": 2}}, workers=1)
    assert [channel.say() for _ in range(4)] == [b"you said hello"] * 4
    assert len(good.calls) == 4 and bad.calls


def test_the_last_answer_is_passed_on(called, service):
    app = service(Say=refuses(100, **{"x-why": "because"}))
    channel = called(app, settings={"retry": RETRY})
    error = channel.error()
    assert (error.code(), error.details(), dict(error.trailing_metadata())["x-why"]) == (CODE.UNAVAILABLE, "not now", "because")
    assert len(app.calls) == 3 and called.gw.line(route="calls")["grpc_status"] == 14


def test_a_status_that_is_not_listed_is_not_tried_again(called, service):
    app = service(Say=refuses(1, CODE.INTERNAL))
    channel = called(app, settings={"retry": RETRY})
    assert channel.error().code() is CODE.INTERNAL and len(app.calls) == 1


def test_nothing_is_tried_again_by_status_unless_asked_for(called, service):
    app = service(Say=refuses(1))
    channel = called(app)
    assert channel.error().code() is CODE.UNAVAILABLE and len(app.calls) == 1


@pytest.mark.parametrize("code, sent", [(CODE.UNAVAILABLE, 3), (CODE.INTERNAL, 3), (CODE.RESOURCE_EXHAUSTED, 6), (CODE.DEADLINE_EXCEEDED, 6)])
def test_what_a_client_can_bring_about_opens_no_circuit(called, service, code, sent):
    """A quota that is used up, a deadline of the client's own: one client must not take a service away from all others."""
    app = service(Say=refuses(100, code))
    breaker = {"failure_ratio": "0", "consecutive_failures": 3, "open_for": "1h"}
    channel = called(app, settings={"circuit_breaker": breaker})
    called.gw.allow("the circuit to")
    for _ in range(6):
        channel.error()
    assert len(app.calls) == sent


@pytest.mark.parametrize("pushback", ["-1", "soon", "60000"])
def test_a_service_that_pushes_back_is_left_alone(called, service, pushback):
    app = service(Say=refuses(1, **{"grpc-retry-pushback-ms": pushback}))
    channel = called(app, settings={"retry": RETRY})
    assert channel.error().code() is CODE.UNAVAILABLE and len(app.calls) == 1


def test_a_service_that_asks_for_time_gets_it(called, service):
    app = service(Say=refuses(1, **{"grpc-retry-pushback-ms": "250"}))
    channel = called(app, settings={"retry": RETRY})
    assert channel.say() == b"at last: hello"
    assert called.gw.line(route="calls")["duration_ms"] >= 250


def test_a_retry_that_the_deadline_has_no_time_for_is_not_waited_for(called, service):
    app = service(Say=refuses(1, **{"grpc-retry-pushback-ms": "900"}))
    channel = called(app, settings={"retry": RETRY}, route={"grpc": {"timeout_max": "800ms"}})
    assert channel.error().code() is CODE.UNAVAILABLE and len(app.calls) == 1


def test_a_status_behind_a_message_is_not_tried_again(called, service):
    app = service()
    channel = called(app, settings={"retry": RETRY})
    answers = channel.unary_stream("FailLate")(b"UNAVAILABLE", timeout=WAIT)
    assert next(answers) == b"first"
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert len(app.calls) == 1


def test_a_request_longer_than_the_replay_is_not_tried_again(called, service):
    app = service(Say=refuses(1))
    channel = called(app, settings={"retry": RETRY})
    assert channel.error("Say", b"x" * MEGA).code() is CODE.UNAVAILABLE and len(app.calls) == 1
