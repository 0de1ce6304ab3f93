"""HTTP/2 towards services, frame by frame: services that break rules, refuse, stall and leave.

The client is always HTTP/1 here, so that what it gets is simple: a whole answer, a 502 or 504, or one that is visibly cut.
"""
import contextlib
import queue
import threading

import pytest

from kit import frames as f
from kit.frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, FrameServer, Lost
from kit.gateway import SANITIZED, upstream
from kit.wire import Closed

OK = [(":status", "200")]


class Service:
    """Services by hand: each connection is played by play(peer, number of the connection)."""

    def __init__(self, origin):
        self.origin = origin
        self.peers = queue.Queue()  # for the test to look at

    def __call__(self, play, name="origin"):
        count = [0]

        def on_connect(wire):
            peer = FrameServer(wire)
            count[0] += 1
            number = count[0]
            self.peers.put(peer)
            with contextlib.suppress(Lost):
                play(peer, number)

        return self.origin(name, on_connect=on_connect)


@pytest.fixture
def service(origin):
    return Service(origin)


@pytest.fixture
def edge(gateway, service):
    """edge(play, play, ...) is a gateway in front of such services."""

    def start(*plays, settings=None, **sections):
        services = [service(play, f"service {n}") for n, play in enumerate(plays)]
        sections.setdefault("routes", [{"proxy": "app"}])
        return gateway(upstreams={"app": upstream(*services, protocol="h2", **(settings or {}))}, **sections)

    return start


def serving(peer, number=1):
    """Answers whatever is asked."""
    peer.welcome()
    while True:
        stream, fields = peer.next_request()
        peer.respond(stream, 200, b"served by %d" % number)


def once(*frames, welcome=(), then=None):
    """Answers the first request with these frames (bytes, or functions of peer and stream), goes on reading, and serves what comes on later connections."""

    def play(peer, number):
        if number > 1:
            return serving(peer, number)
        peer.welcome(*welcome)
        stream, _ = peer.next_request()
        for one in frames:
            peer.send_bytes(one) if isinstance(one, bytes) else one(peer, stream)
        peer.rest()

    return play


ONE_TRY = {"retry": {"attempts": 1}}


def word(gw, path):
    return gw.line(path=path)["error"]["word"]


# ---- what we send ----


def test_the_service_is_met_with_a_preface_and_settings_without_push(edge, service):
    gw = edge(serving)
    assert gw.get("/a?b=c").text == "served by 1"
    peer = service.peers.get()
    assert peer.their_settings[f.ENABLE_PUSH] == 0
    assert peer.their_settings.get(f.MAX_HEADER_LIST_SIZE, 1) <= 1 << 20


def test_requests_are_well_formed(edge, service):
    seen = []

    def play(peer, number):
        peer.welcome()
        while True:
            stream, fields = peer.next_request()
            seen.append(fields)
            peer.respond(stream)

    gw = edge(play)
    with gw.connect() as wire:
        wire.get("/x?y", method="DELETE", fields=[("X-Mixed-Case", "V"), ("Connection", "X-Hop"), ("X-Hop", "1"), ("TE", "trailers")])
    names = [n for n, _ in seen[0]]
    assert sorted(names[:4]) == [":authority", ":method", ":path", ":scheme"] and not [n for n in names[4:] if n.startswith(":")]
    assert dict(seen[0]) | {":method": "DELETE", ":path": "/x?y", ":scheme": "http", ":authority": "gateway.test", "x-mixed-case": "V"} == dict(seen[0])
    assert all(n == n.lower() for n in names) and not {"host", "connection", "x-hop", "keep-alive", "transfer-encoding"} & set(names)


def test_our_streams_are_odd_and_rise_and_share_a_connection(edge, service):
    streams = []
    all_there = threading.Event()

    def play(peer, number):
        peer.welcome((f.MAX_CONCURRENT_STREAMS, 100))
        while True:
            stream, fields = peer.next_request()
            streams.append((number, stream))
            if dict(fields)[":path"] == "/warm":
                peer.respond(stream)
            elif len(streams) == 12:
                all_there.set()
                for _, one in streams[1:]:
                    peer.respond(one, 200, b"x")

    gw = edge(play, workers=1)
    assert gw.get("/warm").status == 200
    wires = [gw.connect() for _ in range(11)]
    for wire in wires:
        wire.ask("/many")
    assert all_there.wait(10)
    assert all(wire.response().status == 200 for wire in wires)
    for wire in wires:
        wire.close()
    assert {n for n, _ in streams} == {1}
    ids = [s for _, s in streams]
    assert all(i % 2 for i in ids) and ids == sorted(set(ids))


