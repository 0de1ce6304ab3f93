"""The access log and the figures: one line an exchange, whatever becomes of it."""
import json
import os
import re
import threading
import time

import pytest

from kit.gateway import wait_until
from kit.wire import connect
from test_flow import settle, upload


def test_a_line_tells_the_whole_story_of_a_request(gateway, origin):
    service = origin(script=lambda call: call.answer(201, "made"))
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/things?a=b", "POST", fields=[("User-Agent", "tester/1"), ("Referer", "http://x/")], body=b"hello")
        assert wire.response().status == 201
        peer = "%s:%d" % wire.sock.getsockname()
    line = gw.line(path="/things")
    wanted = {"client": "127.0.0.1", "peer": peer, "version": "1.1", "method": "POST", "scheme": "http", "host": "gateway.test", "path": "/things",
              "query": "a=b", "user_agent": "tester/1", "referer": "http://x/", "status": 201, "bytes_in": 5, "bytes_out": 4, "upstream": "app",
              "target": service.address, "tries": 1, "up_status": 201, "reused": False}
    assert {k: line.get(k) for k in wanted} == wanted
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z", line["time"])
    assert "error" not in line and "complete" not in line
    assert 0 <= line["before_try_ms"] <= line["down_head_ms"] <= line["duration_ms"] < 10000


def test_times_are_those_of_the_phases(gateway, origin):
    gw = gateway(to=origin(script=lambda call: (time.sleep(0.15), call.answer(200))))
    assert gw.get("/").status == 200
    line = gw.line(path="/")
    assert line["up_head_ms"] >= 149 and line["duration_ms"] >= 149


@pytest.mark.parametrize("path, agent", [("/a%0ab", 'x" y\\'), ("/\\u0000", "\u00e4\u00ff"), ('/"', "<script>"), ("/" + "x" * 3000, "y" * 3000)])
def test_nothing_a_client_sends_breaks_a_line(gateway, path, agent):
    gw = gateway(routes=[{"respond": 204}])
    with gw.connect() as wire:
        wire.ask(path, fields=[("User-Agent", agent)])
        wire.response()
    gw.get("/after")
    lines = gw.access.wait(lambda l: True, "at all", count=2)
    assert all(isinstance(l, dict) for l in lines)
    line, = (l for l in lines if l["path"] != "/after")
    if line["status"] == 204:  # else the target was refused, and there is no saying how much of it was understood
        assert line["path"] == path and line["user_agent"].encode("latin-1", "replace")[:1] == agent.encode("latin-1")[:1]


def test_the_combined_format_is_what_tools_read(gateway, folder):
    log = folder / "access.log"
    gw = gateway(routes=[{"respond": {"body": "hello"}}], access_log={"to": str(log), "format": "combined"})
    gw.get("/a?b=c", fields=[("User-Agent", 'te"st'), ("Referer", "http://x/")])
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the line is written")
    assert re.match(r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b=c HTTP/1\.1" 200 5 "http://x/" "te\\"st"\n\Z',
                    log.read_text())


def test_no_log_is_kept_when_it_is_off(gateway):
    gw = gateway(routes=[{"respond": 200}], access_log="off")
    assert gw.get("/").status == 200
    assert gw.stop() == 0
    gw.access.thread.join(10)
    assert gw.access.items == []


def test_the_log_can_be_switched_on_and_to_another_file_by_a_reload(gateway, folder):
    first, second = folder / "first.log", folder / "second.log"
    gw = gateway(routes=[{"respond": 200}], access_log="off")
    for log in (first, second):
        gw.reload({**gw.config, "access_log": str(log)})
        gw._note_descriptors()  # a log has a thread of its own
        gw.get("/" + log.name)
        wait_until(lambda path=log: path.exists() and path.read_text().endswith("\n"), "a line is written")
        assert json.loads(log.read_text())["path"] == "/" + log.name


