"""What an attacker tries: to be taken for someone else, to reach what a route guards, to have one message read as two, to make
the gateway hold or compute more than he sends.

Each test here is an attack that works on some proxy; the comment says how.
"""
import json
import os
import pwd
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

from kit import ports
from kit.gateway import BINARY, base_config, upstream, wait_until
from kit.wire import Closed, Message, connect

HEAD = "HTTP/1.1\r\nHost: gateway.test\r\n"


def seen(response):
    """The request as the service got it."""
    assert response.status == 200, (response.start, response.body)
    request = json.loads(response.text)
    request["names"] = {name.lower() for name, _ in request["fields"]}
    return request


# ---- paths: what is guarded here is what the service serves ----

GUARDED = [{"match": {"prefix": "/admin"}, "respond": 403}, {"match": {"prefix": "/"}, "proxy": "app"}]


def loosest(target):
    """The path as the most lenient service reads it: escapes decoded (the slash too), parameters cut off, slashes merged, dots resolved."""
    path = re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), target.split("?")[0]).replace("\\", "/")
    out = []
    for segment in path.split("/"):
        segment = segment.split(";")[0]
        if segment == "..":
            out = out[:-1]
        elif segment not in ("", "."):
            out.append(segment)
    return "/" + "/".join(out)


@pytest.mark.parametrize(
    "target",
    ["/admin", "//admin", "///admin/x", "/./admin", "/x/../admin", "/x/%2e%2e/admin", "/x/.%2E/admin", "/%61dmin", "/%2fadmin", "/x/..%2fadmin",
     "/x%2f..%2fadmin", "/x/..%5cadmin", "/%5Cadmin", "/x/..;/admin", "/x/..;a=b/admin", "/;/admin", "/;a=b/admin", "/.;/admin", "/x/%2e%2e;/admin",
     "/x//../admin", "/x/..//admin", "/admin%2f", "/admin%2fx", "/x/../../admin", "/..%2fadmin", "/%2e%2e/admin", "/x/%2e%2e%2fadmin",
     "/x/..%00/admin", "/admin%00", "/x/%252e%252e/admin", "http://gateway.test//admin", "http://gateway.test/x/..;/admin", "/x/../admin?a", "/?/../admin"],
)
def test_no_spelling_of_a_path_reaches_what_a_route_guards(gateway, origin, target):
    # a service that decodes, merges or cuts more than the gateway does would serve /admin for it
    service = origin()
    gw = gateway(to=service, routes=GUARDED)
    with gw.connect() as wire:
        status = wire.send(f"GET {target} {HEAD}\r\n").response().status
    assert status in (200, 400, 403)
    for request in service.requests:
        assert not loosest(request.target).startswith("/admin"), request.target


def test_the_service_gets_the_path_that_was_matched(gateway, origin):
    service = origin()
    gw = gateway(to=service)
    with gw.connect() as wire:
        for sent, got in [("/a/./b/../c", "/a/c"), ("//a///b", "/a/b"), ("/%7Ea%2D", "/~a-"), ("/a%c3%a9?x=%2f//", "/a%C3%A9?x=%2f//"), ("/a;b=c/d", "/a;b=c/d")]:
            assert seen(wire.get(sent))["target"] == got
    gw.line(path="/a/./b/../c")  # the log has it as it came


def test_slashes_are_kept_where_the_configuration_says_so(gateway, origin):
    service = origin()
    gw = gateway(to=service, limits={"escaped_slashes": True, "empty_segments": True})
    with gw.connect() as wire:
        assert seen(wire.get("//a%2fb//c"))["target"] == "//a%2Fb//c"
        assert wire.get("/a/..%2fb").status == 400


def test_captures_and_prefixes_go_on_in_the_same_form(gateway, origin):
    service = origin()
    routes = [{"match": {"path": "/users/{id}/{rest...}"}, "proxy": {"upstream": "app", "path": "/u/{id}/{rest...}"}},
              {"match": {"prefix": "/api"}, "proxy": {"upstream": "app", "path": "/"}}]
    with gateway(to=service, routes=routes).connect() as wire:
        assert seen(wire.get("//users/%41/x/./y//z/../%7e"))["target"] == "/u/A/x/y/~"
        assert seen(wire.get("/api//x/../y"))["target"] == "/y"
        assert wire.get("/users/..;/x").status == 400


