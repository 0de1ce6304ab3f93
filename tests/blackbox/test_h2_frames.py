"""HTTP/2 towards clients, frame by frame: what RFC 9113, RFC 7541 and RFC 8441 demand, with the error code that each fault costs.

A connection error is GOAWAY with its code and the end; a stream error is RST_STREAM with its code, and the connection serves on.  No
malformed request ever reaches the service.
"""
import socket
import threading

import pytest

from kit import frames as f
from kit.frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, RST_STREAM, SETTINGS, frames_to, request
from kit.gateway import Gateway, base_config, ports, upstream
from kit.origin import Origin
from kit.wire import connect

POST = request(method="POST", path="/echo")


def play(call):
    """/wait holds its answer back until the request is given up; others are answered with what was sent."""
    if call.request.path == "/wait":
        while call.wire.some():
            pass
        return call.close()
    call.answer(200, call.read_body())


class Edge:
    """One gateway for all tests of this file; each has a connection of its own."""

    def __init__(self, folder):
        self.service = Origin(script=play)
        port, admin = ports.free_port(), ports.free_port()
        routes = [{"match": {"path": "/large"}, "respond": {"status": 200, "body": "x" * 200000}}, {"match": {"prefix": "/"}, "proxy": "app"}]
        self.gw = Gateway(folder, base_config(port, admin, upstreams={"app": upstream(self.service)}, routes=routes))
        self.gw.port, self.gw.admin_port = port, admin
        self.gw.start()

    def peer(self, *pairs, **more):
        return frames_to(self.gw.port, *pairs, **more)

    def serves(self, peer, stream):
        """A request on that connection is answered."""
        status, _, body, _ = peer.headers(stream, POST, end=False).data(stream, b"served", end=True).answer(stream)
        return status == 200 and body == b"served"

    def forwarded(self, path):
        return [r for r in self.service.requests if r.path == path]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    folder.chmod(0o777)
    edges = []

    def get():
        if not edges or edges[-1].gw.process.poll() is not None:
            edges.append(Edge(folder))
        return edges[-1]

    yield get
    for one in edges:
        one.gw.finish()
        one.service.stop()
        assert not one.service.faults


@pytest.fixture
def edge(shared):
    one = shared()
    yield one
    assert one.gw.process.poll() is None, "the gateway has ended"


# ---- the preface ----


def test_the_servers_first_frame_is_settings_and_ours_are_acknowledged(edge):
    with edge.peer((f.MAX_CONCURRENT_STREAMS, 10)) as peer:
        first = peer.next()
        assert first.kind == SETTINGS and not first.flags & f.ACK and first.stream == 0
        peer.until(lambda got: got.kind == SETTINGS and got.flags & f.ACK and not got.payload)
        assert edge.serves(peer, 1)


def test_the_servers_settings_bound_what_a_client_may_do(edge):
    with edge.peer() as peer:
        peer.met()
        assert 1 <= peer.their_settings[f.MAX_CONCURRENT_STREAMS] <= 1000
        assert 4096 <= peer.their_settings[f.MAX_HEADER_LIST_SIZE] <= 1 << 20
        assert peer.their_settings.get(f.MAX_FRAME_SIZE, 16384) <= 1 << 16
        assert peer.their_settings.get(f.INITIAL_WINDOW_SIZE, 65535) <= 1 << 20


def test_the_preface_may_come_in_any_pieces(edge):
    with edge.peer(start=False) as peer:
        for byte in f.PREFACE + f.frame(SETTINGS) + f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(request())):
            peer.send_bytes(bytes([byte]))
        assert peer.answer(1)[0] == 200


def test_everything_may_come_in_one_piece(edge):
    with edge.peer(start=False) as peer:
        peer.send_bytes(f.PREFACE, f.frame(SETTINGS), f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(request())))
        assert peer.answer(1)[0] == 200


def test_a_preface_that_goes_wrong_is_served_no_request(edge):
    for broken in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", b"INVALID CONNECTION PREFACE\r\n\r\n"):
        with connect(edge.gw.port) as wire:
            wire.send(broken, f.frame(SETTINGS), f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(request(path="/never"))))
            got = b""
            try:
                got = wire.rest()
            except ConnectionError:
                pass
            assert b" 200 " not in got
    assert not edge.forwarded("/never")


def test_the_first_frame_has_to_be_settings(edge):
    for first in (f.frame(PING, 0, 0, b"12345678"), f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(request())), f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"), f.frame(SETTINGS, f.ACK)):
        with edge.peer(start=False) as peer:
            peer.send_bytes(f.PREFACE, first).fails_with("PROTOCOL_ERROR")


def test_http_1_is_served_on_the_same_port(edge):
    assert edge.gw.get("/").status == 200
    with edge.gw.connect() as wire:
        assert wire.send("P").send("OST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").response().body == b"hi"
    with edge.gw.connect() as wire:  # RFC 9113 3.1: the upgrade to h2c is no more; it is ignored
        assert wire.get("/", fields=[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]).status == 200


# ---- connection errors ----


def opened(stream=1, path="/wait", end=True):
    """A stream that stays open: its answer never comes."""
    return lambda p: p.headers(stream, request(method="POST", path=path), end=end)


def sends(*frames):
    """Steps: bytes, or functions of the peer."""
    def run(peer):
        for one in frames:
            peer.send_bytes(one) if isinstance(one, bytes) else one(peer)
    return run