def test_a_ping_of_the_service_is_answered(edge):
    answered = threading.Event()

    def play(peer, number):
        peer.welcome()
        stream, _ = peer.next_request()
        peer.is_up()
        answered.set()
        peer.respond(stream)
        peer.rest()

    assert edge(play).get("/").status == 200 and answered.is_set()


# ---- broken frames ----

BROKEN_FRAMES = {
    "PUSH_PROMISE": (f.frame(f.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + f.literals(f.REQUEST)), "PROTOCOL_ERROR"),
    "HEADERS on a stream that was never opened": (f.frame(HEADERS, END_HEADERS | END_STREAM, 99, f.literals(OK)), "PROTOCOL_ERROR"),
    "HEADERS on a stream of its own": (f.frame(HEADERS, END_HEADERS | END_STREAM, 2, f.literals(OK)), "PROTOCOL_ERROR"),
    "DATA on an idle stream": (f.frame(DATA, END_STREAM, 99, b"x"), "PROTOCOL_ERROR"),
    "DATA on stream 0": (f.frame(DATA, 0, 0, b"x"), "PROTOCOL_ERROR"),
    "RST_STREAM on an idle stream": (f.frame(RST_STREAM, 0, 99, b"\0\0\0\0"), "PROTOCOL_ERROR"),
    "WINDOW_UPDATE on an idle stream": (f.frame(WINDOW_UPDATE, 0, 99, b"\0\0\0\1"), "PROTOCOL_ERROR"),
    "SETTINGS on a stream": (f.frame(SETTINGS, 0, 1), "PROTOCOL_ERROR"),
    "SETTINGS of 7 bytes": (f.frame(SETTINGS, 0, 0, b"\0" * 7), "FRAME_SIZE_ERROR"),
    "ENABLE_PUSH of 1 from a service": (f.frame(SETTINGS, 0, 0, f.settings((f.ENABLE_PUSH, 1))), "PROTOCOL_ERROR"),
    "a window of 2^31": (f.frame(SETTINGS, 0, 0, f.settings((f.INITIAL_WINDOW_SIZE, 1 << 31))), "FLOW_CONTROL_ERROR"),
    "a frame that is too large": (f.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0" * 70000), "FRAME_SIZE_ERROR"),
    "PING of 9 bytes": (f.frame(PING, 0, 0, b"123456789"), "FRAME_SIZE_ERROR"),
    "the window of the connection above 2^31-1": (f.frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), "FLOW_CONTROL_ERROR"),
    "a WINDOW_UPDATE of 0": (f.frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), "PROTOCOL_ERROR"),
    "CONTINUATION without HEADERS": (f.frame(f.CONTINUATION, END_HEADERS, 1, f.literals(OK)), "PROTOCOL_ERROR"),
    "a frame within a header block": (f.frame(HEADERS, 0, 1, f.literals(OK)) + f.frame(PING, 0, 0, b"12345678"), "PROTOCOL_ERROR"),
    "padding longer than the frame": (f.frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + f.literals(OK)), "PROTOCOL_ERROR"),
    "an index beyond the tables": (f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.indexed(200)), "COMPRESSION_ERROR"),
    "a table that is too large": (f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.table_size_update(1 << 20) + f.literals(OK)), "COMPRESSION_ERROR"),
    "a block that ends within a string": (f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(OK)[:-1]), "COMPRESSION_ERROR"),
}


@pytest.mark.parametrize("case", BROKEN_FRAMES, ids=lambda c: c.replace(" ", "_"))
def test_a_service_that_breaks_the_connection_is_told_why_and_the_client_gets_a_502(edge, case):
    frames, code = BROKEN_FRAMES[case]
    told = queue.Queue()

    def play(peer, number):
        if number > 1:
            return serving(peer, number)
        peer.welcome()
        peer.next_request()
        peer.send_bytes(frames)
        told.put([got.code for got in peer.rest() if got.kind == GOAWAY])

    gw = edge(play, settings=ONE_TRY)
    assert gw.get("/broken", method="POST").status == 502
    assert gw.line(path="/broken")["error"]["side"] == "upstream"
    assert told.get(timeout=10)[-1:] == [code]
    assert gw.get("/again").text == "served by 2"


