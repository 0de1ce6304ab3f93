"""Whose connection a balancer hands on: PROXY headers in and out, in any pieces, from those who may say so and from others."""
import shutil
import socket
import ssl
import struct
import subprocess

import pytest

from kit import ports
from kit.gateway import wait_until
from kit.wire import connect

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"
GET = "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def v2(source="192.0.2.1", destination="198.51.100.7", ports=(4711, 443), tlvs=b"", command=0x21):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack(">HH", *ports) + tlvs
    return SIGNATURE + bytes([command, 0x21 if family == socket.AF_INET6 else 0x11]) + struct.pack(">H", len(body)) + body


def read_header(data):
    """What stands in front, and the rest: ((client, server, client port, server port), {type: value}, rest)."""
    if data.startswith(b"PROXY "):
        line, rest = data.split(b"\r\n", 1)
        words = line.decode().split(" ")
        return (words[2], words[3], int(words[4]), int(words[5])) if words[1] != "UNKNOWN" else None, {}, rest
    assert data.startswith(SIGNATURE)
    command, family, length = data[12], data[13], struct.unpack(">H", data[14:16])[0]
    body, rest = data[16 : 16 + length], data[16 + length :]
    size = {0x11: 4, 0x21: 16, 0: 0}[family]
    addresses = None
    if size:
        form = socket.AF_INET if size == 4 else socket.AF_INET6
        addresses = (socket.inet_ntop(form, body[:size]), socket.inet_ntop(form, body[size : 2 * size]),
                     *struct.unpack(">HH", body[2 * size : 2 * size + 4]))
        body = body[2 * size + 4 :]
    found = {}
    while body:
        kind, size = struct.unpack(">BH", body[:3])
        assert kind not in found and len(body) >= 3 + size
        found[kind], body = body[3 : 3 + size], body[3 + size :]
    if 3 in found:
        whole = data[: 16 + length]
        at = whole.rindex(tlv(3, found[3])) + 3
        assert struct.unpack(">I", found[3])[0] == crc32c(whole[:at] + bytes(4) + whole[at + 4 :])
    assert command in (0x20, 0x21)
    return addresses, found, rest


def listening(gateway, rules="127.0.0.1", **sections):
    """A gateway whose one listener takes PROXY headers as the rules say."""
    port = ports.free_port()
    gw = gateway(listeners=[{"address": f"127.0.0.1:{port}", "proxy_protocol": rules}], **sections)
    gw.port = port
    return gw


# ---- in ----


