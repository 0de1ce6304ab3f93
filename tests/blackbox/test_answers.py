"""Answers of services that are broken, ambiguous or cut: a 502, or visibly cut, never a complete one."""
import re

import pytest

from kit.wire import Closed

OK = "HTTP/1.1 200 OK\r\n"

UNUSABLE = {
    "nothing": "",
    "not HTTP": "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/0.9": "<html>hello</html>",
    "HTTP/2.0": "HTTP/2.0 200 OK\r\n\r\n",
    "half a status line": "HTTP/1.1 20",
    "half a head": OK + "X: y\r\n",
    "a status of two digits": "HTTP/1.1 99 X\r\n\r\n",
    "a status of four digits": "HTTP/1.1 2000 X\r\n\r\n",
    "a status of letters": "HTTP/1.1 OK 200\r\n\r\n",
    "a status below 100": "HTTP/1.1 042 X\r\n\r\n",
    "a bare LF behind the status": "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "a bare LF behind a field": OK + "X: y\nContent-Length: 0\r\n\r\n",
    "a bare CR in a value": OK + "X: y\rz\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": OK + "X: \0\r\nContent-Length: 0\r\n\r\n",
    "a NUL in the reason": "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "a folded field": OK + "X: y\r\n z\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": OK + "Content-Length : 0\r\n\r\n",
    "a length and chunked": OK + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two equal lengths": OK + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a signed length": OK + "Content-Length: +5\r\n\r\nhello",
    "a length past 63 bits": OK + "Content-Length: 9223372036854775808\r\n\r\n",
    "chunked not last": OK + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an unknown coding": OK + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a head too large": OK + "X: " + "x" * 40000 + "\r\nContent-Length: 0\r\n\r\n",
    "too many fields": OK + "X: y\r\n" * 200 + "Content-Length: 0\r\n\r\n",
    "a switch nobody asked for": "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "an interim answer alone": "HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unusable_answer_is_a_502(gateway, origin, name, method):
    def script(call):
        call.read_body()
        call.raw(UNUSABLE[name])
        call.close()

    service = origin(script=script)
    gw = gateway(to=service, upstream_settings={"retry": {"attempts": 1}})
    with gw.connect() as wire:
        wire.ask("/", method, body=b"x" if method == "POST" else None)
        response = wire.response(method)
        assert response.status == 502
        assert response.get("Content-Type") == "application/problem+json"
        assert "Connection" not in response.fields  # the client did nothing wrong
    line = gw.line(path="/")
    assert line["status"] == 502 and line["error"]["side"] == "upstream", line
    assert gw.metric("maitred_errors_total", error=line["error"]["word"], side="upstream") == 1
    assert gw.metric("maitred_upstream_connections_idle") == 0, "what broke the protocol is not used again"


CUT = {
    "short of its length": "Content-Length: 10\r\n\r\nhello",
    "chunks without an end": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "within a chunk": "Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "within a chunk's size": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1",
    "before the trailers' end": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "within a trailer": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    "a bad chunk size": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
    "a chunk longer than its size": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
    "a bare LF behind a chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "a bad trailer": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX Y: z\r\n\r\n",
}


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_breaks_off_is_visibly_cut(gateway, origin, name, how):
    def script(call):
        call.raw(OK + CUT[name])
        if how == "reset":
            call.origin.passed_on.wait(10)
            call.reset()
        else:
            call.close()

    import threading

    service = origin(script=script)
    service.passed_on = threading.Event()
    gw = gateway(to=service)
    with gw.connect() as wire:
        wire.ask("/cut")
        with pytest.raises((Closed, ConnectionResetError)):
            head = wire.response_head()
            assert head.status == 200
            if how == "reset":
                first = wire.chunk() if "Transfer-Encoding" in head.fields else wire.exactly(5)
                assert first == b"hello"
                service.passed_on.set()
            wire.body(head, until_close=False)
    line = gw.line(path="/cut")
    assert line["status"] == 200 and line["complete"] is False
    assert line["error"]["side"] == "upstream"
    assert gw.metric("maitred_errors_total", side="upstream") == 1


def test_an_http_1_0_client_sees_a_reset_where_the_answer_was_cut(gateway, origin):
    """Without a length or chunks only the way the connection ends can tell."""
    def script(call):
        call.raw(OK + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        call.close()

    with gateway(to=origin(script=script)).connect() as wire:
        wire.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            wire.response()


def test_an_answer_until_close_is_passed_on_in_chunks(gateway, origin):
    def script(call):
        call.raw(OK + "\r\nhello")
        call.close()

    with gateway(to=origin(script=script)).connect() as wire:
        response = wire.get("/")
        assert response.body == b"hello"
        assert response.get("Transfer-Encoding") == "chunked"
        assert wire.get("/").body == b"hello"


def test_an_answer_until_close_that_is_reset_is_cut(gateway, origin):
    import threading

    def script(call):
        call.raw(OK + "\r\nhello")
        call.origin.passed_on.wait(10)
        call.reset()

    service = origin(script=script)
    service.passed_on = threading.Event()
    with gateway(to=service).connect() as wire:
        wire.ask("/")
        head = wire.response_head()
        assert wire.chunk() == b"hello"
        service.passed_on.set()
        with pytest.raises((Closed, ConnectionResetError)):
            wire.body(head, until_close=False)


def test_an_http_1_0_answer_is_passed_on_as_1_1(gateway, origin):
    def script(call):
        call.raw("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        call.close()

    service = origin(script=script)
    with gateway(to=service).connect() as wire:
        assert wire.get("/").body == b"hello"
        assert wire.get("/").body == b"hello"
    assert len(service.wires) == 2  # 1.0 is not kept unless it says so


def test_bytes_behind_a_complete_answer_are_never_taken_for_the_next_one(gateway, origin):
    def script(call):
        if call.request.path == "/first":
            call.raw(OK + "Content-Length: 5\r\n\r\nhello" + OK + "Content-Length: 6\r\n\r\npoison")
        else:
            call.answer(200, "clean")

    service = origin(script=script)
    gw = gateway(to=service, workers=1)
    with gw.connect() as wire:
        assert wire.get("/first").body == b"hello"
        assert wire.get("/second").body == b"clean"
    assert len(service.wires) == 2


def test_an_answer_sent_unasked_on_an_idle_connection_is_thrown_away(gateway, origin):
    def on_connect(wire):
        from kit.wire import Request
        wire.head(Request)
        wire.send(OK + "Content-Length: 5\r\n\r\nhello")
        poison.wait(10)
        try:
            wire.send(OK + "Content-Length: 6\r\n\r\npoison")
            sent.set()
            while wire.some():
                pass
        finally:
            gone.set()

    import threading

    poison, sent, gone = threading.Event(), threading.Event(), threading.Event()
    service = origin(on_connect=on_connect)
    gw = gateway(to=service, workers=1)
    with gw.connect() as wire:
        assert wire.get("/").body == b"hello"
        gw.wait_for_metric(1, "maitred_upstream_connections_idle")
        poison.set()
        sent.wait(10)
        gone.wait(10)
        assert wire.get("/").body == b"hello"
    assert len(service.wires) == 2


def test_a_service_that_answers_before_it_was_asked_is_not_believed(gateway, origin):
    def on_connect(wire):
        wire.send(OK + "Content-Length: 5\r\n\r\nearly")
        while wire.some():
            pass

    gw = gateway(to=origin(on_connect=on_connect))
    response = gw.get("/")
    assert response.status in (200, 502)  # it may come before or behind our request: no one can tell
    gw.wait_for_metric(0, "maitred_upstream_connections_busy")


def test_a_reason_phrase_is_passed_on_or_replaced_but_never_breaks_the_line(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 299 Odd but (fine)\r\nContent-Length: 0\r\n\r\n")

    assert re.match(r"HTTP/1.1 299 ?", gateway(to=origin(script=script)).get("/").start)


def test_a_status_without_a_reason_is_understood(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 201\r\nContent-Length: 2\r\n\r\nok")

    assert gateway(to=origin(script=script)).get("/").status == 201


def test_date_is_the_services_own_or_added(gateway, origin):
    def script(call):
        date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" if call.request.path == "/dated" else ""
        call.raw(OK + date + "Content-Length: 0\r\n\r\n")

    gw = gateway(to=origin(script=script))
    assert gw.get("/dated").get("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert re.match(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT\Z", gw.get("/").get("Date"))


def test_an_error_answer_of_the_service_is_its_own(gateway, origin):
    def script(call):
        call.answer(503, "try later", [("Retry-After", "7")])

    gw = gateway(to=origin(script=script))
    response = gw.get("/")
    assert (response.status, response.text, response.get("Retry-After")) == (503, "try later", "7")
    assert "error" not in gw.line(path="/")


def test_a_refused_connection_is_a_502_with_its_word(gateway):
    from kit import ports

    gw = gateway(to=f"127.0.0.1:{ports.free_port()}", upstream_settings={"retry": {"attempts": 1}})
    assert gw.get("/").status == 502
    assert gw.line(path="/")["error"] == {"side": "upstream", "word": "connect_refused"}


def test_a_service_that_does_not_answer_in_time_is_a_504(gateway, origin):
    def script(call):
        call.read_body()
        assert call.wire.some() == b""  # the gateway gives up
        call.close()

    gw = gateway(to=origin(script=script), upstream_settings={"timeouts": {"response": "200ms"}})
    with gw.connect() as wire:
        assert wire.get("/").status == 504
        wire.ask("/", "POST", body=b"abc")
        assert wire.response().status == 504
    assert gw.line(path="/")["error"] == {"side": "upstream", "word": "response_timeout"}


def test_an_answer_that_stalls_in_its_body_is_cut(gateway, origin):
    def script(call):
        call.raw(OK + "Content-Length: 10\r\n\r\nhello")
        assert call.wire.some() == b""
        call.close()

    gw = gateway(to=origin(script=script), upstream_settings={"timeouts": {"body_idle": "200ms"}})
    with gw.connect() as wire:
        wire.ask("/")
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()
    assert gw.line(path="/")["error"]["word"] == "response_body_timeout"


def test_an_exchange_has_a_limit_altogether(gateway, origin):
    def script(call):
        assert call.wire.some() == b""
        call.close()

    gw = gateway(to=origin(script=script), timeouts={"exchange": "200ms"})
    assert gw.get("/").status == 504
    assert gw.line(path="/")["error"]["word"] == "exchange_timeout"


def test_a_routes_own_timeout_takes_the_place_of_the_general_one(gateway, origin):
    def script(call):
        assert call.wire.some() == b""
        call.close()

    gw = gateway(to=origin(script=script), routes=[{"proxy": "app", "timeout": "200ms"}])
    assert gw.get("/").status == 504