def test_a_service_that_speaks_http_1_is_a_502(edge):
    def play(peer, number):
        peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.wire.rest()

    gw = edge(play, settings=ONE_TRY)
    assert gw.get("/x").status == 502


def test_a_service_that_says_nothing_is_a_504(edge):
    gw = edge(lambda peer, number: peer.wire.rest(), settings={"timeouts": {"response": "200ms", "send_idle": "200ms"}, **ONE_TRY})
    assert gw.get("/x").status == 504


def test_a_service_that_closes_before_it_answers_is_a_502(edge):
    def play(peer, number):
        peer.welcome()
        peer.next_request()

    def on_the_spot(peer, number):
        pass

    for one in (play, on_the_spot):
        gw = edge(one, settings=ONE_TRY)
        assert gw.get("/x", method="POST").status == 502
        assert word(gw, "/x") in ("closed_before_response", "closed_before_request", "reset")


# ---- malformed answers ----


def heads(*pseudo_and_fields, end=False):
    return lambda peer, stream: peer.headers(stream, list(pseudo_and_fields), end=end)


MALFORMED = {
    "no :status": heads(("x-a", "b")), "two :status": heads(*OK, *OK), "a :status of words": heads((":status", "fine")), "a :status of two digits": heads((":status", "99")),
    "a :status of four digits": heads((":status", "2000")), "an empty :status": heads((":status", "")), "101": heads((":status", "101")),
    "a :status with a reason": heads((":status", "200 OK")), "a request's pseudo-field": heads(*OK, (":path", "/")), "an unknown pseudo-field": heads(*OK, (":x", "y")),
    "a pseudo-field behind a field": heads(("x-a", "b"), *OK), "an upper-case name": heads(*OK, ("X-Upper", "1")), "Connection": heads(*OK, ("connection", "close")),
    "Transfer-Encoding": heads(*OK, ("transfer-encoding", "chunked")), "Keep-Alive": heads(*OK, ("keep-alive", "timeout=5")), "Upgrade": heads(*OK, ("upgrade", "h2c")),
    "CR LF in a value": heads(*OK, ("x-a", "b\r\nset-cookie: evil=1")), "NUL in a value": heads(*OK, ("x-a", "b\0c")), "LF in a value": heads(*OK, ("x-a", "b\nc")),
    "CR LF in a name": heads(*OK, ("x\r\nset-cookie", "evil=1")), "a colon in a name": heads(*OK, ("x:a", "1")), "an empty name": heads(*OK, ("", "1")), "a space in a name": heads(*OK, ("x a", "1")),
    "two Content-Lengths": heads(*OK, ("content-length", "0"), ("content-length", "5")), "Content-Length of words": heads(*OK, ("content-length", "five")),
    "DATA before the head": lambda peer, stream: peer.data(stream, b"x", end=True),
    "a value that begins with a space": heads(*OK, ("x-a", " b")),
}


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: c.replace(" ", "_"))
def test_a_malformed_answer_is_a_502_and_its_stream_is_reset(edge, case):
    told = queue.Queue()

    def play(peer, number):
        peer.welcome()
        stream, _ = peer.next_request()
        MALFORMED[case](peer, stream)
        told.put(peer.until(lambda got: got.kind == RST_STREAM and got.stream == stream or got.kind == GOAWAY and got.code != "NO_ERROR").code)
        peer.rest()

    gw = edge(play, settings=ONE_TRY)
    answer = gw.get("/malformed", method="POST")
    assert answer.status == 502 and "evil" not in str(answer.fields)
    assert told.get(timeout=10) == "PROTOCOL_ERROR"
    assert gw.line(path="/malformed")["error"]["side"] == "upstream"


@pytest.mark.parametrize("case", [[*OK, ("content-length", "5")], [(":status", "103")], [("x-a", "b")], [*OK, ("X-Upper", "1")]],
                         ids=["Content-Length without a body", "an interim answer", "no :status", "an upper-case name"])
