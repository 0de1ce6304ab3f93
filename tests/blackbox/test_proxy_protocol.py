"""Whose connection a balancer hands on: PROXY headers in and out, in any pieces, from those who may say so and from others."""
import shutil
import socket
import struct
import subprocess

import pytest

from kit import ports
from kit.gateway import wait_until

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
