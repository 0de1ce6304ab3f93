"""gRPC-Web, binary and text, to a service of gRPC, over every pair of protocols, down to the bytes."""
import base64
import struct
import threading

import pytest

from kit.gateway import upstream
from kit.versions import VERSIONS, Client, service

PAIRS = [(down, up) for down in VERSIONS for up in VERSIONS]
WEB, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
MEGA = 1 << 20


def message(data):
    return b"\0" + struct.pack(">I", len(data)) + data


def frames(data):
    """[(flag, payload)] of a whole body."""
    found = []
    while data:
        flag, size = struct.unpack(">BI", data[:5])
        assert len(data) >= 5 + size, f"a frame is cut: {data[:64]!r}"
        found.append((flag, data[5 : 5 + size]))
        data = data[5 + size :]
    return found


def plain(body, kind):
    """The body as bytes: of the text form, each padded piece by itself."""
    if "text" not in kind:
        return body
    assert len(body) % 4 == 0
    return b"".join(base64.b64decode(body[i : i + 4], validate=True) for i in range(0, len(body), 4))


def coded(data, kind):
    return base64.b64encode(data) if "text" in kind else data


def trailers_of(payload):
    pairs = [line.split(":", 1) for line in payload.decode().split("\r\n") if line]
    assert payload.endswith(b"\r\n")
    return dict(pairs)


class Browser:
    def __init__(self, gateway, down, up):
        self.gateway, self.down, self.up, self.services, self.client = gateway, down, up, [], None

    def start(self, script, policies=None, upstream_settings=None, **route):
        self.services.append(service(self.up, script))
        settings = {**({"protocol": "h2"} if self.up == "h2" else {}), **(upstream_settings or {})}
        self.gw = self.gateway(upstreams={"app": upstream(*self.services, **settings)},
                               routes=[{"name": "web", "policies": policies or [{"grpc_web": {}}], "proxy": "app", **route}])
        self.client = Client(self.down, self.gw.port)
        return self

    def call(self, kind, body, fields=(), **more):
        return self.client.ask("POST", "/test.Echo/Say", [("Content-Type", kind), ("X-Grpc-Web", "1"), *fields], body, **more)

    def stop(self):
        if self.client:
            self.client.__exit__()
        for one in self.services:
            one.stop()
        faults = [(s.name, f) for s in self.services for f in s.faults]
        assert not faults, faults


@pytest.fixture(params=PAIRS, ids=["_to_".join(p) for p in PAIRS])
def browser(request, gateway):
    made = Browser(gateway, *request.param)
    yield made
    made.stop()


def echo(seen):
    def script(s):
        body = s.body()
        seen.append((s, body))
        s.head(200, [("Content-Type", "application/grpc+proto"), ("X-Initial", "one")])
        for _, payload in frames(body):
            s.send(message(b"you said " + payload))
        s.end([("grpc-status", "0"), ("grpc-message", "f%C3%BCr dich"), ("x-last", "two")])

    return script


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_a_call_is_translated_and_its_trailers_stand_in_the_body(browser, kind):
    seen = []
    browser.start(echo(seen))
    answer = browser.call(kind, coded(message(b"hello"), kind), [("X-Meta", "m")])
    assert (answer.status, answer.complete, answer.get("content-type"), answer.get("x-initial")) == (200, True, kind, "one")
    assert answer.get("content-length") is None and not answer.trailers
    (flag, said), (last, end) = frames(plain(answer.body, kind))
    assert (flag, said, last) == (0, b"you said hello", 0x80)
    assert trailers_of(end) == {"grpc-status": "0", "grpc-message": "f%C3%BCr dich", "x-last": "two"}
    (s, body), = seen
    assert (s.get("content-type"), s.get("x-meta"), body) == ("application/grpc+proto", "m", message(b"hello"))
    assert s.get("te") == "trailers"
    line = browser.gw.line(route="web")
    assert (line["grpc_status"], line["status"]) == (0, 200) and "complete" not in line
    browser.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="web", grpc_status="0")


@pytest.mark.parametrize("accept, kind", [("application/grpc-web-text", TEXT), ("application/grpc-web+proto", WEB), ("*/*", TEXT)])
def test_accept_chooses_the_form_of_the_answer(browser, accept, kind):
    browser.start(echo([]))
    answer = browser.call(TEXT, coded(message(b"a"), TEXT), [("Accept", accept)])
    assert answer.get("content-type") == kind
    assert frames(plain(answer.body, kind))[0] == (0, b"you said a")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_base64_may_be_padded_and_split_anywhere(browser, size):
    seen = []
    browser.start(echo(seen))
    data = message(b"0123456789") + message(b"") + message(b"\xff" * 50)
    text = b"".join(base64.b64encode(data[i : i + size]) for i in range(0, len(data), size))
    ask = browser.client.begin("POST", "/test.Echo/Say", [("Content-Type", TEXT)])
    for i in range(0, len(text), 5):
        ask.send(text[i : i + 5])
    ask.end()
    assert len(frames(plain(ask.answer().body, TEXT))) == 4
    assert seen[0][1] == data