def test_a_redirect_to_a_path_stays_on_this_host(gateway):
    # "Location: //evil.test" leads a browser elsewhere
    routes = [{"match": {"prefix": "/"}, "redirect": {"to": "{path}/"}}]
    with gateway(routes=routes, limits={"empty_segments": True, "escaped_slashes": True}).connect() as wire:
        for target in ["//evil.test", "///evil.test/x", "/./%2Fevil.test", "/%5Cevil.test", "/.//evil.test", "http://evil.test//evil.test"]:
            location = wire.get(target).get("Location")
            assert re.match(r"/(?![/\\])", location), location


# ---- CONNECT, TRACE, Upgrade: no way past the policies ----


@pytest.mark.parametrize("routes", [[{"proxy": "app"}], [{"match": {"prefix": "/"}, "proxy": "app"}]])
def test_a_connect_never_becomes_a_tunnel_unless_a_route_names_it(gateway, origin, routes):
    # some services answer 200 to any method: what follows would then reach them as it is
    service = origin()
    with gateway(to=service, routes=routes).connect() as wire:
        wire.send(f"CONNECT a:80 {HEAD}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status in (404, 405)
        assert wire.is_closed()
    assert service.requests == []


def test_what_policies_add_is_not_echoed_by_trace(gateway, origin):
    def echo(call):
        call.answer(200, repr(call.request.fields))

    routes = [{"policies": [{"headers": {"request": {"set": {"X-Secret": "5f3a"}}}}], "proxy": "app"}]
    with gateway(to=origin(script=echo), routes=routes).connect() as wire:
        assert "5f3a" in wire.get("/").text
        response = wire.get("/", method="TRACE")
        assert response.status == 405 and b"5f3a" not in response.body


@pytest.mark.parametrize("upgrade", ["h2c", "H2C, websocket", "h2c-16", "HTTP/2.0", "TLS/1.2", '", h2c', '"h2c"', "websocket, h2c;q=1", "a b, h2c"])
def test_no_upgrade_leads_to_where_requests_are_not_seen(gateway, origin, upgrade):
    # "h2c smuggling": behind the 101, requests go past every route
    service = origin()
    with gateway(to=service).connect() as wire:
        request = seen(wire.get("/", fields=[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")]))
    assert not request["names"] & {"upgrade", "connection", "http2-settings"}


@pytest.mark.parametrize("asked, got", [(None, "websocket"), ("websocket", "h2c"), ("websocket", "websocket, h2c")])
def test_a_service_cannot_switch_to_what_no_one_asked_for(gateway, origin, asked, got):
    def script(call):
        call.raw(f"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: {got}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npoison")
        call.close()

    with gateway(to=origin(script=script)).connect() as wire:
        fields = [("Connection", "upgrade"), ("Upgrade", asked)] if asked else []
        assert wire.get("/", fields=fields).status == 502


# ---- who the client is ----


def test_no_field_of_a_stranger_tells_the_service_who_he_is_or_how_he_came(gateway, origin):
    # frameworks believe these: the scheme, the prefix, the port, the client
    claims = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme",
              "X-Forwarded-Prefix", "x-forwarded-by", "X-FORWARDED-PROTOCOL", "X-Forwarded-Uri", "Forwarded", "X-Real-IP"]
    service = origin()
    with gateway(to=service).connect() as wire:
        request = seen(wire.get("/", fields=[(name, "for=spoofed") for name in claims] + [("X_Forwarded_For", "spoofed")]))
    assert "spoofed" not in str(request["fields"])


def test_hops_in_many_lines_are_one_list_and_none_is_lost(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": ["127.0.0.0/8", "10.0.0.0/8"]})
    lines = [("X-Forwarded-For", f"10.0.0.{i}") for i in range(1, 60)] + [("Via", "1.0 a"), ("Via", "1.1 b")]
    with gw.connect() as wire:
        request = seen(wire.get("/", fields=[("X-Forwarded-For", "203.0.113.9")] + lines))
    fields = [(n.lower(), v) for n, v in request["fields"]]
    [hops] = [v for n, v in fields if n == "x-forwarded-for"]
    assert hops.split(", ") == ["203.0.113.9"] + [v for n, v in lines if n == "X-Forwarded-For"] + ["127.0.0.1"]
    assert ", ".join(v for n, v in fields if n == "via") == "1.0 a, 1.1 b, 1.1 maitred"
    assert gw.line(path="/")["client"] == "203.0.113.9"


def test_the_scheme_of_an_absolute_target_is_not_believed(gateway, origin):
    # "X-Forwarded-Proto: https" turns off redirects to https and marks cookies secure
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"GET https://gateway.test/ {HEAD}\r\n")
        request = seen(wire.response())
    assert dict(request["fields"])["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize("named", ["X-Forwarded-For", "close, x-forwarded-for", "X-Forwarded-Prefix", "Forwarded", "Authorization", "Cookie", "Host", "Content-Length",
                                   "X-Real-IP", "Via"])
def test_connection_cannot_strip_what_the_service_decides_by(gateway, origin, named):
    # a trusted proxy in front that passes Connection on would have its own word removed
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": ["127.0.0.0/8"]})
    with gw.connect() as wire:
        response = wire.get("/", fields=[("X-Forwarded-For", "203.0.113.9"), ("Authorization", "x"), ("Cookie", "a=b"), ("Connection", named)])
        assert response.status == 400
    assert service.requests == []


@pytest.mark.parametrize("host", ["a,b", "a;b", "a'b", "a&b=c", "a(b)", "a%2eb", "%61", "a!b", "a*b", "u:p@a", "a:80:80", "a:", "a b", "a\tb", "[::1", "[a]", "a/b", "a?b", "a#b", '"a"', "a\\b",
                                  "a\xe9", "a:0", "a:99999", "-a,", "[::1%25eth0]"])
def test_a_host_is_one_name_and_nothing_else(gateway, origin, host):
    # routed by one reading, served by another
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
        status = wire.response().status
    assert status == (200 if host == "a:" else 400)


@pytest.mark.parametrize("target, host, wanted", [("http://a.test/", "b.test", "a"), ("http://b.test/", "a.test", "b"), ("/", "A.TEST.:80", "a"), ("HTTP://A.test:8080/", "b.test", "a")])
def test_the_host_that_is_routed_by_is_the_one_that_is_sent(gateway, origin, target, host, wanted):
    services = {"a": origin("a"), "b": origin("b")}
    routes = [{"match": {"host": f"{n}.test"}, "proxy": n} for n in services]
    gw = gateway(upstreams={n: upstream(s) for n, s in services.items()}, routes=routes)
    with gw.connect() as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        request = seen(wire.response())
    assert request["origin"] == wanted
    fields = dict(request["fields"])
    assert fields["Host"].lower().startswith(f"{wanted}.test") and fields["X-Forwarded-Host"] == fields["Host"]


def test_trailers_bring_no_field_that_decides_anything(gateway, origin):
    names = ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Prefix", "Forwarded", "X-Real-IP", "Connection", "Content-Type",
             "Expect", "Trailer", "TE", "Set-Cookie", "Location", "Cache-Control", "Content-Encoding", "Range", "Max-Forwards", "X_Forwarded_For"]
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"POST / {HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n" + "".join(f"{n}: x\r\n" for n in names) + "X-Sum: 1\r\n\r\n")
        assert wire.response().status == 200
    assert service.requests[0].trailers == [("X-Sum", "1")]