def test_a_malformed_answer_that_ends_at_once_is_a_502(edge, case):
    gw = edge(once(heads(*case, end=True)), settings=ONE_TRY)
    assert gw.get("/malformed", method="POST").status == 502
    assert gw.line(path="/malformed")["error"]["side"] == "upstream"


def body_of(*parts, length=None, trailers=None, end=True):
    def run(peer, stream):
        peer.headers(stream, [*OK, *([("content-length", str(length))] if length is not None else [])], end=False)
        for number, part in enumerate(parts):
            peer.data(stream, part, end=end and trailers is None and number == len(parts) - 1)
        if trailers is not None:
            peer.headers(stream, trailers, end=end)
    return run


CUT = {
    "fewer bytes than Content-Length": body_of(b"1234", length=5), "more bytes than Content-Length": body_of(b"1234", b"56", length=5),
    "a pseudo-field in trailers": body_of(b"x", trailers=[(":status", "200")]), "an upper-case name in trailers": body_of(b"x", trailers=[("X-A", "1")]),
    "trailers that do not end the stream": body_of(b"x", trailers=[("x-a", "1")], end=False),
    "fewer bytes, then trailers": body_of(b"1234", length=5, trailers=[("x-a", "1")]),
    "RST_STREAM": lambda p, s: (body_of(b"part", end=False)(p, s), p.reset(s, "INTERNAL_ERROR")),
    "RST_STREAM without an error": lambda p, s: (body_of(b"part", end=False)(p, s), p.reset(s, "NO_ERROR")),
    "the connection's end": lambda p, s: (body_of(b"part", end=False)(p, s), p.wire.end()),
    "GOAWAY that leaves it out, and the end": lambda p, s: (body_of(b"part", end=False)(p, s), p.goaway(0, "INTERNAL_ERROR"), p.wire.end()),
    "a fault of the connection": lambda p, s: (body_of(b"part", end=False)(p, s), p.send(PING, 0, 0, b"1")),
}


@pytest.mark.parametrize("case", CUT, ids=lambda c: c.replace(" ", "_"))
def test_an_answer_that_breaks_off_is_never_complete(edge, case):
    gw = edge(once(CUT[case]), settings=ONE_TRY)
    with gw.connect() as wire:
        wire.ask("/cut", method="POST")
        head = wire.response_head()
        if head.status != 502:  # nothing had gone out yet when it broke
            assert head.status == 200
            with pytest.raises((Closed, ConnectionError)):
                wire.body(head, until_close=False)
    line = gw.line(path="/cut")
    assert line["error"]["side"] == "upstream" and (line["status"] == 502 or line["complete"] is False)


def test_bytes_behind_content_length_are_not_passed_on(edge):
    gw = edge(once(body_of(b"12345", b"6", length=5)), settings=ONE_TRY)
    with gw.connect() as wire:
        assert wire.get("/", method="POST").body == b"12345" and wire.is_quiet(0.1) or wire.eof
        assert wire.buffer == b""


def test_an_answer_to_head_with_a_body_is_not_passed_on(edge):
    def play(peer, number):
        peer.welcome()
        while True:
            stream, fields = peer.next_request()
            body_of(b"12345", length=5)(peer, stream)

    gw = edge(play)
    with gw.connect() as wire:
        assert wire.get("/", method="HEAD").status in (200, 502)
        assert wire.get("/next").status == 200


def test_padding_and_empty_frames_are_no_part_of_the_answer(edge):
    def answer(peer, stream):
        peer.headers(stream, [*OK, ("content-length", "5")], end=False)
        for one in (b"\x03he" + b"\0" * 3, b"\x00", b"\xffllo" + b"\0" * 255):
            peer.send(DATA, PADDED, stream, one)
        peer.data(stream, b"", end=True)

    assert edge(once(answer)).get("/").text == "hello"