@pytest.mark.parametrize("text", [b"AAAA!AAA", b"AAAAA", b"AAA", b"A===", b"AAAA\nAAA", b"AAA=AA", b"AB=="])
def test_what_is_no_base64_ends_the_call(browser, text):
    ended = threading.Event()

    def script(s):
        try:
            s.body()
        except Exception:  # the gateway gave it up: in HTTP/1 by its connection's end
            s.cut()
        ended.set()

    browser.start(script)
    answer = browser.call(TEXT, text)
    assert (answer.status, answer.get("grpc-status"), answer.get("content-type"), answer.body) == (200, "3", TEXT, b"")
    assert browser.gw.line(route="web")["error"]["word"] == "bad_body"


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_messages_come_as_the_service_sends_them(browser, kind):
    """A stream of answers: each message is read before the next one is sent."""
    go = threading.Semaphore(0)

    def script(s):
        s.body()
        s.head(200, [("Content-Type", "application/grpc")])
        for i in range(5):
            s.send(message(b"n" * (i + 1)))
            assert go.acquire(timeout=10)
        s.end([("grpc-status", "0")])

    browser.start(script)
    ask = browser.client.begin("POST", "/test.Echo/Watch", [("Content-Type", kind)])
    ask.send(coded(message(b""), kind))
    ask.end()
    ask.head()
    for i in range(5):
        got = b""
        while len(plain(got, kind) if len(got) % 4 == 0 or "text" not in kind else b"") < 6 + i:
            got += ask.some()
        assert frames(plain(got, kind)) == [(0, b"n" * (i + 1))]
        go.release()
    rest = b"".join(iter(ask.some, b""))
    assert trailers_of(frames(plain(rest, kind))[0][1]) == {"grpc-status": "0"}


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_large_bodies_go_both_ways(browser, kind):
    seen = []
    browser.start(echo(seen))
    data = bytes(range(256)) * (MEGA // 256)
    answer = browser.call(kind, coded(message(data), kind), known=False)
    assert frames(plain(answer.body, kind))[0] == (0, b"you said " + data)


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_an_answer_of_trailers_alone_has_its_status_in_the_head(browser, kind):
    def script(s):
        s.body()
        fields = [("Content-Type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no such thing")]
        if s.version == "h2":
            s.stream.send_head([(":status", "200"), *((n.lower(), v) for n, v in fields)], end=True)
        else:
            s.head(200, fields, 0)

    browser.start(script)
    answer = browser.call(kind, coded(message(b"x"), kind))
    assert (answer.status, answer.get("grpc-status"), answer.get("grpc-message"), answer.body) == (200, "5", "no such thing", b"")
    assert answer.get("content-type") == kind
    assert browser.gw.line(route="web")["grpc_status"] == 5


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_an_answer_that_breaks_off_is_cut_and_has_no_trailers(browser, kind):
    def script(s):
        s.body()
        s.head(200, [("Content-Type", "application/grpc")])
        s.send(message(b"half"))
        s.cut()

    browser.start(script)
    answer = browser.call(kind, coded(message(b"x"), kind))
    assert not answer.complete
    assert b"grpc-status" not in plain(answer.body[: len(answer.body) // 4 * 4], kind)
    line = browser.gw.line(route="web")
    assert "grpc_status" not in line and line["complete"] is False
    browser.gw.wait_for_metric(1, "maitred_grpc_calls_total", route="web", grpc_status="none")


def test_an_answer_that_is_no_grpc_passes_as_it_is(browser):
    browser.start(lambda s: s.answer(503, b"<html>", [("Content-Type", "text/html")]))
    answer = browser.call(WEB, message(b"x"))
    assert (answer.status, answer.body, answer.get("content-type")) == (503, b"<html>", "text/html")


def test_other_requests_pass(browser):
    seen = []
    browser.start(lambda s: (seen.append(s), s.answer(200, b"AAAA", [("Content-Type", "text/plain")])))
    assert browser.client.ask("POST", "/", [("Content-Type", "text/plain")], b"AAAA").body == b"AAAA"
    assert browser.client.ask("OPTIONS", "/", [("Access-Control-Request-Headers", "x-grpc-web")]).body == b"AAAA"
    assert seen[0].get("content-type") == "text/plain"


@pytest.mark.parametrize("kind", [WEB, TEXT])
def test_answers_of_the_gateway_have_the_clients_form(browser, kind):
    browser.start(lambda s: s.body(), body_limit=10)
    answer = browser.call(kind, coded(message(b"x" * 100), kind))
    assert (answer.status, answer.get("grpc-status"), answer.get("content-type"), answer.body) == (200, "8", kind, b"")
    assert answer.get("grpc-message")


def test_the_deadline_of_a_browsers_call_holds(browser):
    gone = threading.Event()

    def script(s):
        s.body()
        s.wait_gone()
        gone.set()

    browser.start(script)
    answer = browser.call(WEB, message(b"x"), [("grpc-timeout", "200m")])
    assert (answer.status, answer.get("grpc-status"), answer.get("content-type")) == (200, "4", WEB)
    assert gone.wait(10)


def test_a_client_that_leaves_ends_the_call_at_the_service(browser):
    gone, began = threading.Event(), threading.Event()

    def script(s):
        s.body()
        s.head(200, [("Content-Type", "application/grpc")])
        s.send(message(b"first"))
        began.set()
        s.wait_gone()
        gone.set()

    browser.start(script)
    ask = browser.client.begin("POST", "/test.Echo/Watch", [("Content-Type", WEB)])
    ask.send(message(b""))
    ask.end()
    ask.head()
    assert ask.some()
    ask.leave()
    assert began.wait(10) and gone.wait(10)