LITERALS = f.literals(request())
PART = f.literals(request())[:10]
CONNECTION_ERRORS = {
    # 4.2, 6.x: sizes
    "a frame above SETTINGS_MAX_FRAME_SIZE: HEADERS": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0" * 70000)), "FRAME_SIZE_ERROR"),
    "a frame above SETTINGS_MAX_FRAME_SIZE: SETTINGS": (sends(f.frame(SETTINGS, 0, 0, f.settings((99, 1)) * 12000)), "FRAME_SIZE_ERROR"),
    "a frame above SETTINGS_MAX_FRAME_SIZE: unknown": (sends(f.frame(0x42, 0, 0, b"\0" * 70000)), "FRAME_SIZE_ERROR"),
    "SETTINGS of a length that is no multiple of 6": (sends(f.frame(SETTINGS, 0, 0, b"\0" * 7)), "FRAME_SIZE_ERROR"),
    "an acknowledgement with a payload": (sends(f.frame(SETTINGS, f.ACK, 0, f.settings((1, 1)))), "FRAME_SIZE_ERROR"),
    "PING of 7 bytes": (sends(f.frame(PING, 0, 0, b"1234567")), "FRAME_SIZE_ERROR"),
    "PING of 9 bytes": (sends(f.frame(PING, 0, 0, b"123456789")), "FRAME_SIZE_ERROR"),
    "RST_STREAM of 3 bytes": (sends(opened(), f.frame(RST_STREAM, 0, 1, b"\0\0\0")), "FRAME_SIZE_ERROR"),
    "WINDOW_UPDATE of 3 bytes": (sends(f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\1")), "FRAME_SIZE_ERROR"),
    "WINDOW_UPDATE of 5 bytes": (sends(f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\0\1\0")), "FRAME_SIZE_ERROR"),
    "GOAWAY of 7 bytes": (sends(f.frame(GOAWAY, 0, 0, b"\0" * 7)), "FRAME_SIZE_ERROR"),
    # 6.5: SETTINGS
    "SETTINGS on a stream": (sends(f.frame(SETTINGS, 0, 1)), "PROTOCOL_ERROR"),
    "ENABLE_PUSH of 2": (sends(lambda p: p.settings((f.ENABLE_PUSH, 2))), "PROTOCOL_ERROR"),
    "INITIAL_WINDOW_SIZE of 2^31": (sends(lambda p: p.settings((f.INITIAL_WINDOW_SIZE, 1 << 31))), "FLOW_CONTROL_ERROR"),
    "INITIAL_WINDOW_SIZE of 2^32-1": (sends(lambda p: p.settings((f.INITIAL_WINDOW_SIZE, 0xFFFFFFFF))), "FLOW_CONTROL_ERROR"),
    "MAX_FRAME_SIZE below 2^14": (sends(lambda p: p.settings((f.MAX_FRAME_SIZE, 16383))), "PROTOCOL_ERROR"),
    "MAX_FRAME_SIZE above 2^24-1": (sends(lambda p: p.settings((f.MAX_FRAME_SIZE, 1 << 24))), "PROTOCOL_ERROR"),
    # 6.x: streams that these frames may not name
    "DATA on stream 0": (sends(f.frame(DATA, END_STREAM, 0, b"x")), "PROTOCOL_ERROR"),
    "HEADERS on stream 0": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 0, LITERALS)), "PROTOCOL_ERROR"),
    "PRIORITY on stream 0": (sends(f.frame(f.PRIORITY, 0, 0, b"\0\0\0\0\x10")), "PROTOCOL_ERROR"),
    "RST_STREAM on stream 0": (sends(f.frame(RST_STREAM, 0, 0, b"\0\0\0\x08")), "PROTOCOL_ERROR"),
    "PING on a stream": (sends(f.frame(PING, 0, 1, b"12345678")), "PROTOCOL_ERROR"),
    "GOAWAY on a stream": (sends(f.frame(GOAWAY, 0, 1, b"\0" * 8)), "PROTOCOL_ERROR"),
    "CONTINUATION on stream 0": (sends(f.frame(f.CONTINUATION, END_HEADERS, 0, LITERALS)), "PROTOCOL_ERROR"),
    "PUSH_PROMISE from a client": (sends(opened(), f.frame(f.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + LITERALS)), "PROTOCOL_ERROR"),
    # 5.1: idle streams, ids
    "DATA on an idle stream": (sends(f.frame(DATA, END_STREAM, 1, b"x")), "PROTOCOL_ERROR"),
    "RST_STREAM on an idle stream": (sends(f.frame(RST_STREAM, 0, 1, b"\0\0\0\x08")), "PROTOCOL_ERROR"),
    "WINDOW_UPDATE on an idle stream": (sends(f.frame(f.WINDOW_UPDATE, 0, 1, b"\0\0\0\x64")), "PROTOCOL_ERROR"),
    "CONTINUATION on an idle stream": (sends(f.frame(f.CONTINUATION, END_HEADERS, 1, LITERALS)), "PROTOCOL_ERROR"),
    "DATA on a stream that only the server could open": (sends(f.frame(DATA, END_STREAM, 2, b"x")), "PROTOCOL_ERROR"),
    "HEADERS on an even stream": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 2, LITERALS)), "PROTOCOL_ERROR"),
    "HEADERS on a lower stream than before": (sends(opened(5), opened(3)), "PROTOCOL_ERROR"),
    # 6.1, 6.2: padding
    "padding of DATA as long as all of it": (sends(opened(end=False), f.frame(DATA, PADDED, 1, b"\x05hell")), "PROTOCOL_ERROR"),
    "padding of DATA that is not there": (sends(opened(end=False), f.frame(DATA, PADDED, 1, b"\xffhello")), "PROTOCOL_ERROR"),
    "padding of HEADERS longer than the frame": (sends(f.frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + LITERALS)), "PROTOCOL_ERROR"),
    # 6.9: windows
    "WINDOW_UPDATE of 0 on the connection": (sends(lambda p: p.window(0, 0)), "PROTOCOL_ERROR"),
    "a connection's window above 2^31-1": (sends(lambda p: p.window(0, 0x7FFFFFFF)), "FLOW_CONTROL_ERROR"),
    # 6.10: header blocks are one unit
    "another frame within a header block": (sends(f.frame(HEADERS, END_STREAM, 1, PART), f.frame(PING, 0, 0, b"12345678")), "PROTOCOL_ERROR"),
    "DATA within a header block": (sends(f.frame(HEADERS, 0, 1, PART), f.frame(DATA, END_STREAM, 1, b"x")), "PROTOCOL_ERROR"),
    "PRIORITY within a header block": (sends(f.frame(HEADERS, 0, 1, PART), f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\x10")), "PROTOCOL_ERROR"),
    "an unknown frame within a header block": (sends(f.frame(HEADERS, 0, 1, PART), f.frame(0x16, 0, 1, b"x")), "PROTOCOL_ERROR"),
    "HEADERS of another stream within a header block": (sends(f.frame(HEADERS, 0, 1, PART), f.frame(HEADERS, END_HEADERS | END_STREAM, 3, LITERALS)), "PROTOCOL_ERROR"),
    "CONTINUATION of another stream": (sends(f.frame(HEADERS, END_STREAM, 1, PART), f.frame(f.CONTINUATION, END_HEADERS, 3, LITERALS[10:])), "PROTOCOL_ERROR"),
    "CONTINUATION behind a complete block": (sends(f.frame(HEADERS, END_HEADERS, 1, LITERALS), f.frame(f.CONTINUATION, END_HEADERS, 1, LITERALS)), "PROTOCOL_ERROR"),
    "CONTINUATION behind the block's end": (
        sends(f.frame(HEADERS, 0, 1, LITERALS), f.frame(f.CONTINUATION, END_HEADERS, 1), f.frame(f.CONTINUATION, END_HEADERS, 1)), "PROTOCOL_ERROR"),
    "CONTINUATION behind DATA": (sends(opened(end=False), f.frame(DATA, 0, 1, b"x"), f.frame(f.CONTINUATION, END_HEADERS, 1, LITERALS)), "PROTOCOL_ERROR"),
    # RFC 7541
    "HPACK: index 0": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80")), "COMPRESSION_ERROR"),
    "HPACK: an index beyond the tables": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.indexed(200))), "COMPRESSION_ERROR"),
    "HPACK: a name's index beyond the tables": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x7f\x80\x01\x01x")), "COMPRESSION_ERROR"),
    "HPACK: a table larger than was allowed": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.table_size_update(1 << 20) + LITERALS)), "COMPRESSION_ERROR"),
    "HPACK: a table size behind the fields": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS + f.table_size_update(0))), "COMPRESSION_ERROR"),
    "HPACK: a block that ends within a string": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS[:-3])), "COMPRESSION_ERROR"),
    "HPACK: a block that ends within a number": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS + b"\xff\x80")), "COMPRESSION_ERROR"),
    "HPACK: a number without end": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" + b"\xff" * 20)), "COMPRESSION_ERROR"),
    "HPACK: Huffman padding of 8 bits": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS + b"\x00\x01a\x85\xf2\xb2\x4a\x84\xff\x00\x81\xff")), "COMPRESSION_ERROR"),
    "HPACK: Huffman padding of zeroes": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS + b"\x00\x01a\x81\x18")), "COMPRESSION_ERROR"),
    "HPACK: the end symbol in a string": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, LITERALS + b"\x00\x01a\x84\xff\xff\xff\xff")), "COMPRESSION_ERROR"),
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS, ids=lambda c: c.replace(" ", "_"))
def test_a_fault_of_the_connection_ends_it_with_its_code(edge, case):
    run, code = CONNECTION_ERRORS[case]
    with edge.peer() as peer:
        run(peer.met())
        peer.fails_with(code)


