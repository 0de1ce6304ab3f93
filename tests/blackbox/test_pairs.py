"""Every behaviour of the proxy, written once, over every pair of protocols: HTTP/1 or 2 from clients, HTTP/1 or 2 to services, plain or TLS."""
import hashlib
import random
import threading

import pytest

from kit import ports
from kit.certificates import Authority
from kit.gateway import SANITIZED, upstream, wait_until
from kit.versions import VERSIONS, Client, service

MEGA = 1 << 20
# "s": over TLS
PAIRS = [(down, up) for down in VERSIONS for up in VERSIONS] + [("h1s", "h1s"), ("h1s", "h2"), ("h2s", "h1"), ("h2s", "h2s"), ("h1", "h2s"), ("h2", "h1s")]
SIZES = [0, 1, 65535, MEGA]


class Secrets:
    """What TLS needs, made once."""

    def __init__(self, folder):
        folder.chmod(0o755)
        folder.parent.chmod(0o755)
        self.authority = Authority(folder)
        self.gateway, self.service = self.authority.issue("gateway.test"), self.authority.issue("service.test")


class Pair:
    """A gateway, a client in one version and a service in another."""

    def __init__(self, gateway, secrets, down, up):
        self.gateway, self.down, self.up = gateway, down[:2], up[:2]
        self.secrets, self.tls_down, self.tls_up = secrets, down.endswith("s"), up.endswith("s")
        self.scheme = "https" if self.tls_down else "http"
        self.services, self.clients = [], []
        self.gw = self.client = None

    def upstream(self, *services, **settings):
        own = {"protocol": "h2"} if self.up == "h2" else {}
        if self.tls_up:
            own["tls"] = {"ca": str(self.secrets.authority.path), "server_name": "service.test"}
        return upstream(*services, **own, **settings)

    def serve(self, script, name="origin", **more):
        self.services.append(service(self.up, script, name, self.secrets.service if self.tls_up else None, **more))
        return self.services[-1]

    def start(self, script=None, upstream_settings=None, services=None, **sections):
        services = services or [self.serve(script or (lambda s: s.answer(200, "hello")))]
        sections.setdefault("routes", [{"proxy": "app"}])
        port = ports.free_port()
        if self.tls_down:
            sections["listeners"] = [{"address": f"127.0.0.1:{port}", "tls": {"certificates": [self.secrets.gateway.pair]}}]
        self.gw = self.gateway(upstreams={"app": self.upstream(*services, **(upstream_settings or {}))}, **sections)
        if self.tls_down:
            self.gw.port = port
        self.client = self.another()
        return self.client

    def another(self):
        context = self.secrets.authority.context(alpn=["h2" if self.down == "h2" else "http/1.1"]) if self.tls_down else None
        self.clients.append(Client(self.down, self.gw.port, context))
        return self.clients[-1]

    def stop(self):
        for client in self.clients:
            client.__exit__()
        for one in self.services:
            one.stop()
        faults = [(s.name, f) for s in self.services for f in s.faults]
        assert not faults, faults


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    return Secrets(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(params=PAIRS, ids=["_to_".join(p) for p in PAIRS])
def pair(request, gateway, secrets):
    made = Pair(gateway, secrets, *request.param)
    yield made
    made.stop()


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()


# ---- heads ----


def test_methods_paths_queries_and_fields_arrive_as_they_were_sent(pair):
    seen = []
    client = pair.start(lambda s: (seen.append(s), s.answer(201, "made", [("X-Answer", "a, b"), ("X-Answer", "c"), ("X-Empty", "")])))
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        answer = client.ask(method, "/a/b%20c?x=1&y=%2F&&z", [("X-One", "1"), ("X-Two", "a"), ("X-Two", "b"), ("X-Empty", ""), ("X-High", "caf\xe9")])
        assert (answer.status, answer.body, answer.complete) == (201, b"made", True)
        assert answer.all("x-answer") in (["a, b", "c"], ["a, b, c"]) and answer.get("x-empty") == ""
        s = seen.pop()
        assert (s.method, s.path, s.authority) == (method, "/a/b%20c?x=1&y=%2F&&z", "gateway.test")
        assert [v for n, v in s.fields if n == "x-two"] == ["a", "b"]
        assert (s.get("x-one"), s.get("x-empty"), s.get("x-high")) == ("1", "", "caf\xe9")


def test_the_name_that_was_asked_for_reaches_the_service(pair):
    client = pair.start(lambda s: s.answer(200, s.authority))
    for authority in ("one.test", "two.test:8443", "[2001:db8::1]:80"):
        assert client.ask(authority=authority).body == authority.encode()


def test_services_are_told_of_the_client_and_the_way(pair):
    seen = []
    client = pair.start(lambda s: (seen.append(s), s.answer()))
    client.ask(fields=[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "gopher"), ("Forwarded", "for=6.6.6.6")])
    s = seen[0]
    assert s.get("x-forwarded-for") == "127.0.0.1" and s.get("x-forwarded-proto") == pair.scheme and s.get("x-forwarded-host") == "gateway.test"
    assert s.get("forwarded") is None
    assert s.get("via") == {"h1": "1.1 maitred", "h2": "2 maitred"}[pair.down]
    if pair.up == "h2":
        assert s.scheme in ("http", "https") and s.get("host") is None