# ---- the connection to the service: no one gets another's answer ----


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_a_body_that_a_service_may_leave_unread_never_becomes_the_next_clients_answer(gateway, origin, method):
    # CL.0: the service ignores the body of a GET, and takes it for a request
    def on_connect(wire):
        text = b""
        while True:
            while b"\r\n\r\n" not in text:
                data = wire.some()
                if not data:
                    return
                text += data
            line, _, text = text.partition(b"\r\n\r\n")
            body = b"" if line.startswith(b"HEAD") else line.split(b"\r\n")[0]
            wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(line.split(bytes([13, 10]))[0])}\r\n\r\n".encode() + body)

    with gateway(to=origin(on_connect=on_connect)).connect() as wire:
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        for _ in range(3):
            wire.send(f"{method} /first {HEAD}Content-Length: {len(smuggled)}\r\n\r\n".encode() + smuggled)
            assert wire.response(method).status == 200
            assert wire.get("/second").text == "GET /second HTTP/1.1"


def test_a_connection_whose_service_answered_before_the_body_serves_no_one_else(gateway, origin):

    def script(call):
        if call.request.path == "/early":
            call.raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            try:
                call.read_body()  # what comes then is the rest of the body, never a request
                call.wire.is_quiet()
            except Closed:
                pass
            call.close()
        else:
            call.answer(200, call.request.path)

    service = origin(script=script)
    with gateway(to=service).connect() as wire:
        smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        wire.send(f"POST /early {HEAD}Content-Length: {len(smuggled)}\r\n\r\n")
        assert wire.response().status == 200
        wire.send(smuggled)
        assert wire.get("/next").text == "/next"
    assert [r.path for r in service.requests] == ["/early", "/next"]
    assert len(service.wires) == 2


