"""What an attacker tries with HTTP/2: to make the gateway compute, hold or wait more than he sends.

Every attack here has a bound of its own and stops by itself.  What must hold: memory stays within bounds, other clients are served
meanwhile, whoever goes on is sent away with ENHANCE_YOUR_CALM, and the gateway is as it was when it is over.
"""
import contextlib
import socket
import threading

import pytest

from kit import frames as f
from kit.frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Lost, frames_to, request
from kit.gateway import SANITIZED, wait_until
from kit.wire import connect

MEGA = 1 << 20
SPREAD = 8 if SANITIZED else 1  # what the sanitizers' own memory multiplies
LITERALS = f.literals(request())
CANCEL = b"\0\0\0\x08"


class Offender:
    """A client that sends and sends, reads what comes so that nothing blocks (or does not), and says how it ended."""

    def __init__(self, gw, *pairs, reads=True):
        self.gw, self.reads, self.sent = gw, reads, 0
        self.peer = frames_to(gw.port, *pairs)
        self.peer.acknowledges = reads
        self.frames, self.ended = [], None

    def send(self, data):
        """False when it was sent away, or nothing is taken any more."""
        if self.ended:
            return False
        self.peer.sock.settimeout(3)
        try:
            self.peer.sock.sendall(data)
            self.sent += len(data)
        except TimeoutError:
            self.ended = "stalled"
        except OSError:
            self.ended = "closed"
        self.drain()
        return not self.ended

    def drain(self):
        if not self.reads:
            return
        try:
            while True:
                self.frames.append(self.peer.next(0.001))
        except TimeoutError:
            pass
        except Lost:
            self.ended = "closed"

    def finish(self):
        """Everything up to the end, or to the answer of a PING that is sent now; the code of GOAWAY, if any."""
        with contextlib.suppress(OSError, Lost):
            self.peer.ping(b"is it up")
        with contextlib.suppress(OSError, Lost, TimeoutError):
            while True:
                got = self.peer.next(3)
                self.frames.append(got)
                if got.kind == PING and got.payload == b"is it up":
                    break
        self.peer.close()
        codes = [got.code for got in self.frames if got.kind == GOAWAY]
        return codes[-1] if codes else None


@pytest.fixture
def bystander():
    """Someone else, who must be served all the time."""
    made = []

    class Bystander(threading.Thread):
        def __init__(self, gw):
            super().__init__(daemon=True)
            self.gw, self.over, self.served, self.failed = gw, threading.Event(), 0, []
            self.begun = threading.Event()
            made.append(self)
            self.start()
            assert self.begun.wait(10)

        def run(self):
            try:
                with self.gw.connect() as wire:
                    while True:
                        assert wire.get("/bystander").status == 200
                        self.served += 1
                        self.begun.set()
                        if self.over.wait(0.01) and self.served > 1:
                            return
            except Exception as error:
                self.failed.append(repr(error))

    yield Bystander
    for one in made:
        one.over.set()
        one.join(20)
        assert not one.failed, one.failed
        assert one.served > 1


@pytest.fixture
def edge(gateway, origin, bystander):
    """A gateway with a service that holds /wait back, a bystander, and a look at memory and streams when it is over."""
    made = []

    def script(call):
        if call.request.path == "/wait":
            with contextlib.suppress(ConnectionError):
                while call.wire.some():
                    pass
            return call.close()
        call.answer(200, b"x" * 300000 if call.request.path == "/large" else call.read_body())

    def start(**sections):
        service = origin(script=script)
        gw = gateway(to=service, **{"workers": 1, **sections})
        gw.service, gw.before = service, gw.rss()
        made.append((gw, bystander(gw)))
        return gw

    yield start
    for gw, one in made:
        assert gw.process.poll() is None
        one.over.set()
        one.join(20)
        gw.wait_for_metric(0, "maitred_connections")
        gw.wait_for_metric(0, "maitred_upstream_requests_active")
        assert gw.get("/after").status == 200
        assert gw.rss() - gw.before < 24 * MEGA * SPREAD


# ---- resets ----


def test_streams_that_are_opened_and_reset_at_once_end_the_connection(edge):
    # CVE-2023-44487: the limit of concurrent streams never counts them, yet each costs a request
    gw = edge()
    offender = Offender(gw)
    for first in range(1, 20000, 200):
        pairs = b"".join(f.frame(HEADERS, END_HEADERS | END_STREAM, s, LITERALS) + f.frame(RST_STREAM, 0, s, CANCEL) for s in range(first, first + 200, 2))
        if not offender.send(pairs):
            break
    assert offender.finish() == "ENHANCE_YOUR_CALM"
    assert len([r for r in gw.service.requests if r.path == "/"]) < 2000


