"""Requests that could mean two things, or are too large: refused, told apart, counted, and never forwarded.

Each row of the table is the bytes of one request, the status that answers it and the word for the reason.
"""
import pytest

from kit import ports
from kit.gateway import Gateway, base_config, upstream
from kit.origin import Origin

HEAD = "POST / HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    # framing
    "a length and chunked": (HEAD + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "length_and_chunked"),
    "chunked and a length": (HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, "length_and_chunked"),
    "two lengths": (HEAD + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "bad_content_length"),
    "two equal lengths": (HEAD + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "bad_content_length"),
    "a list of lengths": (HEAD + "Content-Length: 3, 3\r\n\r\nabc", 400, "bad_content_length"),
    "a signed length": (HEAD + "Content-Length: +3\r\n\r\nabc", 400, "bad_content_length"),
    "a negative length": (HEAD + "Content-Length: -1\r\n\r\n", 400, "bad_content_length"),
    "a hexadecimal length": (HEAD + "Content-Length: 0x3\r\n\r\nabc", 400, "bad_content_length"),
    "a length with an underscore": (HEAD + "Content-Length: 1_0\r\n\r\nabc", 400, "bad_content_length"),
    "a length with a blank inside": (HEAD + "Content-Length: 1 0\r\n\r\nabc", 400, "bad_content_length"),
    "an empty length": (HEAD + "Content-Length: \r\n\r\nabc", 400, "bad_content_length"),
    "a length of words": (HEAD + "Content-Length: three\r\n\r\nabc", 400, "bad_content_length"),
    "a length past 63 bits": (HEAD + "Content-Length: 9223372036854775808\r\n\r\n", 400, "bad_content_length"),
    "a length past 64 bits": (HEAD + "Content-Length: 18446744073709551619\r\n\r\nabc", 400, "bad_content_length"),
    "a length of many zeros": (HEAD + "Content-Length: 00000000000000000000003\r\n\r\nabc", 400, "bad_content_length"),
    "a length in other digits": (HEAD + "Content-Length: \xb2\r\n\r\nabc", 400, "bad_content_length"),
    "chunked not last": (HEAD + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "chunked twice": (HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "two codings in two lines": (HEAD + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    "chunked in two lines": (HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "identity": (HEAD + "Transfer-Encoding: identity\r\n\r\n", 400, "bad_transfer_encoding"),
    "an unknown coding alone": (HEAD + "Transfer-Encoding: gzip\r\n\r\n", 400, "bad_transfer_encoding"),
    "an unknown coding before chunked": (HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "unknown_transfer_coding"),
    "chunked in quotes": (HEAD + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400, "bad_transfer_encoding"),
    "chunked with a parameter": (HEAD + "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "xchunked": (HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "chunked behind a vertical tab": (HEAD + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, None),
    "an empty coding": (HEAD + "Transfer-Encoding: \r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    "chunked in HTTP/1.0": ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
    # what Connection may not name
    "Connection names the length": (HEAD + "Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", 400, "bad_field"),
    "Connection names the coding": (HEAD + "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_field"),
    "Connection names Host": (HEAD + "Connection: Host\r\n\r\n", 400, "bad_field"),
    # lines
    "a bare LF behind the request line": ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bad_line_end"),
    "a bare LF behind a field": ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "bad_line_end"),
    "bare LFs everywhere": ("GET / HTTP/1.1\nHost: a\n\n", 400, "bad_line_end"),
    "a bare LF as the last line": ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bad_line_end"),
    "a bare CR in a field": ("GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n", 400, "bad_line_end"),
    "a bare CR in the request line": ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400, None),
    "CR CR LF": ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400, "bad_line_end"),
    "a NUL in a value": ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "bad_field"),
    "a NUL in a name": ("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: ab\r\n\r\n", 400, "bad_field"),
    "a NUL in the target": ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "a DEL in a value": ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400, "bad_field"),
    "an escape in a value": ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x1bb\r\n\r\n", 400, "bad_field"),
    "a folded field": ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, "obs_fold"),
    "a folded field by a tab": ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", 400, "obs_fold"),
    "a folded coding": (HEAD + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, None),
    "a blank before the first field": ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "obs_fold"),
    "a blank before the colon": (HEAD + "Content-Length : 3\r\n\r\nabc", 400, "bad_field"),
    "a tab before the colon": (HEAD + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400, "bad_field"),
    "a blank in a name": (HEAD + "X Y: z\r\n\r\n", 400, "bad_field"),
    "no name": (HEAD + ": z\r\n\r\n", 400, "bad_field"),
    "no colon": (HEAD + "Nonsense\r\n\r\n", 400, "bad_field"),
    "a name in quotes": (HEAD + '"X": z\r\n\r\n', 400, "bad_field"),
    "a name beyond ASCII": (HEAD + "X\xe4: z\r\n\r\n", 400, "bad_field"),
    # the request line
    "no version": ("GET /\r\nHost: a\r\n\r\n", 400, None),
    "two blanks before the target": ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "two blanks before the version": ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "a blank behind the version": ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, None),
    "a tab as separator": ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "a blank in the target": ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "a blank before the method": (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "a method that is no token": ("GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_method"),
    "a fragment in the target": ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "a target beyond ASCII": ("GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "a target without a slash": ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "an asterisk for GET": ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "another scheme": ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "user information": ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "an empty authority": ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    "HTTP/0.9": ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
    "HTTP/1.2": ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
    "HTTP/2.0": ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
    "the preface of HTTP/2 with a field": ("PRI * HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unsupported_version"),
    "a version in small letters": ("GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad_version"),
    "a version with two digits": ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "bad_version"),
    "a TLS hello": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400, None),
    # Host
    "no Host": ("GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, "bad_host"),
    "two Hosts": ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
    "two equal Hosts": ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_host"),
    "two Hosts in one": ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad_host"),
    "an empty Host": ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
    "a Host with a path": ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    "a Host with a user": ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "bad_host"),
    "a Host with a bad port": ("GET / HTTP/1.1\r\nHost: a:port\r\n\r\n", 400, "bad_host"),
    "a Host with a blank": ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"),
    "two Hosts in HTTP/1.0": ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
    "no Host beside the absolute form": ("GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_host"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One gateway for the whole table: what is refused leaves nothing behind."""
    service = Origin()
    folder = tmp_path_factory.mktemp("refused")
    port, admin = ports.free_port(), ports.free_port()
    limits = {"head": "4KiB", "target": "1KiB", "fields": 16, "body": "10000"}
    gw = Gateway(folder, base_config(port, admin, upstreams={"app": upstream(service)}, routes=[{"proxy": "app"}], limits=limits))
    gw.port, gw.admin_port, gw.service = port, admin, service
    gw.start()
    yield gw
    gw.finish()
    service.stop()
    assert service.faults == []


def refuse(gw, request, status, word):
    """Sends the bytes; the answer, its reason, the log, the counter and the closed connection are as they must be."""
    before = gw.metrics()["maitred_errors_total"]
    seen, since = len(gw.service.requests), len(gw.access.items)
    with gw.connect(source="127.0.0.2") as wire:
        wire.send(request)
        response = wire.response()
        assert response.status == status, (response.start, response.body)
        assert response.get("Connection") == "close"
        assert response.get("Content-Type") == "application/problem+json"
        assert wire.is_closed()
        peer = "%s:%d" % wire.sock.getsockname()
    line = gw.line(peer=peer, since=since)  # ports are used again
    assert line["status"] == status
    assert line["error"]["side"] == "client"
    assert word is None or line["error"]["word"] == word, line["error"]
    word = line["error"]["word"]
    count = lambda series: sum(v for labels, v in series if labels["error"] == word)
    assert count(gw.metrics()["maitred_errors_total"]) == count(before) + 1
    assert len(gw.service.requests) == seen, "it was forwarded"


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(shared, name):
    refuse(shared, *REFUSED[name])


@pytest.mark.parametrize("name", ["a length and chunked", "a bare LF behind a field", "a folded field", "no Host"])
def test_what_stands_behind_a_refused_request_is_never_read(shared, name):
    request, status, word = REFUSED[name]
    refuse(shared, request + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", status, word)


@pytest.mark.parametrize("name", ["a length and chunked", "two lengths", "a bare LF behind a field", "a NUL in a value", "a blank before the colon",
                                  "two blanks before the version", "two Hosts", "a TLS hello"])
def test_it_is_refused_in_whatever_pieces_it_comes(shared, name):
    request, status, word = REFUSED[name]
    with shared.connect() as wire:
        try:
            wire.send_bytewise(request)
        except ConnectionError:
            pass  # it was refused before its last byte
        assert wire.response().status == status


@pytest.mark.parametrize("name", ["a length and chunked", "a folded field", "no Host", "a bare LF behind a field"])
def test_a_good_request_in_front_of_it_is_answered_first(shared, name):
    request, status, word = REFUSED[name]
    with shared.connect() as wire:
        wire.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\n" + request)
        assert wire.response().status == 200
        assert wire.response().status == status
        assert wire.is_closed()


BAD_CHUNKS = {
    "no size": "\r\n",
    "a size that is no number": "x\r\n",
    "a signed size": "+3\r\nabc\r\n0\r\n\r\n",
    "a negative size": "-1\r\n",
    "a size with 0x": "0x3\r\nabc\r\n0\r\n\r\n",
    "a blank before the size": " 3\r\nabc\r\n0\r\n\r\n",
    "a blank behind the size": "3 \r\nabc\r\n0\r\n\r\n",
    "an underscore in the size": "1_0\r\n",
    "a size past 63 bits": "8000000000000000\r\n",
    "a size past 64 bits": "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a size of many digits": "0000000000000000000003\r\nabc\r\n0\r\n\r\n",
    "a bare LF behind the size": "3\nabc\r\n0\r\n\r\n",
    "a bare CR behind the size": "3\rabc\r\n0\r\n\r\n",
    "a bare LF behind the data": "3\r\nabc\n0\r\n\r\n",
    "data longer than the size": "3\r\nabcd\r\n0\r\n\r\n",
    "data shorter than the size": "3\r\nab\r\n0\r\n\r\n",
    "a bare LF in an extension": "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a NUL in an extension": "3;a\0b\r\nabc\r\n0\r\n\r\n",
    "an extension without end": "3;" + "a" * 5000 + "\r\nabc\r\n0\r\n\r\n",
    "a comma behind the size": "3,a\r\nabc\r\n0\r\n\r\n",
    "a bare LF behind the last chunk": "0\n\r\n",
    "a bad trailer": "0\r\nX Y: z\r\n\r\n",
    "a folded trailer": "0\r\nX: y\r\n z\r\n\r\n",
    "a bare LF in the trailers": "0\r\nX: y\n\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
@pytest.mark.parametrize("first", ["", "5\r\nhello\r\n"], ids=["at once", "behind a good chunk"])
def test_a_malformed_chunk_is_refused_and_never_completes_at_the_service(shared, name, first):
    since = len(shared.access.items)
    with shared.connect(source="127.0.0.3") as wire:
        wire.send(HEAD.replace("/", "/chunks", 1), "Transfer-Encoding: chunked\r\n\r\n", first + BAD_CHUNKS[name])
        response = wire.response()
        assert response.status == 400, (response.start, response.body)
        assert response.get("Connection") == "close"
        assert wire.is_closed()
        peer = "%s:%d" % wire.sock.getsockname()
    assert shared.line(peer=peer, since=since)["error"]["side"] == "client"
    assert all(r.body is None for r in shared.service.requests if r.path == "/chunks"), "its end was forwarded"


def padded(size, head="GET / HTTP/1.1\r\nHost: a\r\nX: "):
    return head + "x" * (size - len(head) - 4) + "\r\n\r\n"


TOO_LARGE = {
    "one large field": (padded(5000), 431, "head_too_large"),
    "a field without end": ("GET / HTTP/1.1\r\nHost: a\r\nX: " + "x" * 20000, 431, "head_too_large"),
    "too many fields": ("GET / HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 20 + "\r\n", 431, "head_too_large"),
    "a long target": (f"GET /{'x' * 1100} HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target_too_long"),
    "a long query": (f"GET /?{'x' * 1100} HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target_too_long"),
    "a target without end": (f"GET /{'x' * 10000}", 414, "target_too_long"),
    "a body longer than allowed": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n\r\n", 413, "body_too_large"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_refused(shared, name):
    refuse(shared, *TOO_LARGE[name])


def test_a_chunked_body_that_grows_too_large_is_refused_with_413(shared):
    with shared.connect(source="127.0.0.4") as wire:
        wire.send(HEAD.replace("/", "/grows", 1), "Transfer-Encoding: chunked\r\n\r\n", "1000\r\n" + "x" * 4096 + "\r\n")
        wire.send(("1000\r\n" + "x" * 4096 + "\r\n") * 2)
        response = wire.response()
        assert response.status == 413
    assert shared.line(path="/grows")["error"]["word"] == "body_too_large"
    assert all(r.body is None for r in shared.service.requests if r.path == "/grows")


def test_what_is_just_small_enough_is_served(shared):
    with shared.connect() as wire:
        wire.send(padded(4096))
        assert wire.response().status == 200
        wire.send(f"GET /{'x' * 1023} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 200
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 15 + "\r\n")
        assert wire.response().status == 200
        wire.ask("/", "POST", body=b"x" * 10000)
        assert wire.response().status == 200


GOOD = {
    "zeros in front of a length": (HEAD + "Content-Length: 003\r\n\r\nabc", "abc"),
    "chunked in capitals": (HEAD + "Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    "no blank behind the colon": (HEAD + "Content-Length:3\r\n\r\nabc", "abc"),
    "blanks around a value": (HEAD + "Content-Length: \t 3 \t\r\n\r\nabc", "abc"),
    "a size in capitals": (HEAD + "Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    "an empty value": ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", ""),
    "a value beyond ASCII": ("GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n", ""),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_unusual_but_means_one_thing_is_served(shared, name):
    request, body = GOOD[name]
    with shared.connect() as wire:
        wire.send(request)
        response = wire.response()
        assert response.status == 200, response.body
    assert shared.service.requests[-1].body.decode() == body


def test_fields_with_underscores_are_dropped_unless_allowed(gateway, origin):
    service = origin()
    gateway(to=service).get("/", fields=[("X_Id", "1"), ("X-Id", "2")])
    gateway(to=service, limits={"underscores_in_names": True}).get("/", fields=[("X_Id", "1")])
    assert "X_Id" not in service.requests[0].fields and service.requests[0].get("X-Id") == "2"
    assert service.requests[1].get("X_Id") == "1"