# ---- what an attacker can make us hold or compute ----


def test_chunks_of_one_byte_cost_about_their_bytes(gateway, origin):
    go = threading.Event()

    def script(call):
        assert go.wait(30)
        call.read_body()
        call.answer(200, "%d in %d" % (len(call.request.body), len(call.request.chunks)))

    gw = gateway(to=origin(script=script, receive_buffer=4096))
    wires = [gw.connect() for _ in range(20)]
    before = gw.rss()
    size = 400_000
    for wire in wires:
        wire.send(f"POST / {HEAD}Transfer-Encoding: chunked\r\n\r\n")
        wire.sock.setblocking(False)
    data = b"1\r\nx\r\n" * size
    left = {wire: 0 for wire in wires}
    deadline = time.monotonic() + 20
    stuck = 0
    while stuck < 50 and time.monotonic() < deadline:  # until nothing more is taken
        moved = 0
        for wire in wires:
            try:
                moved += (sent := wire.sock.send(data[left[wire] : left[wire] + 65536]))
                left[wire] += sent
            except BlockingIOError:
                pass
        stuck = 0 if moved else stuck + 1
        time.sleep(0.01 if not moved else 0)
    held = gw.rss() - before
    assert held < 20 * 1024 * 1024, f"{held} bytes for 20 clients"
    go.set()
    for wire in wires[:2]:
        wire.sock.settimeout(30)
        wire.sock.sendall(data[left[wire] :] + b"0\r\n\r\n")
        count, chunks = map(int, wire.response().text.split(" in "))
        assert count == size and chunks < size / 10  # and they go on in larger ones
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("extension", [b";" + b"a" * 5000, b";a=b" * 2000])
def test_chunk_extensions_cannot_be_most_of_a_body(gateway, origin, extension):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"POST / {HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), b"1" + extension + b"\r\nx\r\n0\r\n\r\n")
        assert wire.response().status == 400


def test_a_flood_of_connection_options_is_refused_at_once(gateway, origin):
    # each option is looked for among all fields: thousands by thousands
    service = origin()
    with gateway(to=service).connect() as wire:
        assert wire.get("/", fields=[("Connection", "a," * 5000 + "a")] + [(f"f{i}", "") for i in range(100)]).status == 400


def test_an_endless_trailer_section_is_cut_off(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"POST / {HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n")
        for _ in range(20):
            wire.send("".join(f"a{i}: {'x' * 100}\r\n" for i in range(100)))
        assert wire.response().status == 431