def test_slower_resets_of_requests_that_run_end_the_connection_too(edge):
    gw = edge()
    offender = Offender(gw)
    head = f.literals(request(path="/wait"))
    for first in range(1, 20000, 40):
        if not offender.send(b"".join(f.frame(HEADERS, END_HEADERS | END_STREAM, s, head) for s in range(first, first + 40, 2))):
            break
        if not offender.send(b"".join(f.frame(RST_STREAM, 0, s, CANCEL) for s in range(first, first + 40, 2))):
            break
    assert offender.finish() == "ENHANCE_YOUR_CALM"


def test_a_browser_that_leaves_a_page_is_not_sent_away(edge):
    gw = edge()
    offender = Offender(gw)
    head = f.literals(request(path="/wait"))
    for s in range(1, 121, 2):
        assert offender.send(f.frame(HEADERS, END_HEADERS | END_STREAM, s, head))
    assert offender.send(b"".join(f.frame(RST_STREAM, 0, s, CANCEL) for s in range(1, 121, 2)))
    assert offender.peer.headers(201, request()).answer(201)[0] == 200
    assert offender.finish() in (None, "NO_ERROR")


MADE_YOU_RESET = {
    "windows that overflow": lambda s: f.frame(HEADERS, END_HEADERS | END_STREAM, s, f.literals(request(path="/wait"))) + f.frame(f.WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff"),
    "bodies that are too long": lambda s: f.frame(HEADERS, END_HEADERS, s, f.literals(request(("content-length", "1"), method="POST", path="/wait"))) + f.frame(DATA, 0, s, b"xx"),
    "malformed heads": lambda s: f.frame(HEADERS, END_HEADERS | END_STREAM, s, f.literals(request(("Upper", "1")))),
    "trailers that do not end": lambda s: f.frame(HEADERS, END_HEADERS, s, f.literals(request(method="POST", path="/wait"))) + f.frame(HEADERS, END_HEADERS, s, f.literals([("x-a", "1")])),
}


@pytest.mark.parametrize("fault", MADE_YOU_RESET, ids=lambda c: c.replace(" ", "_"))
def test_making_the_server_reset_streams_counts_as_resetting_them(edge, fault):
    # CVE-2025-8671: the client breaks a rule of the stream, and the server resets it while the request runs on behind
    gw = edge()
    offender = Offender(gw)
    for first in range(1, 16000, 100):
        if not offender.send(b"".join(MADE_YOU_RESET[fault](s) for s in range(first, first + 100, 2))):
            break
    assert offender.finish() in ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR")
    assert len(gw.service.requests) < 6000


# ---- header blocks ----


@pytest.mark.parametrize("size", [0, 1, 16000], ids=["empty", "one byte", "large"])
def test_header_blocks_without_end_are_cut_short(edge, size):
    # CVE-2024-27316: nothing of it is a request yet, so no limit of requests applies
    gw = edge()
    offender = Offender(gw)
    offender.send(f.frame(HEADERS, END_STREAM, 1, LITERALS))
    part = {0: b"", 1: b"\x82", 16000: f.literals([("x-a", "y" * 15990)])}[size]
    for _ in range(100):
        if not offender.send(f.frame(f.CONTINUATION, 0, 1, part) * (300 if size < 16000 else 8)):
            break
    code = offender.finish()
    assert offender.ended == "closed" or code
    assert code in ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "COMPRESSION_ERROR", None)
    assert gw.rss() - gw.before < 8 * MEGA * SPREAD


def test_few_bytes_that_decompress_to_many_are_not_kept(edge):
    gw = edge()
    offender = Offender(gw)
    entry = f.indexing("x-bomb", "v" * 3900)
    for number in range(40):
        stream = 2 * number + 1
        block = LITERALS + (entry if number == 0 else b"") + f.indexed(62) * 12000  # 47 MB from 12 KB
        if not offender.send(f.frame(HEADERS, END_HEADERS | END_STREAM, stream, block)):
            break
        assert gw.rss() - gw.before < 12 * MEGA * SPREAD
    offender.finish()
    assert not [got for got in offender.frames if got.kind == HEADERS and got.status == "200"]
    assert not [r for r in gw.service.requests if r.path == "/"]