# ---- refused, reset, going away ----


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_stream_goes_to_another_target_and_the_client_does_not_notice(edge, method):
    def refusing(peer, number):
        peer.welcome()
        while True:
            stream, _ = peer.next_request()
            peer.reset(stream, "REFUSED_STREAM")

    gw = edge(refusing, serving)
    for i in range(4):
        with gw.connect() as wire:
            assert wire.get(f"/{i}", method=method, body=b"body" if method == "POST" else None).text.startswith("served by")
    assert not [l for l in gw.lines(4, status=200) if "error" in l]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_goaway_leaves_out_is_sent_again_elsewhere(edge, method):
    def leaving(peer, number):
        if number > 1:
            return serving(peer, number)
        peer.welcome()
        peer.next_request()
        peer.goaway(0)
        peer.rest()

    gw = edge(leaving)
    with gw.connect() as wire:
        answer = wire.get("/", method=method, body=b"body" if method == "POST" else None)
    assert answer.status == 200 and answer.text == "served by 2"


def test_a_request_that_goaway_keeps_is_answered_and_the_next_takes_a_new_connection(edge):
    def leaving(peer, number):
        if number > 1:
            return serving(peer, number)
        peer.welcome()
        stream, _ = peer.next_request()
        peer.goaway(stream)
        assert peer.is_up()
        peer.respond(stream, 200, b"still here")
        peer.rest()

    gw = edge(leaving)
    assert gw.get("/").text == "still here"
    assert gw.get("/").text == "served by 2"


def test_a_goaway_while_idle_costs_no_request(edge, service):
    gone = threading.Event()

    def leaving(peer, number):
        if number > 1:
            return serving(peer, number)
        peer.welcome()
        stream, _ = peer.next_request()
        peer.respond(stream, 200, b"first")
        peer.goaway(stream)
        peer.rest()  # the gateway closes
        gone.set()

    gw = edge(leaving, settings=ONE_TRY, workers=1)
    assert gw.get("/").text == "first"
    assert gone.wait(10)
    assert gw.get("/", method="POST").text == "served by 2"


@pytest.mark.parametrize("code", ["PROTOCOL_ERROR", "INTERNAL_ERROR", "CANCEL", "ENHANCE_YOUR_CALM", "HTTP_1_1_REQUIRED", "NO_ERROR", "STREAM_CLOSED"])
def test_a_stream_that_the_service_resets_is_a_502_and_not_sent_twice(edge, service, code):
    asked = []

    def play(peer, number):
        peer.welcome()
        while True:
            stream, _ = peer.next_request()
            asked.append(stream)
            peer.reset(stream, code)

    gw = edge(play)
    assert gw.get("/reset", method="POST").status == 502
    assert gw.line(path="/reset")["error"]["side"] == "upstream" and len(asked) == 1


def test_a_complete_answer_before_the_request_ends_is_passed_on(edge):
    # RFC 9113 8.1: the answer, then RST_STREAM with NO_ERROR: what is left of the request is not wanted
    def early(peer, stream):
        peer.respond(stream, 403, b"no more")
        peer.reset(stream, "NO_ERROR")

    gw = edge(once(early))
    with gw.connect() as wire:
        wire.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x" * 1000)
        answer = wire.response()
        assert answer.status == 403 and answer.text == "no more"


def test_a_client_that_leaves_resets_its_stream_alone(edge, service):
    reset = queue.Queue()

    def play(peer, number):
        peer.welcome()
        while True:
            got = peer.next()
            if got.kind == RST_STREAM:
                reset.put(got.code)
            elif got.fields and dict(got.fields)[":path"] == "/leaves":
                peer.headers(got.stream, OK, end=False).data(got.stream, b"first")
            elif got.fields:
                peer.respond(got.stream, 200, b"served by %d" % number)

    gw = edge(play, workers=1)
    with gw.connect() as wire:
        wire.ask("/leaves")
        assert wire.response_head().status == 200 and wire.chunk() == b"first"
        wire.reset()
    assert reset.get(timeout=10) == "CANCEL"
    assert gw.get("/after").text == "served by 1"


# ---- what services allow ----


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_streams_are_opened_than_the_service_allows(edge, most):
    open_now, highest, lock = {}, [0], threading.Lock()

    def play(peer, number):
        peer.welcome((f.MAX_CONCURRENT_STREAMS, most))
        mine = set()
        while True:
            try:
                stream, _ = peer.next_request() if not mine else (got.stream, got.fields) if (got := quick(peer)) else (None, None)
            except TimeoutError:
                stream = None
            if stream:
                mine.add(stream)
                with lock:
                    highest[0] = max(highest[0], len(mine))
            else:
                for one in sorted(mine):
                    peer.respond(one, 200, b"ok")
                mine.clear()

    def quick(peer):
        while True:
            got = peer.next(0.05)
            if got.fields:
                return got

    gw = edge(play, workers=1)
    assert gw.get("/warm").status == 200
    wires = [gw.connect() for _ in range(12)]
    for wire in wires:
        wire.ask("/many")
    assert [wire.response().status for wire in wires] == [200] * 12
    for wire in wires:
        wire.close()
    assert 1 <= highest[0] <= most