@pytest.mark.parametrize("rest", [b"", b"5", b"5;a", b"5\r\nab", b"5\r\nabcde", b"0\r\n", b"0\r\nX-A: b", b"0\r\nX-A: b\r\n\r"])
def test_a_body_that_stalls_anywhere_is_given_up(gateway, origin, rest):
    # in its trailers no one waited for it, for ever
    service = origin()
    gw = gateway(to=service, timeouts={"request_body_idle": "300ms"})
    with gw.connect() as wire:
        wire.send(f"POST / {HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), rest)
        assert wire.response().status == 408
        assert wire.is_closed()


def test_a_service_that_says_nothing_to_an_expectation_is_given_up(gateway, origin):
    # the client waits for it, and it for the client: two sockets held for the price of one head
    held = threading.Event()

    def on_connect(wire):
        wire.some()
        held.wait(20)

    gw = gateway(to=origin(on_connect=on_connect), upstream_settings={"timeouts": {"response": "300ms"}}, timeouts={"request_body_idle": "300ms"})
    with gw.connect() as wire:
        wire.send(f"POST / {HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert wire.response().status == 504
    held.set()


@pytest.mark.parametrize("first", ["100 from the service", "the client does not wait"])
def test_a_client_that_was_told_to_go_on_has_its_own_time(gateway, origin, first):
    def script(call):
        if first == "100 from the service":
            call.raw("HTTP/1.1 100 Continue\r\n\r\n")
        call.answer(200, call.read_body())

    gw = gateway(to=origin(script=script), upstream_settings={"timeouts": {"response": "300ms"}}, timeouts={"request_body_idle": "2s"})
    with gw.connect() as wire:
        wire.send(f"POST / {HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", b"a" if first == "the client does not wait" else b"")
        time.sleep(0.6)  # longer than the service may take to answer
        wire.send(b"bcdef" if first == "100 from the service" else b"bcde")
        response = wire.response()
        assert response.status == 200 and len(response.body) == 5


def test_a_service_that_says_100_to_a_body_it_has_and_nothing_more_is_given_up(gateway, origin):
    def script(call):
        call.read_body()
        call.raw("HTTP/1.1 100 Continue\r\n\r\n")
        held.wait(20)

    held = threading.Event()
    gw = gateway(to=origin(script=script), upstream_settings={"timeouts": {"response": "300ms"}})
    with gw.connect() as wire:
        wire.send(f"POST / {HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert wire.head(Message).start.startswith("HTTP/1.1 100 ")
        assert wire.response().status == 504
    held.set()


def test_a_regular_expression_that_explodes_is_stopped(gateway):
    gw = gateway(routes=[{"match": {"regex": "/(a+)+b"}, "respond": 200}, {"respond": 204}])
    with gw.connect() as wire:
        start = time.process_time()
        for _ in range(20):
            assert wire.get("/" + "a" * 4000).status in (204, 400)
            assert wire.get("/" + "a" * 30 + "c").status in (204, 400)
        assert time.process_time() - start < 5
        assert wire.get("/aaab").status == 200


def test_a_head_of_any_size_within_the_limit_ends_in_an_answer(gateway, origin):
    # the head, its fields and the exchange share one bounded arena
    gw = gateway(to=origin(), limits={"head": "1MiB", "target": "512KiB", "fields": 1024})
    for size in [*range(1 << 19, 1 << 20, 1 << 17), *range((1 << 20) - 4200, (1 << 20) - 60, 130)]:
        with gw.connect() as wire:
            try:
                wire.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nX: ", "a" * size, "\r\n\r\nabc")
                wire.rest()
            except ConnectionResetError:
                pass
    assert gw.process.poll() is None


def test_pipelined_requests_are_not_read_ahead_of_their_answers(gateway, origin):
    go = threading.Event()

    def script(call):
        go.wait(30)
        call.answer(200, "x")

    service = origin(script=script)
    gw = gateway(to=service)
    before = gw.rss()
    wires = [gw.connect() for _ in range(10)]
    flood = f"GET / {HEAD}\r\n".encode() * 100_000
    for wire in wires:
        wire.sock.setblocking(False)
        at = 0
        try:
            while at < len(flood):
                at += wire.sock.send(flood[at : at + 65536])
        except BlockingIOError:
            pass
    assert service.wait_for_request()
    assert gw.rss() - before < 8 * 1024 * 1024
    assert len(service.requests) <= len(wires)
    go.set()
    for wire in wires:
        wire.close()


# ---- logs ----


def test_a_log_line_is_one_line_whatever_the_client_says(gateway, origin):
    service = origin()
    gw = gateway(to=service)
    nasty = '"}\t\\n\\u0000 {"status":200,"path":"/forged"} \x80\xff\u00e9'
    with gw.connect() as wire:
        wire.send(f"GET /%0d%0aforged?\"{{ {HEAD}\r\n".replace('"{', "%22%7b"))
        wire.response()
        wire.get("/log", fields=[("User-Agent", nasty), ("Referer", nasty)])
    line = gw.line(path="/log")
    assert '{"status":200,"path":"/forged"}' in line["user_agent"]
    assert gw.line(path="/%0d%0aforged")["query"] == "%22%7b"
    assert not gw.access.has(lambda l: isinstance(l, dict) and l.get("path") == "/forged")
    assert not gw.access.has(lambda l: not isinstance(l, dict))


# ---- the admin listener ----


@pytest.mark.parametrize("host, served", [("127.0.0.1:{port}", True), ("localhost", True), ("LOCALHOST:{port}", True), ("[::1]:{port}", True), ("attacker.test", False),
                                          ("attacker.test:{port}", False), ("127.0.0.1.attacker.test", False), ("localhost.attacker.test", False), ("0x7f.1", False)])
def test_a_page_of_another_name_cannot_read_the_admin_listener(gateway, host, served):
    # DNS rebinding: attacker.test resolves to 127.0.0.1 for the browser on this machine
    gw = gateway()
    with connect(gw.admin_port) as wire:
        response = wire.get("/metrics", host=host.format(port=gw.admin_port))
    assert response.status == (200 if served else 403)
    assert served or b"maitred_" not in response.body


# ---- tunnels ----


UPGRADE = [("Connection", "upgrade"), ("Upgrade", "raw")]


@pytest.mark.parametrize("who_ended", [None, "client", "service"])
def test_a_tunnel_in_which_nothing_moves_ends(gateway, origin, who_ended):
    # a peer that is gone without a word, or that keeps its half open for ever, would hold two sockets
    moved, gone, seen_end = threading.Event(), threading.Event(), threading.Event()

    def script(call):
        call.raw("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        call.wire.exactly(6)
        moved.set()
        if who_ended == "service":
            call.wire.end()
        try:
            while call.wire.some():
                pass
            if who_ended == "client":
                seen_end.wait(20)  # keeps its half open
        except OSError:
            pass
        gone.set()
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"tunnel_idle": "500ms"})
    with gw.connect() as wire:
        assert wire.get("/up", fields=UPGRADE).status == 101
        for _ in range(6):
            wire.send("x")
            time.sleep(0.2)  # longer than the limit altogether, but something moves
        assert moved.wait(5)
        if who_ended == "client":
            wire.end()
        line = gw.line(path="/up")
        assert line["error"]["word"] == "tunnel_idle" and line["tunnel"] is True
        assert wire.is_gone()
        seen_end.set()
        assert gone.wait(10)


# ---- descriptors ----


def test_idle_clients_leave_descriptors_for_the_services(gateway, origin, monkeypatch):
    # else a few hundred silent connections turn every request into a 500
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: popen(*args, preexec_fn=limit, **more))
    gw = gateway(to=origin())
    wires = [gw.connect() for _ in range(200)]  # most wait in the kernel's queue
    for _ in range(2):
        assert wires[0].get("/").status == 200
    for wire in wires:
        wire.close()
    wait_until(lambda: gw.metric("maitred_connections") <= 1, "the queue is worked off")
    assert gw.get("/").status == 200


# ---- what root opens for a process that is soon not root ----


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("owner", ["nobody", "root"])
def test_root_writes_no_log_through_a_link_that_the_user_has_put_there(gateway, folder, owner):
    # the log's folder belongs to the user that the process becomes: whoever has taken that user over could have any file written
    nobody = pwd.getpwnam("nobody")
    logs, victim = folder / "logs", folder / "victim"
    logs.mkdir()
    os.chown(logs, nobody.pw_uid, nobody.pw_gid)
    link = logs / "access.log"
    link.symlink_to(victim)
    if owner == "nobody":
        os.lchown(link, nobody.pw_uid, nobody.pw_gid)
        config = folder / "config.yaml"
        config.write_text(json.dumps(base_config(ports.free_port(), ports.free_port(), access_log=str(link))))
        result = subprocess.run([BINARY, "run", "-c", str(config)], capture_output=True, text=True, timeout=20)
        assert result.returncode != 0 and f"cannot write to {link}" in result.stderr
        assert not victim.exists()
    else:
        gw = gateway(access_log=str(link))
        assert gw.get("/").status == 200
        wait_until(lambda: victim.read_text().count("\n") == 1, "the line is written")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_log_that_root_made_is_the_users_to_open_again(gateway, folder):
    log = folder / "access.log"
    gw = gateway(user="nobody", access_log=str(log))
    gw.get("/one")
    wait_until(lambda: log.read_text().count("\n") == 1, "a line is written")
    assert log.owner() == "nobody"
    gw.kill(signal.SIGUSR1)
    gw.upgrade()  # the new process is not root, and opens it too
    gw.get("/two")
    wait_until(lambda: log.read_text().count("\n") == 2, "the next line is written")
    opened = sorted(t for fd, t in gw.descriptors().items() if fd > 2 and not t.startswith(("anon_inode:", "socket:", "pipe:")))
    assert opened == [str(log)]  # and nothing else came along


def test_no_one_but_us_connects_to_the_admin_socket(gateway, folder):
    path = folder / "admin.sock"
    gateway(admin=f"unix:{path}")
    assert path.stat().st_mode & 0o077 == 0
