"""HTTP/2 with the programs that people use, and reloads, upgrades and dying targets under streams: nobody outside notices."""
import contextlib
import re
import shutil
import subprocess
import threading

import pytest

from kit import ports
from kit.certificates import Authority
from kit.gateway import THREAD_SANITIZED, upstream, wait_until
from kit.http2 import ConnectionLost, H2Origin, StreamReset, answer, h2_connect, request_fields
from kit.wire import connect

RELOADS = 60 if not THREAD_SANITIZED else 20


class Streams:
    """Clients that ask over `connections`, `each` at a time on one, as fast as they are answered. A connection that is told to go away is
    replaced, and what it left out is asked again, as every client does; anything else that goes wrong is a failure."""

    def __init__(self, port, connections=3, each=4, body=b""):
        self.port, self.body = port, body
        self.over, self.failed, self.done, self.replaced = threading.Event(), [], 0, 0
        self.lock = threading.Lock()
        self.wires = [None] * connections
        self.locks = [threading.Lock() for _ in range(connections)]
        self.threads = [threading.Thread(target=self._run, args=(c,), daemon=True) for c in range(connections) for _ in range(each)]
        for thread in self.threads:
            thread.start()

    def _wire(self, number):
        with self.locks[number]:
            wire = self.wires[number]
            if wire is None or wire.goaway or wire.lost:
                if wire is not None:
                    assert wire.goaway, f"closed without GOAWAY: {wire.lost}"
                    self.replaced += 1
                self.wires[number] = wire = h2_connect(self.port)
            return wire

    def _one(self, number):
        fields = request_fields("POST" if self.body else "GET", f"/{number}")
        try:
            stream = self._wire(number).open(fields, end=not self.body)
        except ConnectionLost:
            return
        try:
            if self.body:
                stream.send(self.body, end=True)
            status = dict(stream.head())[":status"]
            got = stream.body()
        except StreamReset as reset:
            if reset.code == "REFUSED_STREAM":
                return
            raise
        assert status == "200", (status, got)
        with self.lock:
            self.done += 1

    def _run(self, number):
        try:
            while not self.over.is_set():
                self._one(number)
        except Exception as error:
            self.failed.append(repr(error))
            self.over.set()

    def served(self, more):
        target = self.done + more
        wait_until(lambda: self.done >= target or self.failed, lambda: f"{self.done} of {target} served", 40)
        assert not self.failed, self.failed[:4]

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        for wire in self.wires:
            if wire:
                wire.close()
        if kind is None:
            assert not self.failed, self.failed[:4]