def test_a_service_that_takes_its_streams_back_is_obeyed(edge):
    seen = []

    def play(peer, number):
        peer.welcome((f.MAX_CONCURRENT_STREAMS, 100))
        while True:
            stream, fields = peer.next_request()
            seen.append((number, dict(fields)[":path"]))
            if dict(fields)[":path"] == "/first":
                peer.settings((f.MAX_CONCURRENT_STREAMS, 0))
                peer.until(lambda got: got.kind == SETTINGS and got.flags & f.ACK and peer.is_up())
            peer.respond(stream, 200, b"by %d" % number)

    gw = edge(play, workers=1)
    assert gw.get("/first").text == "by 1"
    assert gw.get("/second").text == "by 2"
    assert seen == [(1, "/first"), (2, "/second")]


def read_upload(peer, stream, size, step=None):
    """Takes DATA of that many bytes; step(got, total) after each."""
    total = 0
    while total < size:
        got = peer.until(lambda got: got.kind == DATA and got.stream == stream)
        total += len(got.payload)
        if step:
            step(got, total)
    return total


def answer_first(peer, *pairs):
    """Serves one request, so that our SETTINGS are known, and waits for the next."""
    peer.welcome(*pairs)
    peer.respond(peer.next_request()[0])
    return peer.next_request()[0]


def test_our_uploads_keep_to_the_services_windows(edge):
    def play(peer, number):
        stream = answer_first(peer, (f.INITIAL_WINDOW_SIZE, 100))
        room, got_all = [100], b""
        while len(got_all) < 5000:
            got = peer.until(lambda got: got.kind == DATA and got.stream == stream)
            got_all += got.payload
            room[0] -= len(got.payload)
            assert room[0] >= 0, "more than the window"
            if room[0] == 0 and len(got_all) < 5000:
                assert peer.is_up()
                peer.window(stream, 700)
                room[0] = 700
        peer.respond(stream, 200, b"%d" % len(got_all))
        peer.rest()

    gw = edge(play, workers=1)
    with gw.connect() as wire:
        assert wire.get("/first").status == 200
        assert wire.get("/", method="POST", body=b"x" * 5000).text == "5000"


def test_a_window_that_shrinks_in_the_middle_of_an_upload_is_obeyed(edge):
    over = queue.Queue()

    def play(peer, number):
        stream = answer_first(peer, (f.INITIAL_WINDOW_SIZE, 10000))
        total = read_upload(peer, stream, 10000)
        peer.settings((f.INITIAL_WINDOW_SIZE, 0)).window(stream, 10000)  # -10,000, then 0: nothing may come
        assert peer.is_up()
        peer.window(stream, 1)
        assert len(peer.until_kind(DATA, stream).payload) == 1
        over.put(total)
        peer.settings((f.INITIAL_WINDOW_SIZE, 65535))
        read_upload(peer, stream, 40000 - 10001, lambda got, total: None)
        peer.respond(stream, 200, b"all")
        peer.rest()

    gw = edge(play, workers=1)
    with gw.connect() as wire:
        assert wire.get("/first").status == 200
        assert wire.get("/", method="POST", body=b"x" * 40000).text == "all"
    assert over.get() == 10000


def test_a_window_that_never_opens_is_a_504(edge):
    def play(peer, number):
        answer_first(peer, (f.INITIAL_WINDOW_SIZE, 0))
        peer.rest()

    gw = edge(play, settings={"timeouts": {"send_idle": "200ms", "response": "5s"}, **ONE_TRY}, workers=1)
    with gw.connect() as wire:
        assert wire.get("/first").status == 200
        assert wire.get("/stalled", method="POST", body=b"x" * 1000).status == 504
    assert word(gw, "/stalled") == "request_send_timeout"


