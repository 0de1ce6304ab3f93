"""A mob: clients and services that send whatever they like, in pieces, half of it, one byte changed, and go when they like.

Nothing is expected of any one exchange.  The gateway lives, no sanitizer speaks, and nothing is left over at the end; the seed is in
the test's output when it fails, the order in which things happen is not.
"""
import random
import socket
import struct
import threading
import time

import pytest

SECONDS, CLIENTS = 6, 12
PATHS = ["/", "/a", "/up", "/stall", "/reset", "/big", "/cut", "/interim", "/close", "/edited?x=1", "//x/..;/y", "/x/../y", "*", "http://h/x", "h:1", "/" + "a" * 8000]
METHODS = ["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "FOO", "CONNECT", "TRACE"]
ROUTES = [{"match": {"prefix": "/edited"}, "policies": [{"headers": {"request": {"set": {"X-A": "1"}}, "response": {"remove": ["Server"]}}}], "proxy": "app"},
          {"match": {"regex": "/x(?<r>.*)"}, "redirect": {"to": "/y{r}"}},
          {"match": {"methods": ["GET", "POST", "HEAD", "PUT", "FOO", "CONNECT", "OPTIONS"]}, "proxy": "app"}]
TIMEOUTS = {"request_head": "300ms", "request_body_idle": "300ms", "send_idle": "500ms", "keep_alive": "500ms", "tunnel_idle": "300ms", "linger": "200ms"}


def some_body(rng):
    return rng.randbytes(50) * rng.choice([0, 1, 20, 400, 1500, 6000])


def chunked(rng, body):
    out = b""
    while body and len(out) < 400_000:
        size = rng.choice([1, 2, 7, 100, 5000, 60000])
        out += b"%x" % len(body[:size]) + rng.choice([b"", b"", b";a=b", b" ;x"]) + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return out + b"0\r\n" + rng.choice([b"", b"X-T: 1\r\n", b"Content-Length: 3\r\n"]) + b"\r\n"


def some_request(rng):
    lines, body, kind = [b"Host: h"], b"", rng.random()
    if kind < 0.25:
        body = some_body(rng)
        lines.append(b"Content-Length: %d" % (len(body) + rng.choice([0, 0, 0, 0, -1, 3])))
    elif kind < 0.5:
        body = chunked(rng, some_body(rng))
        lines.append(b"Transfer-Encoding: chunked")
    for chance, line in [(0.1, b"Expect: 100-continue"), (0.1, b"Connection: close"), (0.1, b"TE: trailers"), (0.05, b"X: " + b"v" * rng.choice([15000, 33000])),
                         (0.15, b"Connection: upgrade\r\nUpgrade: " + rng.choice([b"raw", b"h2c", b"websocket, raw"])), (0.05, rng.choice([b"bad", b" fold", b"a : b", b"X: \0"]))]:
        if rng.random() < chance:
            lines.append(line)
    lines += [b"X-%d: %s" % (rng.randrange(99), b"v" * rng.choice([1, 10, 300])) for _ in range(rng.choice([0, 1, 5, 100, 140]))]
    end = rng.choice([b"\r\n"] * 20 + [b"\n"])
    start = f"{rng.choice(METHODS)} {rng.choice(PATHS)} HTTP/{rng.choice(['1.1'] * 9 + ['1.0', '2.0'])}".encode()
    return end.join([start, *lines, b"", b""]) + body


def some_bytes(rng):
    data = b"".join(some_request(rng) for _ in range(rng.choice([1, 1, 2, 5])))
    if rng.random() < 0.2:
        data = data[: rng.randrange(1, len(data))]
    if rng.random() < 0.1:
        at = rng.randrange(len(data))
        data = data[:at] + rng.randbytes(1) + data[at + 1 :]
    return data


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def talk(rng, sock):
    data, at = some_bytes(rng), 0
    sock.settimeout(rng.choice([0.02, 0.2, 1]))
    while at < len(data):
        at += sock.send(data[at : at + rng.choice([1, 50, 1000, 20000, 1 << 20] if at < 500 else [1000, 20000, 1 << 20])])
    if rng.random() < 0.2:
        sock.shutdown(socket.SHUT_WR)
    for _ in range(rng.choice([0, 1, 5, 50])):
        if not sock.recv(rng.choice([1, 1000, 100_000])):
            break


def client(rng, port, until):
    while time.monotonic() < until:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        try:
            talk(rng, sock)
        except OSError:
            pass
        if rng.random() < 0.3:
            reset(sock)
        sock.close()


def serve(rng, wire):
    """What a service should not do."""
    text = b""
    while data := wire.some():
        text += data
        while b"\r\n\r\n" in text:
            head, _, text = text.partition(b"\r\n\r\n")
            if not answer(rng, wire, head, b" ".join(head.split(b" ")[1:2])):
                return
        text = text[-100_000:]


def answer(rng, wire, head, path):
    if b"/up" in path and b"pgrade" in head:
        wire.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nhello")
    elif b"/stall" in path:
        time.sleep(0.3)
    elif b"/reset" in path:
        wire.reset()
        return False
    elif b"/big" in path:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"z" * rng.choice([2_000_000, 2_000_000, 1000, 2_000_005]))
    elif b"/cut" in path:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", rng.choice([b"", b"zz", b"0\r\nX: 1\r\n\r\nextra", b"0\r\n\r\n"]))
    elif b"/interim" in path:
        wire.send(b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" * rng.choice([1, 5, 40]) + b"HTTP/1.1 204 N\r\n\r\n")
    elif b"/close" in path:
        wire.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"y" * rng.choice([0, 10, 100_000]))
        return False
    elif rng.random() < 0.1:
        wire.send(rng.randbytes(100))
        return False
    else:
        body = b"ok" * rng.choice([0, 1, 1000])
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), b"" if head.startswith(b"HEAD") else body)
    return True


@pytest.mark.parametrize("memory", ["0", "600KiB", "300KiB"])
def test_a_mob_leaves_nothing_behind(gateway, origin, memory):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    count = iter(range(1 << 30))
    service = origin(on_connect=lambda wire: serve(random.Random(seed + next(count)), wire))
    gw = gateway(to=service, routes=ROUTES, upstream_settings={"timeouts": {"response": "200ms"}}, timeouts=TIMEOUTS,
                 limits={"memory": memory, "splice": "4KiB", "body_buffer": "16KiB"})
    until = time.monotonic() + SECONDS
    crowd = [threading.Thread(target=client, args=(random.Random(seed - i), gw.port, until)) for i in range(1, 1 + CLIENTS)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert gw.process.poll() is None
    assert gw.get("/x1").status == 307