def test_cookies_in_very_many_crumbs_are_refused(edge):
    gw = edge()
    offender = Offender(gw)
    for stream in range(1, 41, 2):
        if not offender.send(f.frame(HEADERS, END_HEADERS | END_STREAM, stream, LITERALS + b"\x60\x00" * 1 + b"\x0f\x11\x00" * 5000)):
            break
        assert gw.rss() - gw.before < 12 * MEGA * SPREAD
    offender.finish()
    assert not [r for r in gw.service.requests if r.path == "/"]


# ---- floods of frames that ask for an answer or for nothing ----

WANT_CALM = {
    "PING": f.frame(PING, 0, 0, b"flooding"),
    "SETTINGS": f.frame(SETTINGS, 0, 0, f.settings((f.INITIAL_WINDOW_SIZE, 65535))),
    "empty SETTINGS": f.frame(SETTINGS),
    "empty DATA": f.frame(DATA, 0, 1, b""),
    "padded empty DATA": f.frame(DATA, f.PADDED, 1, b"\0"),
}


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
@pytest.mark.parametrize("flood", WANT_CALM, ids=lambda c: c.replace(" ", "_"))
def test_a_flood_ends_its_connection(edge, flood, reads):
    gw = edge()
    offender = Offender(gw, reads=reads)
    offender.send(f.frame(HEADERS, END_HEADERS, 1, f.literals(request(method="POST", path="/wait"))))
    for _ in range(150):
        if not offender.send(WANT_CALM[flood] * 1000):
            break
    assert gw.rss() - gw.before < 8 * MEGA * SPREAD
    offender.reads = True
    code = offender.finish()
    assert code == "ENHANCE_YOUR_CALM" or code is None and offender.ended, (code, offender.ended, offender.frames[-3:])