def test_frames_are_no_larger_than_the_service_allows(edge):
    def play(peer, number):
        peer.welcome((f.INITIAL_WINDOW_SIZE, 1 << 20))
        peer.window(0, 1 << 20)
        stream, _ = peer.next_request()
        sizes = []
        read_upload(peer, stream, 200000, lambda got, total: sizes.append(len(got.payload)))
        assert max(sizes) <= 16384
        peer.respond(stream, 200, b"fine")
        peer.rest()

    gw = edge(play)
    with gw.connect() as wire:
        assert wire.get("/", method="POST", body=b"x" * 200000).text == "fine"


def test_a_service_that_sends_more_than_our_windows_is_told_so(edge):
    told = queue.Queue()

    def play(peer, number):
        peer.welcome()
        stream, _ = peer.next_request()
        window = peer.their_settings.get(f.INITIAL_WINDOW_SIZE, 65535)
        peer.headers(stream, OK, end=False)
        with contextlib.suppress(OSError):
            for _ in range((window * 4 + (40 << 20)) // 16384):
                peer.data(stream, b"x" * 16384)
        told.put(peer.until(lambda got: got.kind in (RST_STREAM, GOAWAY)).code)
        peer.rest()

    gw = edge(play, settings=ONE_TRY, limits={"splice": "0"})
    with gw.connect(receive_buffer=4096) as wire:
        wire.ask("/flood")
        wire.response_head()
        assert told.get(timeout=20) == "FLOW_CONTROL_ERROR"
        with pytest.raises((Closed, ConnectionError)):
            while wire.chunk():
                pass


def test_windows_are_given_back_for_what_nobody_reads_any_more(edge):
    rounds = 12

    def play(peer, number):
        peer.welcome()
        window = {0: 65535}

        def wait_room(size):
            while window[0] < size:
                got = peer.until(lambda got: got.kind == WINDOW_UPDATE and got.stream == 0)
                window[0] += got.number

        while True:
            got = peer.next()
            if got.kind == WINDOW_UPDATE and got.stream == 0:
                window[0] += got.number
            if not got.fields:
                continue
            peer.headers(got.stream, OK, end=False)
            wait_room(30000)
            for _ in range(3):
                peer.data(got.stream, b"x" * 10000)
            window[0] -= 30000
            if dict(got.fields)[":path"] == "/last":
                peer.data(got.stream, b"", end=True)

    gw = edge(play, workers=1)
    for _ in range(rounds):
        with gw.connect() as wire:
            wire.ask("/left")
            wire.response_head()
            wire.chunk()
            wire.reset()
    assert len(gw.get("/last").body) == 30000


# ---- services that flood ----

FLOODS = {
    "PING": lambda p, s, n: p.send(PING, 0, 0, b"flooding"),
    "SETTINGS": lambda p, s, n: p.settings((f.INITIAL_WINDOW_SIZE, 65535 + n % 2)),
    "empty DATA": lambda p, s, n: p.data(s, b""),
    "interim answers": lambda p, s, n: p.headers(s, [(":status", "103"), ("link", "</x>")], end=False),
    "PRIORITY": lambda p, s, n: p.send(f.PRIORITY, 0, s, b"\0\0\0\0\x10"),
    "unknown frames": lambda p, s, n: p.send(0x42, 0, 0, b"x"),
    "CONTINUATION": lambda p, s, n: p.send(HEADERS if n == 0 else f.CONTINUATION, 0, s, f.literals([("x-a", "y" * 100)])),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_service_that_floods_costs_bounded_memory_and_others_are_served(edge, flood):
    over = threading.Event()

    def play(peer, number):
        peer.answers_pings = False
        peer.welcome()
        stream, _ = peer.next_request()
        if flood == "empty DATA":
            peer.headers(stream, OK, end=False)
        peer.sock.settimeout(1)
        with contextlib.suppress(OSError, TimeoutError):
            for n in range(30000):
                FLOODS[flood](peer, stream, n)
        over.set()

    gw = edge(play, settings=ONE_TRY, workers=1)
    other = gw.rss()
    with gw.connect() as wire:
        wire.ask("/flood")
        assert over.wait(30)
        assert gw.rss() - other < (12 if not SANITIZED else 48) << 20
    assert gw.admin("/healthz").status == 200
    assert gw.get("/..%2fx").status == 400  # the worker lives