def test_cookies_are_one_line_for_http_1_and_none_is_lost(pair):
    seen = []
    client = pair.start(lambda s: (seen.append(s), s.answer(200, "", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/")])))
    fields = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")] if pair.down == "h2" else [("Cookie", "a=1; b=2; c=3; d=4")]
    answer = client.ask(fields=fields)
    lines = [v for n, v in seen[0].fields if n == "cookie"]
    assert "; ".join(lines) == "a=1; b=2; c=3; d=4" and (pair.up == "h2" or len(lines) == 1)
    assert answer.all("set-cookie") == ["a=1", "b=2; Path=/"]


def test_fields_of_one_connection_do_not_reach_the_next(pair):
    seen = []

    def script(s):
        seen.append(s)
        own = [("Connection", "X-Private"), ("X-Private", "1"), ("Keep-Alive", "timeout=5")] if pair.up == "h1" else []
        s.answer(200, "", [*own, ("X-Public", "2")])

    client = pair.start(script)
    own = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("Proxy-Connection", "keep-alive")] if pair.down == "h1" else []
    answer = client.ask(fields=[*own, ("TE", "trailers"), ("X-End", "1")])
    assert answer.status == 200 and answer.get("x-public") == "2"
    for name in ("connection", "x-hop", "keep-alive", "proxy-connection", "x-private", "upgrade"):
        assert seen[0].get(name) is None or pair.up == "h1" and name == "connection"
        assert answer.get(name) is None or pair.down == "h1" and name == "connection"
    assert seen[0].get("x-end") == "1"


# ---- bodies ----


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_bodies_of_all_sizes_pass_both_ways_byte_for_byte(pair, known):
    framing = []

    def script(s):
        data = s.body()
        framing.append(s.framing)
        s.head(200, [("X-Sum", digest(data)), ("X-Size", str(len(data)))], len(data) if known else None)
        for at in range(0, len(data), 50000):
            s.send(data[at : at + 50000])
        s.end()

    client = pair.start(script)
    for size in SIZES:
        data = noise(size)
        answer = client.ask("POST", f"/{size}", body=data, known=known)
        assert answer.status == 200 and answer.complete
        assert answer.get("x-size") == str(size) and answer.get("x-sum") == digest(data) == digest(answer.body)
        may_be = (None, "0") if size == 0 else (str(size) if known else None,)  # that nothing comes may be seen at once, or at the end alone
        assert framing[-1][1] in may_be and answer.get("content-length") in may_be


def test_bytes_flow_both_ways_before_either_side_is_done(pair):
    def script(s):
        s.head(200)
        while data := s.some():
            s.send(data.upper())
        s.end()

    client = pair.start(script)
    ask = client.begin("POST", "/echo")
    ask.send(b"first")
    assert ask.head().status == 200
    got = b""
    while len(got) < 5:
        got += ask.some()
    ask.send(b" second")
    while len(got) < 12:
        got += ask.some()
    assert got == b"FIRST SECOND"
    ask.end()
    assert ask.answer().complete


def test_trailers_pass_both_ways(pair):
    seen = []

    def script(s):
        data = s.body()
        seen.append(s.trailers)
        s.answer(200, data, [("Trailer", "X-Sum")], known=False, trailers=[("X-Sum", "1"), ("X-Sum", "2"), ("X-Status", "fine")])

    client = pair.start(script)
    answer = client.ask("POST", fields=[("TE", "trailers")], body=b"body", known=False, trailers=[("X-Check", "abc"), ("X-More", "d e")])
    assert answer.complete and answer.body == b"body"
    assert sorted(seen[0]) == [("x-check", "abc"), ("x-more", "d e")]
    assert sorted(answer.trailers) == [("x-status", "fine"), ("x-sum", "1"), ("x-sum", "2")]


def test_trailers_that_would_frame_route_or_authenticate_are_dropped(pair):
    seen = []

    def script(s):
        s.body()
        seen.append(s.trailers)
        s.answer(200, b"x", known=False, trailers=[("Content-Length", "9"), ("X-Good", "1")] if pair.up == "h1" else [("set-cookie", "a=1"), ("x-good", "1")])

    client = pair.start(script)
    answer = client.ask("POST", body=b"body", known=False, trailers=[("Authorization", "a"), ("X-Forwarded-For", "6.6.6.6"), ("X-Good", "1")])
    assert seen[0] == [("x-good", "1")]
    assert ("x-good", "1") in answer.trailers and "content-length" not in dict(answer.trailers)


def test_answers_without_a_body_have_none_and_keep_their_length(pair):
    def script(s):
        s.body()
        if s.method == "HEAD":
            s.head(200, [("X-Kind", "head")], 4711)
            s.end()
        else:
            s.answer(int(s.path[1:]), b"")

    client = pair.start(script)
    answer = client.ask("HEAD", "/")
    assert (answer.status, answer.body, answer.complete, answer.get("content-length")) == (200, b"", True, "4711")
    for status in (204, 304):
        answer = client.ask("GET", f"/{status}")
        assert (answer.status, answer.body, answer.complete) == (status, b"", True)
        assert status != 204 or answer.get("content-length") is None


# ---- order of things ----


def test_interim_answers_are_passed_on_as_they_come(pair):
    go_on = threading.Event()

    def script(s):
        s.body()
        s.interim(103, [("Link", "</style.css>; rel=preload")])
        go_on.wait(10)
        s.interim(103, [("Link", "</script.js>; rel=preload")])
        s.answer(200, "page")

    client = pair.start(script)
    ask = client.begin(end=True)
    status, fields = ask.next_interim()
    assert status == 103 and ("link", "</style.css>; rel=preload") in fields
    go_on.set()
    answer = ask.answer()
    assert answer.status == 200 and answer.body == b"page" and answer.complete
    assert [s for s, _ in answer.interim][-1:] == [103] and ("link", "</script.js>; rel=preload") in answer.interim[-1][1]


def test_a_client_that_expects_100_continue_gets_it_and_sends_its_body(pair):
    def script(s):
        assert s.get("expect") in (None, "100-continue")
        s.interim(100)
        s.answer(200, s.body())

    client = pair.start(script)
    ask = client.begin("POST", fields=[("Expect", "100-continue")], length=4)
    status, _ = ask.next_interim()
    assert status == 100
    ask.send(b"body")
    ask.end()
    assert ask.answer().body == b"body"


def test_an_expectation_can_be_refused_before_the_body(pair):
    def script(s):
        s.head(417, [], 2)
        s.send(b"no")
        s.end()

    client = pair.start(script)
    ask = client.begin("POST", fields=[("Expect", "100-continue")], length=4)
    answer = ask.answer()
    assert answer.status == 417 and answer.body == b"no"


def test_an_answer_may_come_while_the_upload_goes_on(pair):
    def script(s):
        s.some()
        s.head(403, [], 4)
        s.send(b"stop")
        s.end()

    client = pair.start(script)
    ask = client.begin("POST", "/early")
    ask.send(b"x" * 1000)
    answer = ask.answer()
    assert answer.status == 403 and answer.body == b"stop" and answer.complete
    assert pair.another().ask("POST", body=b"next").status == 403
    assert pair.gw.line(path="/early")["status"] == 403


def test_a_slow_service_is_waited_for_and_one_that_never_answers_is_not(pair):
    over = threading.Event()

    def script(s):
        s.body()
        if s.path == "/never":
            s.wait_gone()
            over.set()
            return
        s.head(200)
        for part in (b"a", b"b", b"c"):
            s.send(part)
            threading.Event().wait(0.05)
        s.end()

    client = pair.start(script, upstream_settings={"timeouts": {"response": "300ms"}})
    assert client.ask().body == b"abc"
    answer = client.ask(path="/never")
    assert answer.status == 504 and pair.gw.line(path="/never")["error"]["word"] == "response_timeout"
    assert over.wait(10)


# ---- what is cut looks cut ----


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_an_answer_that_the_service_cuts_is_seen_to_be_cut(pair, known):
    def script(s):
        s.body()
        s.head(200, [], 100000 if known else None)
        s.send(b"x" * 5000)
        s.cut()

    client = pair.start(script)
    ask = client.begin(path="/cut", end=True)
    assert ask.head().status == 200
    assert ask.was_cut() and len(ask.reply.body) <= 5000
    line = pair.gw.line(path="/cut")
    assert line["complete"] is False and line["error"]["side"] == "upstream"


def test_a_service_that_dies_before_its_answer_is_a_502(pair):
    def script(s):
        s.body()
        if s.version == "h1":
            s.cut()
        else:
            s.stream.wire.sock.shutdown(2)

    client = pair.start(script, upstream_settings={"retry": {"attempts": 1}})
    assert client.ask("POST", "/dies", body=b"x").status == 502
    assert pair.gw.line(path="/dies")["error"]["side"] == "upstream"


def test_an_upload_that_the_client_cuts_never_looks_complete(pair):
    result = []
    over = threading.Event()

    def script(s):
        try:
            s.body()
            result.append("complete")
        except Exception as error:
            result.append(type(error).__name__)
            raise
        finally:
            over.set()

    client = pair.start(script)
    ask = client.begin("POST", "/upload")
    ask.send(b"x" * 1000)
    pair.services[0].wait_for_request()
    ask.leave()
    assert over.wait(10) and result[0] in ("Closed", "ConnectionResetError", "StreamReset", "ConnectionLost")
    assert pair.gw.line(path="/upload")["status"] == 499


def test_a_service_sees_that_its_client_has_left(pair):
    gone = threading.Event()

    def script(s):
        s.body()
        s.head(200)
        s.send(b"x")
        s.wait_gone()
        gone.set()

    client = pair.start(script)
    ask = client.begin(path="/leaves", end=True)
    ask.head()
    ask.some()
    ask.leave()
    assert gone.wait(10)
    line = pair.gw.line(path="/leaves")
    assert line["complete"] is False and line["error"]["side"] == "client"


# ---- limits ----


def test_a_reader_that_does_not_read_stops_the_service_and_costs_no_memory(pair):
    size = 30 * MEGA
    sent = [0]
    let_go = threading.Event()

    def script(s):
        s.body()
        if s.path == "/small":
            return s.answer(200, "small")
        s.head(200, [], size)
        block = b"x" * (1 << 16)
        while sent[0] < size:
            s.send(block)
            sent[0] += len(block)
        s.end()

    client = pair.start(script, limits={"splice": "0"})
    before = pair.gw.rss()
    slow = client.begin(path="/large", end=True)
    assert slow.head().status == 200
    # no more than sockets and windows hold leaves the service, and another request is served beside it
    wire = slow.wire if pair.down == "h2" else None
    for _ in range(5):
        assert client.ask(path="/small", wire=wire).body == b"small"
    held = []

    def at_rest():
        held.append(sent[0])
        return len(held) > 20 and held[-20] == held[-1]

    wait_until(at_rest, lambda: f"the service is stopped: {held[-5:]}")
    assert sent[0] < size
    assert pair.gw.rss() - before < (2 if not SANITIZED else 32) * MEGA
    assert client.ask(path="/small", wire=wire).body == b"small"
    answer = slow.answer()
    let_go.set()
    assert answer.complete and len(answer.body) == size
    assert pair.gw.rss() - before < (3 if not SANITIZED else 32) * MEGA


def test_a_service_that_does_not_read_stops_the_client(pair):
    read_now = threading.Event()
    size = 20 * MEGA

    def script(s):
        read_now.wait(20)
        total = 0
        while data := s.some():
            total += len(data)
        s.answer(200, str(total))

    client = pair.start(script, limits={"splice": "0"})
    before = pair.gw.rss()
    ask = client.begin("POST", length=size)
    block, state = b"y" * (1 << 16), [0]

    def run():
        while state[0] < size:
            ask.send(block)
            state[0] += len(block)
        ask.end()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    held = []

    def at_rest():
        held.append(state[0])
        return len(held) > 20 and held[-20] == held[-1]

    wait_until(at_rest, "the client is stopped")
    assert state[0] < size and pair.gw.rss() - before < (2 if not SANITIZED else 32) * MEGA
    read_now.set()
    thread.join(20)
    assert ask.answer().body == str(size).encode()


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
def test_a_body_over_the_limit_is_a_413(pair, known):
    client = pair.start(limits={"body": 1000})
    answer = client.ask("POST", "/big", body=b"x" * 5000, known=known)
    assert answer.status == 413
    assert pair.gw.line(path="/big")["error"]["word"] == "body_too_large"
    assert client.ask("POST", "/fits", body=b"x" * 1000, known=known).status == 200


def test_a_head_over_the_limit_is_a_431_and_a_long_target_a_414(pair):
    client = pair.start(limits={"head": "4KiB", "target": 200})
    assert client.ask(fields=[("X-Big", "x" * 6000)]).status == 431
    assert client.ask(path="/" + "x" * 300).status == 414
    assert client.ask().status == 200


# ---- the log ----


def test_the_access_log_names_the_version_and_counts_bodies(pair):
    client = pair.start(lambda s: s.answer(200, b"z" * 70000))
    client.ask("POST", "/logged?q=1", [("User-Agent", "me")], body=b"x" * 3000)
    line = pair.gw.line(path="/logged")
    assert line["version"] == {"h1": "1.1", "h2": "2"}[pair.down]
    assert (line["method"], line["host"], line["query"], line["status"]) == ("POST", "gateway.test", "q=1", 200)
    assert (line["bytes_in"], line["bytes_out"], line["user_agent"], line["up_status"]) == (3000, 70000, "me", 200)
    assert "complete" not in line and "error" not in line and line["target"] == pair.services[0].address


# ---- several at once ----


def test_many_requests_at_once_get_their_own_answers(pair):
    def script(s):
        data = s.body()
        s.answer(200, s.path.encode() + b":" + digest(data).encode(), known=len(data) % 2 == 0)

    client = pair.start(script)
    wires = [client.begin(path="/warm", end=True)] if pair.down == "h2" else []
    for ask in wires:
        ask.answer()
    wrong = []

    def run(number):
        own = pair.another()
        for i in range(6):
            data = noise(random.Random(number * 10 + i).choice([0, 1, 1000, 70000]), number)
            answer = own.ask("POST", f"/{number}/{i}", body=data, known=i % 2 == 0, wire=wires[0].wire if wires else None)
            if answer.body != f"/{number}/{i}:{digest(data)}".encode() or not answer.complete:
                wrong.append((number, i, answer.status, answer.why, answer.body[:100]))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong, wrong
    assert len([l for l in pair.gw.lines(48, status=200) if l["path"] != "/warm"]) >= 47


def test_a_service_that_cannot_be_reached_costs_the_client_nothing(pair):
    dead = pair.serve(lambda s: s.answer(), "dead")
    alive = pair.serve(lambda s: s.answer(200, "alive"), "alive")
    client = pair.start(services=[dead, alive])
    dead.stop_listening()
    for _ in range(4):
        assert client.ask().body == b"alive"