def test_a_frame_that_is_too_large_for_data_ends_stream_or_connection(edge):
    with edge.peer() as peer:
        size = peer.met().their_settings.get(f.MAX_FRAME_SIZE, 16384)
        assert size < 65535
        peer.headers(1, POST, end=False).send(DATA, END_STREAM, 1, b"x" * (size + 1))
        got = peer.until(lambda got: got.kind in (RST_STREAM, GOAWAY))
        assert got.code == "FRAME_SIZE_ERROR"


def test_more_bytes_than_the_windows_allow_are_a_flow_control_error(edge):
    with edge.peer() as peer:
        window = max(65535, peer.met().their_settings.get(f.INITIAL_WINDOW_SIZE, 65535))
        peer.headers(1, request(method="POST", path="/wait"), end=False)
        try:
            for _ in range(window * 40 // 16384):
                peer.data(1, b"x" * 16384)
        except OSError:
            pass
        got = peer.until(lambda got: got.kind in (RST_STREAM, GOAWAY))
        assert got.code == "FLOW_CONTROL_ERROR"


# ---- stream errors ----

STREAM_ERRORS = {
    "a stream's window above 2^31-1": (sends(opened(), lambda p: p.window(1, 0x7FFFFFFF)), "FLOW_CONTROL_ERROR"),
}


@pytest.mark.parametrize("case", STREAM_ERRORS, ids=lambda c: c.replace(" ", "_"))
def test_a_fault_of_a_stream_ends_it_alone(edge, case):
    run, code = STREAM_ERRORS[case]
    with edge.peer() as peer:
        run(peer.met())
        peer.resets(1, code)
        assert edge.serves(peer, 11)


EITHER = {
    "WINDOW_UPDATE of 0 on a stream": (sends(opened(), lambda p: p.window(1, 0)), "PROTOCOL_ERROR"),
    "a window that a larger INITIAL_WINDOW_SIZE makes too large": (
        sends(opened(), lambda p: p.window(1, 0x7FFFFFFF - 65535), lambda p: p.settings((f.INITIAL_WINDOW_SIZE, 70000))), "FLOW_CONTROL_ERROR"),
    "DATA behind the end of the request": (sends(opened(), lambda p: p.data(1, b"x")), "STREAM_CLOSED"),
    "HEADERS behind the end of the request": (sends(opened(), opened()), "STREAM_CLOSED"),
    "PRIORITY of 4 bytes": (sends(opened(), f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0")), "FRAME_SIZE_ERROR"),
    "HEADERS that depend on their own stream": (sends(f.frame(HEADERS, END_HEADERS | END_STREAM | f.HAS_PRIORITY, 1, b"\0\0\0\1\xff" + LITERALS)), "PROTOCOL_ERROR"),
    "a second HEADERS that does not end the stream": (sends(opened(end=False), opened(end=False)), "PROTOCOL_ERROR"),
}


@pytest.mark.parametrize("case", EITHER, ids=lambda c: c.replace(" ", "_"))
def test_a_fault_may_cost_the_stream_or_the_connection(edge, case):
    # RFC 9113 5.4.2: a stream error may be treated as one of the connection
    run, code = EITHER[case]
    with edge.peer() as peer:
        run(peer.met())
        got = peer.until(lambda got: got.kind == RST_STREAM and got.stream == 1 or got.kind == GOAWAY)
        assert got.code == code, got


def closed_by_both(peer, edge):
    assert edge.serves(peer, 1)


def closed_by_reset(peer, edge):
    peer.headers(1, request(method="POST", path="/wait"), end=False).reset(1)


@pytest.mark.parametrize("close", [closed_by_both, closed_by_reset])
@pytest.mark.parametrize("late", ["DATA", "HEADERS"])
def test_what_comes_for_a_closed_stream_is_never_taken_for_a_request(edge, close, late):
    # RFC 9113 5.1: STREAM_CLOSED, for the stream or the connection; what may be on its way still can be ignored
    with edge.peer() as peer:
        close(peer.met(), edge)
        before = len(edge.forwarded("/late"))
        peer.data(1, b"x", end=True) if late == "DATA" else peer.headers(1, request(path="/late"))
        peer.ping(b"behind..")
        got = peer.until(lambda got: got.kind in (RST_STREAM, GOAWAY) or got.kind == PING and got.payload == b"behind..")
        assert got.kind == PING or got.code in ("STREAM_CLOSED", "PROTOCOL_ERROR")
        if late == "HEADERS" and close is closed_by_both:
            assert got.kind == GOAWAY
        assert len(edge.forwarded("/late")) == before


@pytest.mark.parametrize("kind", [f.WINDOW_UPDATE, RST_STREAM, f.PRIORITY])
def test_what_may_have_been_on_its_way_to_a_closed_stream_is_ignored(edge, kind):
    with edge.peer() as peer:
        peer.met()
        assert edge.serves(peer, 1)
        peer.send(kind, 0, 1, b"\0\0\0\x08" if kind != f.PRIORITY else b"\0\0\0\0\x10")
        assert peer.is_up() and edge.serves(peer, 3)


# ---- what has to be tolerated ----

TOLERATED = {
    "unknown frames": sends(f.frame(0x42, 0xFF, 0, b"whatever"), f.frame(0xFA, 0, 0x7FFFFFFF, b"")),
    "unknown frames on an open stream": sends(opened(), f.frame(0x42, 0xFF, 1, b"whatever")),
    "unknown settings": sends(lambda p: p.settings((0x99, 0xFFFFFFFF), (0x4242, 1))),
    "unknown flags": sends(f.frame(PING, 0xFE, 0, b"12345678"), f.frame(SETTINGS, 0xFE, 0)),
    "the reserved bit of a stream's number": sends(f.frame(PING, 0, 0x80000000, b"12345678"), f.frame(SETTINGS, 0, 0x80000000)),
    "a RST_STREAM with an unknown code": sends(opened(), f.frame(RST_STREAM, 0, 1, b"\xff\0\0\xff")),
    "PRIORITY on idle streams": sends(f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\x10"), f.frame(f.PRIORITY, 0, 99, b"\x80\0\0\x01\xff")),
    "PRIORITY_UPDATE of RFC 9218": sends(f.frame(0x10, 0, 0, b"\0\0\0\1u=1, i")),
    "WINDOW_UPDATE behind the end of the request": sends(opened(), lambda p: p.window(1, 1000)),
    "a priority that a head brings": sends(f.frame(HEADERS, END_HEADERS | END_STREAM | f.HAS_PRIORITY, 1, b"\0\0\0\0\x10" + LITERALS)),
    "padding of HEADERS": sends(f.frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\x05" + LITERALS + b"\0" * 5)),
    "many CONTINUATIONs, empty ones among them": sends(
        f.frame(HEADERS, END_STREAM, 1, b""), f.frame(f.CONTINUATION, 0, 1, PART), f.frame(f.CONTINUATION, 0, 1, b""), f.frame(f.CONTINUATION, END_HEADERS, 1, LITERALS[10:])),
    "HPACK: table sizes in front of the fields": sends(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.table_size_update(0) + f.table_size_update(4096) + LITERALS)),
    "an answer to a PING that nobody sent": sends(f.frame(PING, f.ACK, 0, b"12345678")),
    "ids that leave gaps": sends(opened(3), opened(7)),
    "the largest window": sends(lambda p: p.window(0, 0x7FFFFFFF - 65535)),
    "a smaller dynamic table, then none": sends(lambda p: p.settings((f.HEADER_TABLE_SIZE, 100)), lambda p: p.settings((f.HEADER_TABLE_SIZE, 0))),
    "no push": sends(lambda p: p.settings((f.ENABLE_PUSH, 0)), lambda p: p.settings((f.ENABLE_PUSH, 1))),
}


def test_a_client_may_say_that_it_has_no_old_priorities(edge):
    with edge.peer((9, 1)) as peer:
        assert edge.serves(peer.met(), 1)


@pytest.mark.parametrize("case", TOLERATED, ids=lambda c: c.replace(" ", "_"))
def test_what_is_allowed_or_unknown_disturbs_nothing(edge, case):
    with edge.peer() as peer:
        TOLERATED[case](peer.met())
        assert peer.is_up() and edge.serves(peer, 101)


def test_a_ping_comes_back_with_its_bytes(edge):
    with edge.peer() as peer:
        peer.met().ping(b"\0\xff\x01abcde")
        got = peer.until_kind(PING)
        assert got.flags & f.ACK and got.payload == b"\0\xff\x01abcde" and got.stream == 0


def test_the_dynamic_table_is_kept_over_requests(edge):
    with edge.peer() as peer:
        peer.met()
        for stream in range(1, 20, 2):
            block = peer.encoder.encode([*POST, ("x-a", "a long value " * 5 + "."), ("x-b", str(stream))])
            status, *_ = peer.headers(stream, None, block=block).answer(stream)
            assert status == 200
        last = edge.forwarded("/echo")[-1]
        assert last.get("x-a") == "a long value " * 5 + "." and last.get("x-b") == "19"


def test_a_header_block_of_a_stream_that_is_refused_still_changes_the_table(edge):
    # RFC 9113 4.3: or every later block would be read wrongly
    with edge.peer() as peer:
        peer.met()
        bad = f.literals(request()) + f.literals([("Upper", "x")]) + f.indexing("x-kept", "value of the dynamic table")
        peer.headers(1, None, block=bad).resets(1, "PROTOCOL_ERROR")
        assert peer.headers(3, None, block=f.literals(POST) + f.indexed(62)).answer(3)[0] == 200
        assert edge.forwarded("/echo")[-1].get("x-kept") == "value of the dynamic table"


def test_a_client_without_a_dynamic_table_is_sent_none(edge):
    with edge.peer((f.HEADER_TABLE_SIZE, 0)) as peer:
        peer.met()
        peer.decoder.max_allowed_table_size = 0
        for stream in (1, 3, 5):
            assert edge.serves(peer, stream)
        assert len(peer.decoder.header_table.dynamic_entries) == 0


# ---- windows ----


def test_nothing_is_sent_without_a_window(edge):
    with edge.peer((f.INITIAL_WINDOW_SIZE, 0)) as peer:
        peer.met().headers(1, request(path="/large"))
        peer.until_kind(HEADERS, 1)
        assert peer.is_up()
        assert not [got for got in peer.seen if got.kind == DATA and got.payload]
        peer.window(1, 1)
        assert len(peer.until_kind(DATA, 1).payload) == 1
        peer.settings((f.INITIAL_WINDOW_SIZE, 10))  # 6.9.2: the change counts for open streams
        assert sum(len(peer.until_kind(DATA, 1).payload) for _ in range(1)) <= 10
        assert peer.is_up()
        assert sum(len(got.payload) for got in peer.seen if got.kind == DATA) == 11


def test_a_window_may_be_negative_and_is_counted_back(edge):
    with edge.peer((f.INITIAL_WINDOW_SIZE, 10)) as peer:
        peer.met().headers(1, request(path="/large"))
        assert len(peer.until_kind(DATA, 1).payload) == 10
        peer.settings((f.INITIAL_WINDOW_SIZE, 4)).window(1, 6)  # -6, then 0
        assert peer.is_up()
        peer.window(1, 3)
        assert len(peer.until_kind(DATA, 1).payload) == 3


def test_of_several_values_of_a_setting_the_last_counts(edge):
    with edge.peer((f.INITIAL_WINDOW_SIZE, 100), (f.INITIAL_WINDOW_SIZE, 1)) as peer:
        peer.met().headers(1, request(path="/large"))
        assert len(peer.until_kind(DATA, 1).payload) == 1
        assert peer.is_up() and sum(len(got.payload) for got in peer.seen if got.kind == DATA) == 1


def test_all_streams_share_the_connections_window(edge):
    with edge.peer((f.INITIAL_WINDOW_SIZE, 1 << 20)) as peer:
        peer.met()
        for stream in (1, 3, 5):
            peer.headers(stream, request(path="/large"))
        sent = 0
        while sent < 65535:
            sent += len(peer.until_kind(DATA).payload)
        assert peer.is_up() and sum(len(got.payload) for got in peer.seen if got.kind == DATA) == 65535
        peer.window(0, 1 << 20)
        left = {1, 3, 5}
        while left:
            got = peer.until_kind(DATA)
            left -= {got.stream} if got.ends else set()
        assert sum(len(got.payload) for got in peer.seen if got.kind == DATA) == 600000


def test_no_frame_is_larger_than_we_have_allowed(edge):
    with edge.peer((f.INITIAL_WINDOW_SIZE, 1 << 20)) as peer:
        peer.met().window(0, 1 << 20).headers(1, request(path="/large"))
        peer.answer(1)
        assert max(len(got.payload) for got in peer.seen) <= 16384


def test_padding_counts_for_the_windows_and_is_given_back(edge):
    with edge.peer() as peer:
        peer.met().headers(1, POST, end=False)
        window = {0: 65535, 1: peer.their_settings.get(f.INITIAL_WINDOW_SIZE, 65535)}

        def until_room(size):
            while min(window.values()) < size:
                got = peer.until(lambda got: got.kind == f.WINDOW_UPDATE)
                window[got.stream] += got.number

        for _ in range(1200):  # 300 KB of padding for 1,200 bytes
            until_room(257)
            peer.send(DATA, PADDED, 1, b"\xffx" + b"\0" * 255)
            window[0] -= 257
            window[1] -= 257
        peer.data(1, b"", end=True)
        assert peer.answer(1)[2] == b"x" * 1200


def test_bytes_of_streams_that_are_over_are_given_back_to_the_connection(edge):
    # or a client that resets its uploads would at last have no window for any
    with edge.peer() as peer:
        peer.met()
        window = 65535
        for number in range(30):
            stream = 2 * number + 1
            while window < 40000:
                got = peer.until(lambda got: got.kind == f.WINDOW_UPDATE and got.stream == 0)
                window += got.number
            peer.headers(stream, request(method="POST", path="/wait"), end=False)
            for _ in range(4):
                peer.data(stream, b"x" * 10000)
            window -= 40000
            peer.reset(stream)
        assert edge.serves(peer, 1001)


# ---- malformed messages ----

PLAIN = request()


def without(name):
    return [p for p in PLAIN if p[0] != name]


def with_field(*fields):
    return [*PLAIN, *fields]


MALFORMED = {
    "no :method": without(":method"), "no :scheme": without(":scheme"), "no :path": without(":path"),
    "no field at all": [],
    "two :method": [(":method", "GET"), *PLAIN], "two :scheme": [(":scheme", "http"), *PLAIN], "two :path": [(":path", "/x"), *PLAIN],
    "two :authority": [(":authority", "other.test"), *PLAIN], "two equal :authority": [(":authority", "gateway.test"), *PLAIN],
    "an unknown pseudo-field": [*PLAIN, (":unknown", "x")], "a response's pseudo-field": [*PLAIN, (":status", "200")],
    "an empty pseudo-field's name": [*PLAIN, (":", "x")],
    "a pseudo-field behind a field": [PLAIN[0], ("x-a", "b"), *PLAIN[1:]], ":authority behind a field": [*without(":authority"), ("x-a", "b"), PLAIN[3]],
    "an upper-case name": with_field(("X-Upper", "1")), "an upper-case pseudo-field": [*without(":method"), (":Method", "GET")],
    "Connection": with_field(("connection", "keep-alive")), "Connection: close": with_field(("connection", "close")),
    "Keep-Alive": with_field(("keep-alive", "timeout=5")), "Proxy-Connection": with_field(("proxy-connection", "keep-alive")),
    "Transfer-Encoding": with_field(("transfer-encoding", "chunked")), "Upgrade": with_field(("upgrade", "websocket")),
    "TE: gzip": with_field(("te", "gzip")), "TE: trailers, gzip": with_field(("te", "trailers, gzip")),
    "an empty :path": request(path=""), ":path without a slash": request(path="x"), ":path of * for GET": request(path="*"),
    ":path with a space": request(path="/a b"), ":path with CR LF": request(path="/ HTTP/1.1\r\nX-Evil: 1"), ":path with NUL": request(path="/a\0b"),
    ":path with a fragment": request(path="/a#b"), ":path that is a URL": request(path="http://gateway.test/"), ":path with DEL": request(path="/a\x7f"),
    ":path with a tab": request(path="/a\tb"),
    "an empty :method": request(method=""), ":method with a space": request(method="GET /x"), ":method with CR LF": request(method="GET / HTTP/1.1\r\nX: 1\r\n\r\nGET"),
    ":method with a colon": request(method="G:T"),
    "an empty :scheme": request(scheme=""), ":scheme with CR LF": request(scheme="http\r\nx: y"), ":scheme with a space": request(scheme="ht tp"),
    ":authority with a user": request(authority="me@gateway.test"), ":authority with CR LF": request(authority="gateway.test\r\nX: 1"),
    ":authority with a space": request(authority="gateway.test evil"), ":authority with a slash": request(authority="gateway.test/x"),
    ":authority with a comma": request(authority="a.test,b.test"), ":authority with NUL": request(authority="a\0b"),
    "no :authority and no Host": without(":authority"),
    "Host that differs": with_field(("host", "other.test")), "Host doubled": [*without(":authority"), ("host", "a.test"), ("host", "b.test")],
    "a name with CR LF": with_field(("x-a\r\nx-evil", "1")), "a name with a colon": with_field(("x-a:b", "1")), "a name with a space": with_field(("x a", "1")),
    "a name that ends in a space": with_field(("content-length ", "5")), "a name with NUL": with_field(("x\0a", "1")), "an empty name": with_field(("", "1")),
    "a name of high bytes": with_field(("x-\xe9", "1")), "a name with a tab": with_field(("x-a\t", "1")), "a name with DEL": with_field(("x\x7f", "1")),
    "a value with CR LF": with_field(("x-a", "b\r\nx-evil: 1")), "a value with LF": with_field(("x-a", "b\nx-evil: 1")), "a value with CR": with_field(("x-a", "b\rc")),
    "a value with NUL": with_field(("x-a", "b\0c")),
    "a value that begins with a space": with_field(("x-a", " b")), "a value that ends in a space": with_field(("x-a", "b ")),
    "a value that begins with a tab": with_field(("x-a", "\tb")),
    "Content-Length of words": with_field(("content-length", "five")), "Content-Length with a sign": with_field(("content-length", "+0")),
    "two Content-Lengths": with_field(("content-length", "0"), ("content-length", "1")), "a list as Content-Length": with_field(("content-length", "0, 0")),
    "an empty Content-Length": with_field(("content-length", "")), "Content-Length that overflows": with_field(("content-length", "18446744073709551616")),
    "Content-Length without a body": with_field(("content-length", "5")),
    "CONNECT with :path": [(":method", "CONNECT"), (":path", "/"), (":authority", "a.test:80")],
    "CONNECT with :scheme": [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a.test:80")],
    "CONNECT without :authority": [(":method", "CONNECT")],
    ":protocol without CONNECT": [*PLAIN, (":protocol", "websocket")],
    "extended CONNECT without :path": [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a.test")],
    "extended CONNECT without :scheme": [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/"), (":authority", "a.test")],
}


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: c.replace(" ", "_"))
def test_a_malformed_request_is_a_stream_error_and_reaches_nobody(edge, case):
    with edge.peer() as peer:
        before = len(edge.service.requests)
        peer.met().headers(1, MALFORMED[case])
        peer.resets(1, "PROTOCOL_ERROR")
        statuses = {got.status for got in peer.seen if got.stream == 1 and got.kind == HEADERS}
        assert statuses <= {"400"}, statuses
        assert edge.serves(peer, 3)
        assert [r.path for r in edge.service.requests[before:]] == ["/echo"]


def bodies(*parts, length=None, trailers=None):
    """A POST whose DATA frames hold these parts."""
    def run(peer):
        peer.headers(1, [*POST, *([("content-length", length)] if length else [])], end=False)
        for number, part in enumerate(parts):
            peer.data(1, part, end=number == len(parts) - 1 and trailers is None)
        if trailers is not None:
            peer.headers(1, trailers)
    return run


BROKEN_BODIES = {
    "fewer bytes than Content-Length": bodies(b"1234", length="5"), "more bytes than Content-Length": bodies(b"123456", length="5"),
    "more bytes in a later frame": bodies(b"123", b"4567", length="5"), "a body against Content-Length 0": bodies(b"1", length="0"),
    "nothing against Content-Length 1": bodies(b"", length="1"), "fewer bytes, then trailers": bodies(b"1234", length="5", trailers=[("x-a", "1")]),
    "a pseudo-field in trailers": bodies(b"x", trailers=[(":path", "/evil")]), ":method in trailers": bodies(b"x", trailers=[("x-a", "1"), (":method", "GET")]),
    "an upper-case name in trailers": bodies(b"x", trailers=[("X-Upper", "1")]), "CR LF in a trailer": bodies(b"x", trailers=[("x-a", "1\r\n\r\nGET /evil HTTP/1.1")]),
    "Transfer-Encoding in trailers": bodies(b"x", trailers=[("transfer-encoding", "chunked")]),
    "trailers that do not end the stream": sends(lambda p: p.headers(1, POST, end=False), lambda p: p.headers(1, [("x-a", "1")], end=False)),
}


@pytest.mark.parametrize("case", BROKEN_BODIES, ids=lambda c: c.replace(" ", "_"))
def test_a_body_that_is_not_what_was_announced_never_looks_complete(edge, case):
    with edge.peer() as peer:
        BROKEN_BODIES[case](peer.met())
        peer.resets(1, "PROTOCOL_ERROR")
        assert not [got for got in peer.seen if got.kind == HEADERS and got.stream == 1 and got.status == "200"]
        assert edge.serves(peer, 3)
    assert not edge.forwarded("/evil")


WELL_FORMED = {
    "TE: trailers": with_field(("te", "trailers")), "Host that is the same": with_field(("host", "gateway.test")),
    "Host instead of :authority": [*without(":authority"), ("host", "gateway.test")],
    "Content-Length 0 without a body": with_field(("content-length", "0")), "an empty value": with_field(("x-a", "")), "inner spaces and tabs": with_field(("x-a", "b \t c")),
    "OPTIONS *": request(method="OPTIONS", path="*"), "high bytes in a value": with_field(("x-a", "\xe9\xff")), "a query only": request(path="/?"),
    "a priority": with_field(("priority", "u=1, i")), "pseudo-fields in any order": list(reversed(PLAIN)), "an upper-case scheme's host": request(authority="GATEWAY.test:80"),
}


@pytest.mark.parametrize("case", WELL_FORMED, ids=lambda c: c.replace(" ", "_"))
def test_a_well_formed_request_is_served(edge, case):
    with edge.peer() as peer:
        assert peer.met().headers(1, WELL_FORMED[case]).answer(1)[0] in (200, 204)


def test_a_body_that_is_what_was_announced_is_served(edge):
    with edge.peer() as peer:
        bodies(b"12", b"", b"345", length="5")(peer.met())
        assert peer.answer(1)[2] == b"12345"
        peer.headers(3, [*POST, ("content-length", "2")], end=False).data(3, b"hi").headers(3, [("x-sum", "1")])
        assert peer.answer(3)[2] == b"hi"
        peer.headers(5, [*POST, ("content-length", "0")], end=False).data(5, b"", end=True)
        assert peer.answer(5)[0] == 200


def test_connect_is_not_passed_on(edge):
    with edge.peer() as peer:
        before = len(edge.service.requests)
        peer.met().headers(1, [(":method", "CONNECT"), (":authority", "elsewhere.test:443")], end=False)
        head = peer.until(lambda got: got.stream == 1 and got.kind in (HEADERS, RST_STREAM))
        assert head.kind == RST_STREAM or 400 <= int(head.status) < 600
        assert edge.serves(peer, 3) and [r.path for r in edge.service.requests[before:]] == ["/echo"]


def test_a_protocol_of_connect_that_is_not_known_is_not_passed_on(edge):
    with edge.peer() as peer:
        before = len(edge.service.requests)
        peer.met().headers(1, [(":method", "CONNECT"), (":protocol", "evil"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")], end=False)
        head = peer.until(lambda got: got.stream == 1 and got.kind in (HEADERS, RST_STREAM))
        assert head.kind == RST_STREAM or 400 <= int(head.status) < 600
        assert edge.serves(peer, 3) and [r.path for r in edge.service.requests[before:]] == ["/echo"]


def test_an_expectation_that_nobody_knows_is_a_417(edge):
    with edge.peer() as peer:
        assert peer.met().headers(1, with_field(("expect", "200-maybe"))).answer(1)[0] == 417


# ---- limits ----


def test_no_more_streams_than_allowed_are_served_at_once(edge):
    with edge.peer() as peer:
        most = peer.met().their_settings[f.MAX_CONCURRENT_STREAMS]
        before = len(edge.service.requests)
        for number in range(most + 1):
            peer.headers(2 * number + 1, request(path="/wait"))
        got = peer.until(lambda got: got.kind == RST_STREAM and got.stream == 2 * most + 1 or got.kind == GOAWAY)
        assert got.code in ("REFUSED_STREAM", "PROTOCOL_ERROR")
        assert len(edge.service.requests) - before <= most


def test_streams_above_the_limit_are_refused_to_a_client_that_could_not_know_it(edge):
    with edge.peer() as peer:
        peer.acknowledges = False
        peer.until_kind(SETTINGS)
        most = peer.their_settings[f.MAX_CONCURRENT_STREAMS]
        for number in range(most + 1):
            peer.headers(2 * number + 1, request(path="/wait"))
        peer.resets(2 * most + 1, "REFUSED_STREAM")
        peer.reset(1)
        assert peer.is_up() and edge.serves(peer, 2 * most + 3)


def test_a_header_list_that_is_too_large_is_refused_and_the_connection_lives(edge):
    with edge.peer() as peer:
        peer.met()
        peer.send(HEADERS, END_STREAM, 1, f.literals(request(("x-0", "y" * 15000))))
        for number in range(1, 3):
            peer.send(f.CONTINUATION, 0, 1, f.literals([(f"x-{number}", "y" * 15000)]))
        peer.send(f.CONTINUATION, END_HEADERS, 1, f.literals([("x-last", "z")]))
        got = peer.until(lambda got: got.stream == 1 and got.kind in (HEADERS, RST_STREAM))
        assert got.kind == RST_STREAM or got.status == "431"
        assert edge.serves(peer, 3)


def test_too_many_fields_are_a_431(edge):
    with edge.peer() as peer:
        block = request(*[(f"x-{n}", "1") for n in range(200)])
        got = peer.met().headers(1, block).until(lambda got: got.stream == 1 and got.kind in (HEADERS, RST_STREAM))
        assert got.kind == RST_STREAM or got.status == "431"
        assert edge.serves(peer, 3)


# ---- ends ----


def test_a_client_that_says_goaway_gets_its_answers_and_the_end(edge):
    with edge.peer() as peer:
        peer.met().headers(1, POST, end=False).goaway()
        peer.data(1, b"still", end=True)
        assert peer.answer(1)[2] == b"still"
        last = peer.rest()
        assert all(got.kind != GOAWAY or got.code == "NO_ERROR" for got in last)


def test_a_client_that_goes_away_leaves_nothing(edge):
    with edge.peer() as peer:
        peer.met()
        for stream in range(1, 40, 2):
            peer.headers(stream, request(path="/wait"))
        assert peer.is_up()
        peer.wire.reset()
    edge.gw.wait_for_metric(0, "maitred_connections")
    edge.gw.wait_for_metric(0, "maitred_upstream_requests_active")


def test_half_a_frame_and_the_end_leave_nothing(edge):
    for piece in (b"", b"\0", f.frame(SETTINGS)[:5], f.frame(HEADERS, END_HEADERS, 1, LITERALS)[:-4], f.frame(DATA, 0, 1, b"x" * 100)[:50]):
        with edge.peer() as peer:
            peer.met().send_bytes(piece)
            peer.sock.shutdown(socket.SHUT_WR)
            peer.rest()
    edge.gw.wait_for_metric(0, "maitred_connections")


def test_an_idle_connection_is_told_and_closed(gateway):
    gw = gateway(timeouts={"keep_alive": "200ms"})
    with frames_to(gw.port) as peer:
        assert peer.headers(1, request()).answer(1)[0] == 200
        last = [got for got in peer.rest() if got.kind == GOAWAY]
        assert last and last[-1].code == "NO_ERROR" and last[-1].last_stream == 1


def test_draining_says_goaway_first_and_the_last_stream_later(gateway, origin):
    release = threading.Event()

    def script(call):
        release.wait(10)
        call.answer(200, "late")

    service = origin(script=script)
    gw = gateway(to=service)
    with frames_to(gw.port) as peer:
        peer.met().headers(1, request())
        service.wait_for_request()
        gw.kill(15)
        first = peer.until_kind(GOAWAY)
        assert first.code == "NO_ERROR" and first.last_stream in (1, 0x7FFFFFFF)
        release.set()
        assert peer.answer(1)[2] == b"late"
        peer.rest()
        goaways = [got for got in peer.seen if got.kind == GOAWAY]
        assert goaways[-1].last_stream == 1 and goaways[-1].code == "NO_ERROR", peer.seen
    gw.process.wait(10)
    gw.pid = None


def test_a_stream_of_a_draining_connection_is_served_or_refused_never_lost(gateway, origin):
    gw = gateway(to=origin())
    with frames_to(gw.port) as peer:
        peer.met().headers(1, request())
        assert peer.answer(1)[0] == 200
        gw.kill(15)
        try:
            peer.headers(3, request())
            frames = peer.rest()
        except OSError:
            frames = peer.rest()
        last = [got for got in peer.seen if got.kind == GOAWAY][-1].last_stream
        answered = [got for got in frames if got.kind == HEADERS and got.stream == 3]
        refused = [got for got in frames if got.kind == RST_STREAM and got.stream == 3 and got.code == "REFUSED_STREAM"]
        assert answered or refused or last < 3
    gw.process.wait(10)
    gw.pid = None


def test_the_answers_of_errors_are_whole_messages(edge):
    with edge.peer() as peer:
        status, fields, body, _ = peer.met().headers(1, request(path="/..%2fx")).answer(1)
        assert status == 400 and dict(fields)["content-length"] == str(len(body))
        assert all(n == n.lower() for n, _ in fields) and not {"connection", "transfer-encoding", "keep-alive"} & {n for n, _ in fields}
        assert edge.serves(peer, 3)


def test_a_head_that_is_refused_is_counted_and_logged(edge):
    with edge.peer() as peer:
        peer.met().headers(1, request(("X-Logged-Refusal", "1"), path="/refused-here"))
        peer.resets(1, "PROTOCOL_ERROR")
    line = edge.gw.line(path="/refused-here")
    assert line["error"] == {"side": "client", "word": "bad_field"} and line["version"] == "2"