@pytest.mark.slow
@pytest.mark.tsan
def test_a_log_that_nobody_takes_loses_lines_visibly_and_delays_no_request(gateway, folder):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    gw = gateway(routes=[{"respond": 200}], access_log={"to": str(pipe), "buffer": "128KiB"}).allow("access log", "lost")
    padding = "x" * 2000
    with gw.connect(keep=False) as wire:
        for i in range(400):  # 800 KB: the pipe takes 64 KiB, the rings 128 KiB each
            assert wire.get(f"/{i}?{padding}").status == 200
    assert gw.admin("/healthz").status == 200
    def lost():  # asked each time: the last line is written, or lost, behind its answer
        return gw.metric("maitred_access_log_lost_total")

    assert lost() > 0
    got, done = bytearray(), threading.Event()

    def read():
        while not done.is_set():
            try:
                got.extend(os.read(reader, 65536))
            except BlockingIOError:
                done.wait(0.01)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: got.count(b"\n") + lost() >= 400, lambda: f"{got.count(10)} lines and {lost()} lost make 400")
    done.set()
    thread.join()
    os.close(reader)
    numbers = [int(json.loads(l)["path"][1:]) for l in got.splitlines() if b'"path"' in l]
    assert numbers == sorted(set(numbers)), "lines are whole and in order"


def test_a_log_whose_reader_has_gone_costs_lines_and_nothing_else(gateway, folder):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    gw = gateway(routes=[{"respond": 200}], access_log=str(pipe)).allow("access log", "Broken pipe")
    assert gw.get("/first").status == 200
    wait_until(lambda: has_bytes(reader), "a line comes")
    os.close(reader)
    for _ in range(20):
        assert gw.get("/").status == 200
    gw.wait_for_metric(lambda v: v > 0, "maitred_access_log_errors_total")


def has_bytes(fd):
    try:
        return bool(os.read(fd, 65536))
    except BlockingIOError:
        return False


@pytest.mark.tsan
def test_every_request_of_many_clients_is_one_line_and_one_count(gateway, origin):
    gw = gateway(to=origin(script=lambda call: call.answer(200, "x")), workers=2)

    def client(number):
        with gw.connect(keep=False) as wire:
            for i in range(100):
                wire.get(f"/{number}/{i}")

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    lines = gw.lines(800, status=200)
    assert len({l["path"] for l in lines}) == 800
    assert gw.metric("maitred_requests_total", **{"class": "2xx"}) == 800
    assert gw.metric("maitred_request_duration_seconds_count") == 800
    assert gw.metric("maitred_target_picks_total") == 800
    assert gw.metric("maitred_access_log_lost_total") == 0


def test_figures_of_the_process_are_right(gateway, origin):
    gw = gateway(to=origin(), limits={"memory": "100MiB"})
    wires = [gw.connect() for _ in range(5)]
    for wire in wires:
        wire.get("/")
    assert gw.metric("maitred_connections") == 5
    assert gw.metric("maitred_workers") == 2
    assert gw.metric("maitred_memory_limit_bytes") == 100 << 20
    assert 0 < gw.metric("maitred_memory_used_bytes") < 100 << 20
    assert abs(gw.metric("maitred_start_timestamp_seconds") - time.time()) < 60
    assert gw.metric("maitred_build_info") == 1
    for wire in wires:
        wire.close()
    gw.wait_for_metric(0, "maitred_connections")


@pytest.mark.slow
def test_memory_that_is_short_refuses_requests_and_comes_back(gateway, origin):
    """Many bodies that nobody takes, in a small budget: 503 for those who come then, never an abort."""
    hold = threading.Event()
    service = origin(script=lambda call: (call.request.path == "/hold" and hold.wait(30), call.answer(200, "x")), receive_buffer=16384)
    gw = gateway(to=service, limits={"memory": "8MiB", "body_buffer": "1MiB", "splice": "0"}, workers=1)
    wires, threads = [], []
    try:
        while gw.get("/more").status == 200:
            assert len(wires) < 40
            wires.append(gw.connect(keep=False))
            threads.append(upload(wires[-1], 20 << 20, "/hold"))
            settle(lambda: threads[-1].sent)
        with gw.connect() as wire:
            response = wire.get("/more")
            assert response.status == 503 and response.get("Connection") == "close"
        assert gw.metric("maitred_errors_total", error="overloaded") >= 1
        assert gw.metric("maitred_requests_shed_total") >= 1
    finally:
        for wire in wires:
            wire.reset()
        hold.set()
    wait_until(lambda: gw.get("/after").status == 200, "memory comes back")


def test_two_admin_scrapes_at_once_are_both_whole(gateway):
    gw = gateway(routes=[{"respond": 200}])
    wires = [connect(gw.admin_port) for _ in range(4)]
    for wire in wires:
        wire.ask("/metrics", host="localhost")
    assert len({w.response().status for w in wires}) == 1
    for wire in wires:
        wire.close()