@pytest.mark.parametrize("header", [V1.encode(), v2()], ids=["v1", "v2"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_client_is_who_the_header_says_in_any_pieces(gateway, origin, header, size):
    service = origin()
    gw = listening(gateway, to=service)
    with gw.connect() as wire:
        wire.send_bytewise(header + GET.encode(), size)
        assert wire.response().status == 200
        assert wire.get("/second").status == 200  # the same connection, the same client
    for request in service.requests:
        assert request.get("X-Forwarded-For") == "192.0.2.1"
    assert [l["client"] for l in gw.lines(2, status=200)] == ["192.0.2.1"] * 2


@pytest.mark.parametrize("header", [b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", v2("2001:db8::1", "2001:db8::2")], ids=["v1", "v2"])
def test_a_client_may_have_an_ipv6_address(gateway, origin, header):
    service = origin()
    gw = listening(gateway, to=service)
    with gw.connect() as wire:
        wire.send(header, GET)
        assert wire.response().status == 200
    assert service.requests[0].get("X-Forwarded-For") == "2001:db8::1"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0", v2(command=0x20), SIGNATURE + b"\x21\0\0\0"],
                         ids=["unknown", "local", "local with addresses", "unspecified"])
def test_a_balancers_own_connection_keeps_its_address(gateway, origin, header):
    service = origin()
    gw = listening(gateway, to=service)
    with gw.connect() as wire:
        wire.send(header, GET)
        assert wire.response().status == 200
    assert service.requests[0].get("X-Forwarded-For") == "127.0.0.1"


def test_trusted_hops_are_looked_for_behind_the_header(gateway, origin):
    """The peer is who the header says: its fields are believed when that one is trusted, not when the balancer is."""
    fields = [("X-Forwarded-For", "203.0.113.9")]
    service = origin()
    gw = listening(gateway, to=service, forwarding={"trusted": ["127.0.0.0/8"]})
    with gw.connect() as wire:
        wire.send(V1)
        assert wire.get("/", fields=fields).status == 200
    assert service.requests[0].get("X-Forwarded-For") == "192.0.2.1"
    gw = listening(gateway, to=service, forwarding={"trusted": ["192.0.2.0/24"]})
    with gw.connect() as wire:
        wire.send(V1)
        assert wire.get("/", fields=fields).status == 200
    assert service.requests[1].get("X-Forwarded-For") == "203.0.113.9, 192.0.2.1"


@pytest.mark.parametrize("bytes_sent", [
    GET.encode(), b"G", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", b"PROXY " + b"x" * 200,
    b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n", v2(command=0x22), v2(command=0x11), v2(tlvs=b"\x05\xff\xff"), v2(tlvs=tlv(3, b"abcd")),
    SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x21\x12\0\x0c" + bytes(12), SIGNATURE + b"\x21\x11\0\x04" + bytes(4), SIGNATURE[:-1] + b"x"],
    ids=range(14))
def test_what_is_no_header_is_closed_without_an_answer(gateway, bytes_sent):
    gw = listening(gateway)
    with gw.connect() as wire:
        wire.send(bytes_sent)
        assert wire.is_gone() and not wire.received
    gw.wait_for_metric(1, "maitred_errors_total", error="bad_proxy_header")


def test_a_header_of_the_largest_size_is_read_and_a_larger_one_refused(gateway):
    gw = listening(gateway)
    padding = 4096 - len(v2()) - 3
    with gw.connect() as wire:
        wire.send_bytewise(v2(tlvs=tlv(4, bytes(padding))) + GET.encode(), 64)
        assert wire.response().status == 200
    with gw.connect() as wire:
        wire.send(v2(tlvs=tlv(4, bytes(padding + 1)))[:16])
        assert wire.is_gone()


def test_half_a_header_is_given_up_when_its_time_is_over(gateway):
    gw = listening(gateway, timeouts={"handshake": "300ms"})
    with gw.connect() as wire:
        wire.send(V1[:-1])
        assert wire.is_gone() and not wire.received
    gw.wait_for_metric(1, "maitred_errors_total", error="proxy_header_timeout")


def test_who_is_not_trusted_is_closed_at_once(gateway):
    gw = listening(gateway, rules={"from": ["127.0.0.2"]})
    with gw.connect() as wire:
        assert wire.is_gone()
    gw.wait_for_metric(1, "maitred_errors_total", error="proxy_not_trusted")
    with gw.connect(source="127.0.0.2") as wire:
        wire.send(V1, GET)
        assert wire.response().status == 200


def test_who_is_not_trusted_is_served_as_he_is_where_a_header_is_not_required(gateway, origin):
    service = origin()
    gw = listening(gateway, rules={"from": ["127.0.0.2"], "required": False}, to=service)
    assert gw.get("/").status == 200
    assert service.requests[0].get("X-Forwarded-For") == "127.0.0.1"
    with gw.connect() as wire:  # and cannot claim to be another
        wire.send(V1, GET)
        assert wire.response().status == 400
    with gw.connect(source="127.0.0.2") as wire:  # the trusted one may, and may not
        wire.send(V1, GET)
        assert wire.response().status == 200
    assert service.requests[1].get("X-Forwarded-For") == "192.0.2.1"
    with gw.connect(source="127.0.0.2") as wire:
        assert wire.get("/").status == 200
    assert service.requests[2].get("X-Forwarded-For") == "127.0.0.2"


def test_an_ordinary_listener_takes_no_header(gateway):
    gw = gateway()
    for header in (V1.encode(), v2()):
        with gw.connect() as wire:
            wire.send(header, GET)
            assert wire.response().status == 400


def test_rules_change_with_a_reload_for_the_next_connection(gateway):
    gw = listening(gateway)
    with gw.connect() as open_one:
        open_one.send(V1)
        listener = dict(gw.config["listeners"][0])
        del listener["proxy_protocol"]
        gw.reload({**gw.config, "listeners": [listener]})
        assert gw.get("/").status == 200
        assert open_one.get("/").status == 200


def test_probes_that_only_connect_are_no_errors(gateway):
    gw = listening(gateway)
    gw.connect().close()
    gw.connect().reset()
    gw.wait_for_metric(lambda n: n >= 2, "maitred_connections_accepted_total")
    gw.wait_for_metric(0, "maitred_connections")
    assert gw.metric("maitred_errors_total") == 0


# ---- out ----


def expecting_headers(origin):
    """A service whose connections begin with a header; (addresses, TLVs) of each are in `headers`."""

    def on_connect(wire):
        first = wire.exactly(12)
        if first.startswith(b"PROXY "):
            while not first.endswith(b"\r\n"):
                first += wire.exactly(1)
        else:
            first += wire.exactly(4)
            first += wire.exactly(struct.unpack(">H", first[14:16])[0])
        addresses, found, rest = read_header(first)
        assert not rest
        service.headers.append((addresses, found))
        service._requests(wire)

    service = origin(on_connect=on_connect)
    service.headers = []
    return service


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_service_is_told_the_clients_addresses_once_a_connection(gateway, origin, version):
    service = expecting_headers(origin)
    gw = gateway(to=service, upstream_settings={"proxy_protocol": version})
    with gw.connect(source="127.0.0.7") as wire:
        for _ in range(3):
            assert wire.get("/").status == 200
        client_port = wire.sock.getsockname()[1]
    assert service.headers[0][0] == ("127.0.0.7", "127.0.0.1", client_port, gw.port)
    assert len(service.headers) == 1 and len(service.requests) == 3


def test_no_connection_serves_two_clients(gateway, origin):
    service = expecting_headers(origin)
    gw = gateway(to=service, upstream_settings={"proxy_protocol": "v2"}, workers=1)
    clients = [gw.connect() for _ in range(4)]
    for _ in range(3):
        for wire in clients:
            assert wire.get("/").status == 200
    assert {h[0][2] for h in service.headers} == {w.sock.getsockname()[1] for w in clients}
    assert len(service.headers) == 4
    for wire in clients:
        wire.close()


def test_many_clients_leave_few_idle_connections(gateway, origin):
    service = expecting_headers(origin)
    gw = gateway(to=service, upstream_settings={"proxy_protocol": "v1", "keep_alive_connections": 4}, workers=1)
    for _ in range(20):
        assert gw.get("/").status == 200
    gw.wait_for_metric(lambda n: n <= 4, "maitred_upstream_connections_idle")
    assert len(service.headers) == 20


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_came_in_goes_on(gateway, origin, version):
    service = expecting_headers(origin)
    gw = listening(gateway, to=service, upstream_settings={"proxy_protocol": version})
    with gw.connect() as wire:
        wire.send(v2("2001:db8::1", "2001:db8::2", tlvs=tlv(5, b"id\0\xff") + tlv(2, b"www.example")), GET)
        assert wire.response().status == 200
    addresses, found = service.headers[0]
    assert addresses == ("2001:db8::1", "2001:db8::2", 4711, 443)
    if version == "v2":
        assert found[5] == b"id\0\xff" and found[2] == b"www.example" and 3 in found and 0x20 not in found


def test_a_client_on_a_unix_socket_has_no_address_to_tell(gateway, origin, folder):
    service = expecting_headers(origin)
    path = str(folder / "clients.sock")
    gw = gateway(to=service, upstream_settings={"proxy_protocol": "v1"}, listeners=[{"address": f"unix:{path}", "mode": "0666"}])
    with connect(path) as wire:
        assert wire.get("/").status == 200
    assert service.headers[0][0] is None
    assert gw.line(status=200)


# ---- TLS ----


@pytest.fixture
def certificate(folder):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=gateway.test", "-addext", "subjectAltName=DNS:gateway.test", "-out", cert, "-keyout", key], check=True,
                   capture_output=True)
    key.chmod(0o644)
    return {"cert": str(cert), "key": str(key)}


@pytest.mark.parametrize("size", [1, 1000])
def test_tls_begins_behind_the_header(gateway, origin, certificate, size):
    service = expecting_headers(origin)
    port = ports.free_port()
    gateway(to=service, upstream_settings={"proxy_protocol": "v2"},
            listeners=[{"address": f"127.0.0.1:{port}", "proxy_protocol": "127.0.0.1", "tls": {"certificates": [certificate], "alpn": ["http/1.1"]}}])
    context = ssl.create_default_context(cafile=certificate["cert"])
    context.set_alpn_protocols(["http/1.1"])
    with connect(port) as wire:
        wire.send_bytewise(V1, size)
        with connect_tls(wire, context) as secured:
            assert secured.get("/").status == 200
            version, cipher = secured.sock.version(), secured.sock.cipher()[0]
    request = service.requests[0]
    assert request.get("X-Forwarded-For") == "192.0.2.1" and request.get("X-Forwarded-Proto") == "https"
    addresses, found = service.headers[0]
    assert addresses == ("192.0.2.1", "198.51.100.7", 4711, 443)
    assert found[1] == b"http/1.1" and found[2] == b"gateway.test"
    assert found[0x20][0] == 1 and tlv(0x21, version.encode()) in found[0x20] and tlv(0x23, cipher.encode()) in found[0x20]


def connect_tls(wire, context):
    return type(wire)(context.wrap_socket(wire.sock, server_hostname="gateway.test"))


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_curl_speaks_http_2_over_tls_behind_its_header(gateway, origin, certificate):
    service = expecting_headers(origin)
    port = ports.free_port()
    gw = gateway(to=service, upstream_settings={"proxy_protocol": "v2"}, workers=1,
                 listeners=[{"address": f"127.0.0.1:{port}", "proxy_protocol": "127.0.0.1", "tls": {"certificates": [certificate]}}])
    url = f"https://gateway.test:{port}"
    printed = curl("--haproxy-protocol", "--http2", "--cacert", certificate["cert"], "--connect-to", f"gateway.test:{port}:127.0.0.1:{port}",
                   "-w", "%{http_version}\n", "-o", "/dev/null", "-o", "/dev/null", f"{url}/1", f"{url}/2")
    assert printed.split() == ["2", "2"]
    assert len(service.requests) == 2 and len(service.headers) == 1
    addresses, found = service.headers[0]
    assert addresses[:2] == ("127.0.0.1", "127.0.0.1") and addresses[3] == port and found[1] == b"h2"
    assert len(gw.lines(2, status=200)) == 2


def test_plain_http_on_a_tls_port_behind_a_header_is_told_so(gateway, certificate):
    port = ports.free_port()
    gw = gateway(listeners=[{"address": f"127.0.0.1:{port}", "proxy_protocol": "127.0.0.1", "tls": {"certificates": [certificate]}}])
    with connect(port) as wire:
        wire.send(V1, GET)
        response = wire.response()
        assert response.status == 400 and "https" in response.text
        assert wire.is_closed()
    gw.wait_for_metric(1, "maitred_errors_total", error="plain_http")


# ---- HAProxy on both sides ----


@pytest.fixture
def haproxy(folder):
    started = []

    def start(text):
        path = folder / f"haproxy{len(started)}.cfg"
        path.write_text("global\n  maxconn 100\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n" + text)
        started.append(subprocess.Popen([shutil.which("haproxy"), "-db", "-f", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def is_listening(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
@pytest.mark.parametrize("sends,version", [("send-proxy", "v1"), ("send-proxy-v2", "v2"), ("send-proxy-v2 proxy-v2-options crc32c,unique-id", "v2")])
def test_haproxy_is_understood_and_understands(gateway, origin, haproxy, sends, version):
    """client -> HAProxy -> maitred -> HAProxy -> service: the last one still sees the client."""
    service = origin()
    front, back = ports.free_port(), ports.free_port()
    port = ports.free_port()
    haproxy(f"frontend back\n  bind 127.0.0.1:{back} accept-proxy\n  http-request set-header X-Seen %[src]:%[src_port]\n"
            f"  default_backend app\nbackend app\n  server app {service.address}\n")
    wait_until(lambda: is_listening(back), "the HAProxy behind")
    gw = gateway(upstreams={"app": {"targets": [f"127.0.0.1:{back}"], "proxy_protocol": version}}, routes=[{"proxy": "app"}],
                 listeners=[{"address": f"127.0.0.1:{port}", "proxy_protocol": "127.0.0.1"}])
    haproxy(f"frontend front\n  bind 127.0.0.1:{front}\n  unique-id-format %[uuid]\n  default_backend gateway\n"
            f"backend gateway\n  server gateway 127.0.0.1:{port} {sends}\n")
    wait_until(lambda: is_listening(front), "the HAProxy in front")
    for source in ("127.0.0.8", "127.0.0.9"):
        with connect(front, source=source) as wire:
            for _ in range(2):
                assert wire.get("/").status == 200
            own = f"{source}:{wire.sock.getsockname()[1]}"
        assert service.requests[-1].get("X-Seen") == own
        assert service.requests[-1].get("X-Forwarded-For") == source
    assert gw.line(client="127.0.0.9")


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
def test_connections_of_http_2_to_a_service_are_one_clients_too(gateway, origin, haproxy):
    service = origin()
    back = ports.free_port()
    haproxy(f"frontend back\n  bind 127.0.0.1:{back} accept-proxy proto h2\n  http-request set-header X-Seen %[src]:%[src_port]\n"
            f"  default_backend app\nbackend app\n  server app {service.address}\n")
    wait_until(lambda: is_listening(back), "the HAProxy behind")
    gw = gateway(upstreams={"app": {"targets": [f"127.0.0.1:{back}"], "protocol": "h2", "proxy_protocol": "v2"}}, routes=[{"proxy": "app"}], workers=1)
    clients = [gw.connect(source=f"127.0.0.{n}") for n in (7, 8, 9)]
    for _ in range(3):
        for wire in clients:
            assert wire.get("/").status == 200
            assert service.requests[-1].get("X-Seen") == "%s:%d" % wire.sock.getsockname()
    assert gw.metric("maitred_upstream_connects_total") == 3
    for wire in clients:
        wire.close()