CHEAP = {
    "PRIORITY of one stream": lambda n: f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\x10") * 1000,
    "PRIORITY of many streams": lambda n: b"".join(f.frame(f.PRIORITY, 0, 2 * (1000 * n + i) + 3, f.settings((0, 2 * i + 1))[2:] + b"\x10") for i in range(1000)),
    "WINDOW_UPDATE": lambda n: f.frame(f.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 1000,
    "WINDOW_UPDATE of the connection": lambda n: f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000,
    "unknown frames": lambda n: f.frame(0x42, 0, 0, b"x") * 1000,
    "RST_STREAM of a closed stream": lambda n: f.frame(RST_STREAM, 0, 3, CANCEL) * 1000,
}


@pytest.mark.parametrize("flood", CHEAP, ids=lambda c: c.replace(" ", "_"))
def test_frames_that_cost_nothing_keep_nothing(edge, flood):
    gw = edge()
    offender = Offender(gw)
    offender.send(f.frame(HEADERS, END_HEADERS | END_STREAM, 1, f.literals(request(path="/wait"))))
    offender.send(f.frame(HEADERS, END_HEADERS | END_STREAM, 3, f.literals(request(path="/wait"))) + f.frame(RST_STREAM, 0, 3, CANCEL))
    for n in range(100):
        if not offender.send(CHEAP[flood](n)):
            break
    assert gw.rss() - gw.before < 8 * MEGA * SPREAD
    assert offender.finish() in (None, "ENHANCE_YOUR_CALM")


# ---- windows ----


def test_streams_whose_client_opens_no_window_hold_little(edge):
    gw = edge(timeouts={"send_idle": "60s"})
    streams = 100
    with frames_to(gw.port, (f.INITIAL_WINDOW_SIZE, 0)) as peer:
        peer.met()
        most = min(streams, peer.their_settings[f.MAX_CONCURRENT_STREAMS])
        for number in range(most):
            peer.headers(2 * number + 1, request(path="/large"))
        waiting = set(range(1, 2 * most, 2))
        while waiting:
            waiting.discard(peer.until_kind(HEADERS).stream)
        assert peer.is_up()
        assert gw.rss() - gw.before < 16 * MEGA * SPREAD
        # and all of it is still there
        peer.window(0, 1 << 30).settings((f.INITIAL_WINDOW_SIZE, 1 << 20))
        ended, got_bytes = set(), 0
        while len(ended) < most:
            got = peer.until_kind(DATA)
            got_bytes += len(got.payload)
            ended |= {got.stream} if got.ends else set()
        assert got_bytes == most * 300000


@pytest.mark.slow
def test_a_thousand_such_streams_hold_little(edge):
    gw = edge(timeouts={"send_idle": "60s"})
    peers = [frames_to(gw.port, (f.INITIAL_WINDOW_SIZE, 0)).met() for _ in range(20)]
    for peer in peers:
        for number in range(50):
            peer.headers(2 * number + 1, request(path="/large"))
    for peer in peers:
        waiting = set(range(1, 100, 2))
        while waiting:
            waiting.discard(peer.until_kind(HEADERS).stream)
    held = gw.rss() - gw.before
    assert held < 128 * MEGA * SPREAD, held // MEGA
    for peer in peers:
        peer.close()
    gw.wait_for_metric(0, "maitred_upstream_requests_active")
    gw.before = gw.rss()  # what the allocator keeps is not a stream's any more


def test_a_client_that_takes_a_byte_at_a_time_costs_no_memory(edge):
    # CVE-2019-9511
    gw = edge()
    with frames_to(gw.port, (f.INITIAL_WINDOW_SIZE, 0)) as peer:
        peer.met().headers(1, request(path="/large"))
        peer.until_kind(HEADERS, 1)
        for _ in range(1500):
            peer.window(1, 1)
        got = 0
        while got < 1500:
            got += len(peer.until_kind(DATA, 1).payload)
        assert got == 1500 and gw.rss() - gw.before < 6 * MEGA * SPREAD


def test_a_client_that_opens_its_windows_but_reads_nothing_stops_the_services(edge):
    # CVE-2019-9517
    gw = edge(timeouts={"send_idle": "60s"})
    with frames_to(gw.port, (f.INITIAL_WINDOW_SIZE, 1 << 30), receive_buffer=4096) as peer:
        peer.met().window(0, 1 << 30)
        for number in range(90):
            peer.headers(2 * number + 1, request(path="/large"))
        wait_until(lambda: len([r for r in gw.service.requests if r.path == "/large"]) == 90, "all have been asked for")
        assert gw.get("/served").status == 200
        assert gw.rss() - gw.before < 20 * MEGA * SPREAD


# ---- slowness ----


@pytest.mark.parametrize("sent", [f.PREFACE[:1], f.PREFACE[:10], f.PREFACE[:23], f.PREFACE, f.PREFACE + f.frame(SETTINGS)[:7]], ids=["1", "10", "23", "24", "31"])
def test_a_preface_that_does_not_go_on_is_given_up(edge, sent):
    gw = edge(timeouts={"request_head": "200ms", "keep_alive": "200ms"})
    with connect(gw.port) as wire:
        wire.send(sent).rest()


def test_a_header_block_that_does_not_go_on_is_given_up(edge):
    gw = edge(timeouts={"request_head": "200ms"})
    with frames_to(gw.port) as peer:
        peer.met().send(HEADERS, END_STREAM, 1, LITERALS)
        peer.rest()


def test_a_body_that_does_not_go_on_is_given_up(edge):
    gw = edge(timeouts={"request_body_idle": "200ms"})
    with frames_to(gw.port) as peer:
        peer.met().headers(1, request(method="POST", path="/wait-for-it"), end=False).data(1, b"x")
        got = peer.until(lambda got: got.stream == 1 and got.kind in (HEADERS, RST_STREAM))
        assert got.kind == RST_STREAM or got.status == "408"
        assert peer.headers(3, request()).answer(3)[0] == 200
    assert gw.line(path="/wait-for-it")["error"]["word"] == "body_timeout"


def test_an_answer_that_the_client_does_not_take_is_given_up(edge):
    gw = edge(timeouts={"send_idle": "300ms"})
    with frames_to(gw.port, (f.INITIAL_WINDOW_SIZE, 100)) as peer:
        peer.met().headers(1, request(path="/large"))
        peer.until(lambda got: got.kind in (RST_STREAM, GOAWAY))
    assert gw.line(path="/large")["error"]["word"] == "client_send_timeout"


def test_half_a_frame_holds_a_connection_no_longer_than_idleness(edge):
    gw = edge(timeouts={"request_head": "200ms", "keep_alive": "300ms"})
    with frames_to(gw.port) as peer:
        peer.met().send_bytes(f.frame(PING, 0, 0, b"12345678")[:12])
        peer.rest()


# ---- many connections ----


def test_connections_without_requests_make_room_and_hold_little(edge):
    gw = edge()
    peers = [frames_to(gw.port).met() for _ in range(100)]
    held = gw.rss() - gw.before
    assert held < 100 * 48 * 1024 * SPREAD + 2 * MEGA, held
    for peer in peers:
        peer.sock.shutdown(socket.SHUT_WR)
        peer.close()
