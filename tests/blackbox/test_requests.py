"""Requests as clients send them: one connection, many ways to say the same."""
import json
import socket
import threading

import pytest

from kit import ports
from kit.wire import Message, connect


def seen(response):
    """What the origin says it was sent."""
    assert response.status == 200, (response.status, response.body)
    return json.loads(response.body)


def test_a_request_goes_to_the_service_and_its_answer_comes_back(gateway, origin):
    service = origin("one")
    response = gateway(to=service).get("/hello?a=b&c=%20", fields=[("X-Mine", "1")])
    assert response.status == 200
    assert seen(response)["target"] == "/hello?a=b&c=%20"
    assert service.requests[0].get("X-Mine") == "1"
    assert service.requests[0].get("Host") == "gateway.test"


def test_a_connection_serves_request_after_request(gateway, origin):
    service = origin()
    gw = gateway(to=service)
    with gw.connect() as wire:
        for i in range(50):
            assert seen(wire.get(f"/{i}"))["target"] == f"/{i}"
    assert gw.metric("maitred_connections_accepted_total") == 1
    assert len(service.wires) == 1


def test_pipelined_requests_are_answered_in_order(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(*(f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n" for i in range(40)))
        for i in range(40):
            assert seen(wire.response())["target"] == f"/{i}"


def test_pipelined_requests_with_bodies_are_taken_apart_and_answered_in_order(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
            "GET /c HTTP/1.1\r\nHost: a\r\n\r\n"
            "POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            "HEAD /e HTTP/1.1\r\nHost: a\r\n\r\n"
            "GET /f HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert [seen(wire.response())["body"] for _ in range(3)] == ["abc", "de", ""]
        assert seen(wire.response())["target"] == "/d"
        assert wire.response("HEAD").status == 200
        assert seen(wire.response())["target"] == "/f"


def test_a_pipelined_request_waits_for_a_slow_answer_before_it(gateway, origin):
    def script(call):
        if call.request.path == "/slow":
            call.origin.release.wait(10)
        call.answer(200, call.request.path)

    service = origin(script=script)
    service.release = threading.Event()
    with gateway(to=service).connect() as wire:
        wire.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\n\r\n")
        assert service.wait_for_request().path == "/slow"
        assert wire.is_quiet()
        service.release.set()
        assert [wire.response().text, wire.response().text] == ["/slow", "/fast"]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_request_may_come_in_any_pieces(gateway, origin, size):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send_bytewise(
            "POST /p?q HTTP/1.1\r\nHost: a\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;ext=\"1\"\r\nhello\r\n6\r\n world\r\n0\r\nX-T: t\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n", size)
        assert seen(wire.response())["body"] == "hello world"
        assert seen(wire.response())["target"] == "/next"


def test_a_body_of_known_length_arrives_whole_and_with_its_length(gateway, origin):
    service = origin()
    body = bytes(range(256)) * 40
    with gateway(to=service).connect() as wire:
        wire.ask("/", "PUT", body=body)
        assert seen(wire.response())["body"].encode("latin-1") == body
    assert service.requests[0].get("Content-Length") == str(len(body))


def test_a_chunked_body_arrives_chunked_without_extensions_and_with_its_trailers(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                  "A;a=b;c\r\n0123456789\r\n000003 \t;x=\"y z\"\r\nabc\r\n0;last\r\nX-Sum: 13\r\nContent-Length: 99\r\n\r\n")
        assert seen(wire.response())["body"] == "0123456789abc"
    request = service.requests[0]
    assert request.get("Transfer-Encoding") == "chunked"
    assert request.trailers == [("X-Sum", "13")]  # and nothing that frames
    assert b";" not in bytes(service.wires[0].received).split(b"\r\n\r\n", 1)[1]


def test_a_chunked_answer_reaches_the_client_with_its_trailers(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                 "3;ext\r\nabc\r\n", "2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")

    with gateway(to=origin(script=script)).connect() as wire:
        response = wire.get("/", fields=[("TE", "trailers"), ("Connection", "TE")])
        assert response.body == b"abcde"
        assert response.trailers == [("X-Sum", "5")]
        assert wire.get("/").status == 200


def test_chunks_are_passed_on_as_they_come_and_not_held_back(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        call.origin.release.wait(10)
        call.raw("3\r\ndef\r\n0\r\n\r\n")

    service = origin(script=script)
    service.release = threading.Event()
    with gateway(to=service).connect() as wire:
        wire.ask("/")
        response = wire.response_head()
        assert wire.chunk() == b"abc"
        service.release.set()
        assert wire.chunk() == b"def"
        assert wire.chunk() == b""
        assert response.get("Transfer-Encoding") == "chunked"


def test_an_http_1_0_request_is_answered_and_the_connection_closed(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
        response = wire.response()
        assert seen(response)["target"] == "/old"
        assert response.get("Connection") == "close"
        assert wire.is_closed()
    assert service.requests[0].start == "GET /old HTTP/1.1"
    assert "1.0 maitred" in service.requests[0].get("Via")


def test_an_http_1_0_request_without_host_is_served(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send("GET / HTTP/1.0\r\n\r\n")
        assert wire.response().status == 200
    assert service.requests[0].get("Host") == service.address


def test_an_http_1_0_connection_is_kept_when_it_asks_for_it(gateway, origin):
    with gateway(to=origin()).connect() as wire:
        for _ in range(3):
            wire.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            response = wire.response()
            assert response.status == 200
            assert response.get("Connection").lower() == "keep-alive"


def test_an_http_1_0_client_gets_no_chunks(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: t\r\n\r\n")

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        response = wire.response()
        assert "Transfer-Encoding" not in response.fields
        assert response.until_close and response.body == b"abc"


def test_a_head_request_gets_the_head_alone(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n")

    service = origin(script=script)
    with gateway(to=service).connect() as wire:
        for _ in range(2):
            response = wire.get("/", method="HEAD")
            assert response.get("Content-Length") == "1234"
            assert response.get("ETag") == '"x"'
    assert service.requests[0].method == "HEAD"
    assert len(service.wires) == 1


def test_a_head_answer_that_would_be_chunked_has_no_body(gateway, origin):
    def script(call):
        if call.request.method == "HEAD":
            call.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            call.answer(200, "after")

    with gateway(to=origin(script=script)).connect() as wire:
        assert wire.get("/", method="HEAD").status == 200
        assert wire.get("/").text == "after"


@pytest.mark.parametrize("status, fields", [(204, ""), (304, 'ETag: "a"\r\n'), (304, "Content-Length: 7\r\n")])
def test_answers_that_have_no_body_do_not_hold_up_the_connection(gateway, origin, status, fields):
    def script(call):
        if call.number == 1:
            call.raw(f"HTTP/1.1 {status} X\r\n{fields}\r\n")
        else:
            call.answer(200, "after")

    service = origin(script=script)
    with gateway(to=service).connect() as wire:
        response = wire.get("/")
        assert response.status == status
        if "Length" in fields:
            assert response.get("Content-Length") == "7"
        assert wire.get("/").text == "after"
    assert len(service.wires) == 1


@pytest.mark.parametrize("bad", ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])
def test_a_204_with_a_body_never_passes_that_body_on(gateway, origin, bad):
    def script(call):
        if call.request.path == "/bad":
            call.raw(f"HTTP/1.1 204 No Content\r\n{bad}")
        else:
            call.answer(200, "fine")

    with gateway(to=origin(script=script)).connect() as wire:
        wire.ask("/bad")
        response = wire.response()
        assert response.status in (204, 502)
        assert wire.get("/fine").text == "fine"  # never the leftover of the answer before


def test_an_expectation_is_met_by_the_service_and_its_100_passed_on(gateway, origin):
    def script(call):
        assert call.request.get("Expect") == "100-continue"
        call.raw("HTTP/1.1 100 Continue\r\n\r\n")
        call.answer(200, call.read_body())

    service = origin(script=script)
    with gateway(to=service).connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        service.wait_for_request()
        interim = wire.head(Message)
        assert interim.start.startswith("HTTP/1.1 100 ") and interim.fields == []
        wire.send("hello")
        assert wire.response().body == b"hello"


def test_a_client_that_does_not_wait_for_100_is_served_as_well(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 100 Continue\r\n\r\n")
        call.answer(200, call.read_body())

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert wire.response().body == b"hello"
        assert wire.get("/", method="POST", body=b"x").body == b"x"


def test_a_service_that_refuses_instead_of_100_is_heard_before_the_body(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        call.close()

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        response = wire.response()
        assert (response.status, response.body) == (417, b"no")
        assert response.get("Connection") == "close"  # the body may come or not: nothing after it can be understood


def test_a_local_answer_to_an_expectation_comes_without_a_100(gateway):
    gw = gateway(routes=[{"match": {"path": "/no"}, "respond": 403}])
    with gw.connect() as wire:
        wire.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n")
        response = wire.response()
        assert response.status == 403 and response.interim == []


def test_an_unknown_expectation_is_refused_with_417(gateway, origin):
    service = origin()
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: miracles\r\n\r\nhello")
        assert wire.response().status == 417
    assert service.requests == []
    assert gw.line(status=417)["error"] == {"side": "client", "word": "bad_expect"}


def test_interim_answers_are_passed_on_in_order_before_the_final_one(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
                 "HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
        call.answer(200, "done")

    with gateway(to=origin(script=script)).connect() as wire:
        response = wire.get("/")
        assert [i.status for i in response.interim] == [103, 102, 103]
        assert [i.get("Link") for i in response.interim] == ["</a.css>", None, "</b.css>"]
        assert response.text == "done"


def test_an_http_1_0_client_gets_no_interim_answers(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        call.answer(200, "done")

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        response = wire.response()
        assert response.interim == [] and response.text == "done"


def test_an_endless_run_of_interim_answers_is_ended_with_502(gateway, origin):
    def script(call):
        for _ in range(1000):
            call.raw("HTTP/1.1 103 Early Hints\r\n\r\n")
        call.answer(200, "done")

    gw = gateway(to=origin(script=script))
    with gw.connect() as wire:
        assert wire.get("/").status == 502
    assert gw.line(status=502)["error"]["side"] == "upstream"


@pytest.mark.parametrize("target", ["http://gateway.test/a?b", "HTTP://gateway.test/a?b"])
def test_the_absolute_form_is_served_and_leaves_as_origin_form(gateway, origin, target):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: other.test\r\n\r\n")
        assert wire.response().status == 200
    assert service.requests[0].target == "/a?b"
    assert service.requests[0].get("Host") == "gateway.test"  # the target's authority wins


def test_the_absolute_form_without_a_path_means_the_root(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send("GET http://gateway.test HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert seen(wire.response())["target"] == "/"
        wire.send("GET http://gateway.test?x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert seen(wire.response())["target"] == "/?x"


@pytest.mark.parametrize("target", ["*", "http://gateway.test"])
def test_options_asterisk_is_about_the_gateway_itself_and_answered_by_it(gateway, origin, target):
    service = origin()
    with gateway(to=service).connect() as wire:
        wire.send(f"OPTIONS {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert wire.response().status == 204
        assert wire.get("/").status == 200
    assert [r.method for r in service.requests] == ["GET"]


def test_an_unknown_method_is_passed_on(gateway, origin):
    service = origin()
    assert gateway(to=service).get("/", method="PROPFIND").status == 200
    assert service.requests[0].method == "PROPFIND"


def test_blank_lines_in_front_of_a_request_are_passed_by(gateway, origin):
    with gateway(to=origin()).connect() as wire:
        wire.send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 200
        wire.send("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 200


def test_a_client_that_asks_for_close_is_closed_after_its_answer(gateway, origin):
    service = origin()
    with gateway(to=service).connect() as wire:
        response = wire.get("/", fields=[("Connection", "close")])
        assert response.status == 200 and response.get("Connection") == "close"
        assert wire.is_closed()
    assert "Connection" not in service.requests[0].fields  # the way to the service is another connection


def test_a_client_that_ends_its_half_after_the_request_still_gets_its_answer(gateway, origin):
    def script(call):
        call.origin.release.wait(10)
        call.answer(200, "late")

    service = origin(script=script)
    service.release = threading.Event()
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/").end()
        service.wait_for_request()
        service.release.set()
        assert wire.response().text == "late"
        assert wire.is_closed()
    assert "error" not in gw.line(path="/")


def test_a_client_that_resets_takes_its_request_back_from_the_service(gateway, origin):
    def script(call):
        assert call.wire.some() == b""  # the gateway closes
        call.close()

    service = origin(script=script)
    gw = gateway(to=service)
    wire = gw.connect()
    wire.ask("/gone")
    service.wait_for_request()
    wire.reset()
    line = gw.line(path="/gone")
    assert line["error"] == {"side": "client", "word": "client_reset"} and line["complete"] is False
    gw.wait_for_metric(0, "maitred_upstream_connections_busy")


def test_a_body_cut_by_the_client_never_looks_complete_to_the_service(gateway, origin):
    ends = []

    def script(call):
        try:
            call.read_body()
            ends.append("complete")
        except Exception as error:
            ends.append(type(error).__name__)
            raise

    service = origin(script=script)
    gw = gateway(to=service)
    for head in ("Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
        with gw.connect() as wire:
            wire.send(f"POST /cut HTTP/1.1\r\nHost: a\r\n{head}")
            service.wait_for_request()
            wire.end()
    lines = gw.lines(2, path="/cut")
    assert all(l["error"]["side"] == "client" for l in lines), lines
    gw.wait_for_metric(0, "maitred_upstream_connections_busy")
    for thread in service.threads[1:]:
        thread.join(5)
    assert ends and set(ends) <= {"Closed", "ConnectionResetError"}


def test_two_listeners_and_a_unix_socket_serve_the_same_routes(gateway, origin, folder):
    other, path = ports.free_port(), str(folder / "gateway.sock")
    port = ports.free_port()
    gw = gateway(to=origin(), listeners=[f"127.0.0.1:{port}", f"127.0.0.1:{other}", {"address": f"unix:{path}", "mode": "0660"}])
    for where in (port, other, path):
        with connect(where) as wire:
            assert wire.get("/").status == 200
    assert len(gw.lines(3, path="/")) == 3


def test_a_service_on_a_unix_socket_is_reached(gateway, origin, folder):
    service = origin(unix=str(folder / "service.sock"))
    assert gateway(to=service).get("/").status == 200


def test_ipv6_clients_and_services_are_served(gateway, origin):
    probe = socket.socket(socket.AF_INET6)
    try:
        probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    finally:
        probe.close()
    service, port = origin(), ports.free_port()
    gateway(to=service, listeners=[f"[::1]:{port}"])
    with connect(("::1", port)) as wire:
        assert wire.get("/").status == 200
    assert service.requests[0].get("X-Forwarded-For") == "::1"


def test_pipelined_requests_with_the_clients_end_behind_them_are_all_answered(gateway, origin):
    with gateway(to=origin()).connect() as wire:
        wire.send(*(f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n" for i in range(10))).end()
        assert [seen(wire.response())["target"] for _ in range(10)] == [f"/{i}" for i in range(10)]
        assert wire.is_closed()


def test_an_upload_with_the_clients_end_right_behind_it_arrives_whole(gateway, origin):
    service = origin(script=lambda call: call.answer(200, str(len(call.read_body()))))
    for framing in ("length", "chunked"):
        with gateway(to=service).connect(keep=False) as wire:
            if framing == "length":
                wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n", b"x" * 300000)
            else:
                wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n493E0\r\n", b"x" * 300000, "\r\n0\r\n\r\n")
            assert wire.end().response().text == "300000"
            assert wire.is_closed()


def test_refused_bodies_in_a_pipeline_do_not_shift_what_follows(gateway, origin):
    gw = gateway(to=origin(), routes=[{"match": {"path": "/no"}, "respond": 403}, {"proxy": "app"}])
    with gw.connect() as wire:
        for i in range(5):
            wire.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"[:40],
                      f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")
        for i in range(5):
            assert wire.response().status == 403
            assert seen(wire.response())["target"] == f"/{i}"


def test_a_head_just_below_the_limit_goes_through_both_ways(gateway, origin):
    big = "x" * 30000
    service = origin(script=lambda call: call.answer(200, "ok", [("X-Big", big)]))
    response = gateway(to=service).get("/", fields=[("X-Large", big)])
    assert response.get("X-Big") == big and service.requests[0].get("X-Large") == big


def test_a_client_on_a_unix_socket_is_told_to_the_service_as_unknown(gateway, origin, folder):
    path, service = str(folder / "gateway.sock"), origin()
    gateway(to=service, listeners=[f"unix:{path}"])
    with connect(path) as wire:
        assert wire.get("/").status == 200
    assert service.requests[0].get("X-Forwarded-For") == "unknown"