@pytest.fixture
def h2_origin():
    made = []

    def make(*args, **more):
        made.append(H2Origin(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    assert not [(o.name, o.faults) for o in made if o.faults]


@pytest.fixture
def nghttpd(tmp_path):
    """A service that others wrote, with files of 0, 1 KB and 1 MB."""
    made = []
    for name, size in (("empty", 0), ("small", 1000), ("large", 1 << 20)):
        (tmp_path / name).write_bytes(bytes(i * 7 % 251 for i in range(size)))

    def start():
        port = ports.free_port()
        program = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
        made.append(subprocess.Popen([program, "--no-tls", "-d", str(tmp_path), str(port), "--address=127.0.0.1", "--echo-upload"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def listens():
            with contextlib.suppress(OSError):
                connect(port).close()
                return True

        wait_until(listens, "nghttpd listens")
        return f"127.0.0.1:{port}"

    start.folder = tmp_path
    yield start
    for one in made:
        one.terminate()
        one.wait(10)


# ---- programs ----


def curl(*arguments, **more):
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", *map(str, arguments)], capture_output=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_curl_gets_posts_and_sees_fields(gateway, origin, h2_origin, protocol):
    service = h2_origin(script=lambda s: answer(s, body=s.body().upper() or b"hello", fields=[("x-from", "h2")])) if protocol == "h2" else origin(
        script=lambda call: call.answer(200, call.read_body().upper() or b"hello", [("X-From", "h1")]))
    gw = gateway(to=service, upstream_settings={"protocol": "h2"} if protocol == "h2" else {})
    url = f"http://127.0.0.1:{gw.port}/path?q=1"
    head, _, body = curl("-i", url).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 200") and b"x-from: " + protocol.encode() in head and body == b"hello"
    assert curl("--data-binary", "@-", url, input=b"abc" * 30000) == b"ABC" * 30000
    assert curl("-X", "HEAD", "-I", url).startswith(b"HTTP/2 200")
    assert gw.line(path="/path")["version"] == "2"


def test_nghttp_asks_for_many_things_at_once_over_one_connection(gateway, origin):
    gw = gateway(to=origin(script=lambda call: call.answer(200, call.request.path + "\n")))
    done = subprocess.run(["nghttp", *[f"http://127.0.0.1:{gw.port}/{n}" for n in range(40)]], capture_output=True, text=True, timeout=30, check=True)
    assert sorted(done.stdout.split()) == sorted(f"/{n}" for n in range(40))
    assert len({line["peer"] for line in gw.lines(40, status=200)}) == 1


def test_nghttpd_serves_files_and_takes_uploads_byte_for_byte(gateway, nghttpd):
    gw = gateway(upstreams={"app": upstream(nghttpd(), protocol="h2")}, routes=[{"proxy": "app"}])
    for version in ("--http2-prior-knowledge", "--http1.1"):
        for name in ("empty", "small", "large"):
            got = subprocess.run(["curl", "-sS", "--max-time", "20", version, f"http://127.0.0.1:{gw.port}/{name}"], capture_output=True, check=True).stdout
            assert got == (nghttpd.folder / name).read_bytes()
        big = (nghttpd.folder / "large").read_bytes()
        got = subprocess.run(["curl", "-sS", "--max-time", "20", version, "--data-binary", "@-", f"http://127.0.0.1:{gw.port}/up"], input=big, capture_output=True, check=True).stdout
        assert got == big


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_h2load_sees_no_failure(gateway, origin, nghttpd, protocol):
    gw = gateway(access_log={"to": "stdout", "buffer": "8MiB"}, upstreams={"app": upstream(nghttpd(), protocol="h2") if protocol == "h2" else upstream(origin(script=lambda call: call.answer(200, b"x" * 1000)))},
                 routes=[{"proxy": "app"}])
    done = subprocess.run(["h2load", "-n", "6000", "-c", "6", "-m", "30", "-t", "1", f"http://127.0.0.1:{gw.port}/small"], capture_output=True, text=True, timeout=50)
    assert re.search(r"6000 succeeded, 0 failed, 0 errored, 0 timeout", done.stdout), done.stdout
    assert re.search(r"status codes: 6000 2xx", done.stdout)


def test_curl_and_h2load_speak_it_over_tls(gateway, h2_origin, folder):
    authority = Authority(folder)
    certificate, port = authority.issue("gateway.test"), ports.free_port()
    gateway(to=h2_origin(script=lambda s: answer(s, body=b"secret")), upstream_settings={"protocol": "h2"}, access_log={"to": "stdout", "buffer": "8MiB"},
            listeners=[{"address": f"127.0.0.1:{port}", "tls": {"certificates": [certificate.pair]}}])
    for version, name in (("--http2", b"HTTP/2 200"), ("--http1.1", b"HTTP/1.1 200 OK")):
        got = subprocess.run(["curl", "-sS", "-i", "--max-time", "20", version, "--cacert", authority.path, "--resolve", f"gateway.test:{port}:127.0.0.1",
                              f"https://gateway.test:{port}/"], capture_output=True, check=True).stdout
        assert got.startswith(name) and got.endswith(b"secret")
    done = subprocess.run(["h2load", "-n", "1500", "-c", "4", "-m", "20", "-t", "1", f"https://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=50)
    assert "1500 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout and "Application protocol: h2" in done.stdout, done.stdout


# ---- storms ----


def variant(config, number, services):
    policies = [{"headers": {"response": {"set": {"X-Generation": str(number)}}}}] if number % 2 else []
    targets = services if number % 3 else services[:1]
    return {**config, "routes": [{"match": {"path": f"/only/{number}"}, "respond": 200}, {"policies": policies, "proxy": "app"}],
            "upstreams": {"app": upstream(*targets, protocol="h2", keep_alive_connections=16 + number % 5)}}


@pytest.mark.slow
@pytest.mark.tsan
def test_a_storm_of_reloads_fails_no_stream_and_closes_no_connection(gateway, h2_origin):
    services = [h2_origin(n, lambda s: answer(s, body=b"x" * 500)) for n in "ab"]
    gw = gateway(upstreams={"app": upstream(*services, protocol="h2")}, routes=[{"proxy": "app"}])
    with Streams(gw.port) as load:
        load.served(50)
        for i in range(RELOADS):
            gw.reload(variant(gw.config, i, services))
            load.served(3)
        load.served(50)
        assert load.replaced == 0, "a connection was told to go away"
    assert gw.metric("maitred_reloads_total", result="success") == RELOADS


@pytest.mark.slow
@pytest.mark.tsan
def test_upgrades_under_streams_fail_none(gateway, h2_origin):
    service = h2_origin(script=lambda s: answer(s, body=b"y" * 2000))
    gw = gateway(to=service, upstream_settings={"protocol": "h2"})
    with Streams(gw.port, body=b"z" * 3000) as load:
        for _ in range(3):
            load.served(60)
            gw.upgrade()
            gw.wait_for_old()
        load.served(60)
        assert load.replaced >= len(load.wires)


def test_a_long_stream_outlives_an_upgrade(gateway, h2_origin):
    go_on = threading.Event()

    def script(stream):
        stream.body()
        stream.send_head([(":status", "200")])
        stream.send(b"before ")
        go_on.wait(20)
        stream.send(b"after", end=True)

    gw = gateway(to=h2_origin(script=script), upstream_settings={"protocol": "h2"})
    with h2_connect(gw.port) as wire:
        stream = wire.open(request_fields())
        assert stream.some() == b"before "
        gw.upgrade()
        wire.wait_goaway()
        go_on.set()
        assert stream.body() == b"after"
    gw.wait_for_old()


@pytest.mark.slow
def test_a_target_that_dies_under_idempotent_streams_costs_few(gateway, h2_origin):
    services = [h2_origin(n, lambda s: answer(s, body=b"x")) for n in "ab"]
    gw = gateway(upstreams={"app": upstream(*services, protocol="h2", retry={"attempts": 4, "budget": "100%"})}, routes=[{"proxy": "app"}])
    with Streams(gw.port) as load:
        load.served(100)
        services[0].kill()
        load.served(100)


def test_services_connections_are_shared(gateway, h2_origin):
    service = h2_origin(script=lambda s: answer(s, body=b"x"))
    gw = gateway(to=service, upstream_settings={"protocol": "h2"}, workers=1)
    with Streams(gw.port, connections=3, each=6) as load:
        load.served(300)
    # one connection is cautious before the service has said what it takes; then all fit in few
    assert len(service.wires) <= 4, len(service.wires)
    assert gw.metric("maitred_upstream_connects_total") == len(service.wires)
