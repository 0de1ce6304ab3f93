"""TLS 1.3 with a client that others wrote, changing keys in the middle of bodies; and connections of which one direction ends."""
import subprocess
import threading

import pytest

from kit.certificates import tls_connect
from kit.gateway import wait_until
from kit.http2 import StreamReset
from kit.versions import service
from kit.wire import Closed
from test_tls import authority, secure  # noqa: F401: fixtures

CHUNK, ROUNDS, BURST = 40000, 12, 8
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]


def echo(served):
    served.head(200, length=int(served.get("content-length")))
    while data := served.some():
        served.send(data)


class Client:
    """`openssl s_client`: what is written to it is sent, and a line `K` or `k` on its own changes keys (K: on both sides)."""

    def __init__(self, gw, authority, folder, suite):
        self.messages = folder / "messages"
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{gw.tls_port}", "-servername", "a.test", "-CAfile", str(authority.path), "-tls1_3",
             "-ciphersuites", suite, "-alpn", "http/1.1", "-msg", "-msgfile", str(self.messages), "-verify_return_error"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        self.got, self.changed = bytearray(), threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while data := self.process.stdout.read(1 << 16):
            with self.changed:
                self.got += data
                self.changed.notify_all()

    def updates(self, direction):
        return sum(line.startswith(direction) and "KeyUpdate" in line for line in self.messages.read_text().splitlines())

    def send(self, data):
        self.process.stdin.write(data)

    def change_keys(self, letter):
        """One command is read at a time: what is written behind it before it was read would be lost."""
        sent = self.updates(">>>")
        self.send(letter + b"\n")
        wait_until(lambda: self.updates(">>>") > sent, "the client has changed its key")

    def wait_for(self, text_len, begins):
        """The answer's body, of that length."""
        def body():
            head = self.got.find(begins)
            start = self.got.find(b"\r\n\r\n", head) + 4
            return bytes(self.got[start : start + text_len]) if head >= 0 and start > 4 and len(self.got) >= start + text_len else None

        with self.changed:
            assert self.changed.wait_for(body, 30), self.got[-300:]
            return body()

    def stop(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("suite", SUITES)
def test_keys_change_in_bursts_amid_a_large_body_in_both_directions(secure, authority, folder, suite):  # noqa: F811
    origin = service("h1", echo)
    gw = secure(upstreams={"app": {"targets": [origin.address]}}, routes=[{"proxy": "app", "body_limit": "10MB"}])
    client = Client(gw, authority, folder, suite)
    body = bytes(b"acdefghij"[i * 7 % 9] for i in range(CHUNK * ROUNDS))  # no letter is a command
    try:
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(body))
        for number in range(ROUNDS):
            client.send(body[number * CHUNK : (number + 1) * CHUNK])
            client.wait_for((number + 1) * CHUNK, b"HTTP/1.1 200")
            for _ in range(BURST if number % 4 == 0 else 1):
                client.change_keys(b"k" if number % 3 == 0 else b"K")
        assert client.wait_for(len(body), b"HTTP/1.1 200") == body
        assert client.updates("<<<") >= ROUNDS // 2, "the gateway's key has changed too"
    finally:
        client.stop()
        origin.stop()
    assert gw.line(status=200)["bytes_out"] == len(body)


@pytest.mark.timeout(60)
def test_key_updates_without_end_are_refused(secure, authority, folder):  # noqa: F811
    gw = secure(routes=[{"respond": 200}])
    client = Client(gw, authority, folder, SUITES[0])
    try:
        wait_until(lambda: b"Verify return code: 0" in client.got, "the handshake is over")
        for _ in range(32):
            client.change_keys(b"K")
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        wait_until(lambda: b"HTTP/1.1 200" in client.got, "data lies between")
        for _ in range(33):
            client.change_keys(b"K")
        wait_until(lambda: client.process.poll() is not None, "the connection is closed")
        assert "fatal unexpected_message" in client.messages.read_text()
    finally:
        client.stop()


@pytest.mark.parametrize("version", ["h1", "h2"])
def test_close_notify_in_the_middle_of_a_body_cuts_it(secure, authority, version):  # noqa: F811
    seen = []

    def script(served):
        try:
            served.body()
            seen.append("whole")
        except (Closed, ConnectionError, StreamReset) as error:
            seen.append(type(error).__name__)
            if version == "h1":
                served.call.close()

    origin = service(version, script)
    gw = secure(upstreams={"app": {"targets": [origin.address], "protocol": "h2" if version == "h2" else "http1"}}, routes=[{"proxy": "app"}])
    try:
        with tls_connect(gw.tls_port, authority.context(), "a.test") as wire:
            wire.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n" + "x" * 500)
            origin.wait_for_request()
            wire.sock.settimeout(10)
            try:
                plain = wire.sock.unwrap()
                plain.close()
            except OSError:
                pass
        wait_until(lambda: seen, "the service hears of it")
        assert seen != ["whole"], seen
        assert gw.line(path="/")["error"]["word"] == "client_closed"
    finally:
        origin.stop()


def test_an_early_answer_over_tls_is_passed_on_although_the_service_reads_no_further(secure, authority, folder):  # noqa: F811
    """It answers, and closes with bytes unread: what is sent then fails, and the answer lies there to be read."""
    def script(served):
        served.head(413, length=4)
        served.send(b"much")
        served.call.close()

    certificate = authority.issue("service.test", sans=["IP:127.0.0.1"])
    origin = service("h1", script, certificate=certificate)
    gw = secure(upstreams={"app": {"targets": [origin.address], "tls": {"ca": str(authority.path)}}},
                routes=[{"proxy": "app", "body_limit": "100MB"}])
    try:
        with tls_connect(gw.tls_port, authority.context(), "a.test") as wire:
            wire.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000000\r\n\r\n" + "x" * 20000)
            response = wire.response_head("POST")
            wire.body(response, until_close=False)
            assert (response.status, response.text) == (413, "much")
    finally:
        origin.stop()
