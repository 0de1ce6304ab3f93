"""API keys: where they stand, who they are, when they are good, and what services see of them."""
import hashlib
import json

import pytest

from kit.gateway import run, upstream
from kit.wire import connect

KEY, OTHER = "k-0123456789abcdef", "o-0123456789abcdef"


def digest(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def consumers(**more):
    return {"shop": {"groups": ["partners", "eu"], "attributes": {"plan": "gold"},
                     "api_keys": [{"id": "shop-1", "hash": digest(KEY)}, {"key": OTHER}]}, **more}


@pytest.fixture
def keyed(gateway, origin):
    def start(settings=None, known=None, **more):
        service = origin()
        gw = gateway(upstreams={"app": upstream(service)}, consumers=consumers() if known is None else known,
                     routes=[{"match": {"prefix": "/"}, "policies": [{"api_key": settings or {}}], "proxy": "app"}], **more)
        return gw, service
    return start


def test_a_key_is_known_by_its_hash_and_does_not_reach_the_service(keyed):
    gw, service = keyed({"consumer_headers": {"X-Consumer": "consumer", "X-Groups": "groups", "X-Key": "credential"}})
    assert gw.get("/", fields=[("x-api-key", KEY)]).status == 200
    request = service.requests[-1]
    assert "X-Api-Key" not in request.fields
    assert [request.get(n) for n in ("X-Consumer", "X-Groups", "X-Key")] == ["shop", "partners,eu", "shop-1"]
    assert gw.get("/", fields=[("X-Api-Key", OTHER)]).status == 200
    assert service.requests[-1].get("X-Key") == "shop-2"
    assert gw.line(consumer="shop")["status"] == 200
    assert gw.metric("maitred_authentications_total", policy="api_key", outcome="accepted") == 2


def test_without_a_key_or_with_a_wrong_one_it_is_401_with_a_challenge(keyed):
    gw, service = keyed()
    wrong = [[], [("X-Api-Key", KEY[:-1])], [("X-Api-Key", KEY + "x")], [("X-Api-Key", "")], [("X-Api-Key", "k" * 5000)],
             [("X-Api-Key", b"\xff\xfe".decode("latin-1") * 9)], [("X-Api-Key", KEY.upper())], [("X-Api-Key", hashlib.sha256(KEY.encode()).hexdigest())]]
    for fields in wrong:
        response = gw.get("/", fields=fields)
        assert response.status == 401, fields
        assert response.get("WWW-Authenticate") == 'ApiKey realm="maitred", in="header", name="X-Api-Key"'
        assert KEY not in response.text
    assert not service.requests


def test_two_keys_are_no_key_even_when_both_are_good(keyed):
    gw, service = keyed()
    assert gw.get("/", fields=[("X-Api-Key", KEY), ("x-api-key", OTHER)]).status == 401
    assert gw.get("/", fields=[("X-Api-Key", KEY), ("x-api-key", KEY)]).status == 401
    assert gw.line(access="there is more than one key")
    assert not service.requests


def test_what_a_client_claims_to_be_never_reaches_the_service(keyed):
    gw, service = keyed({"required": False, "consumer_headers": {"X-Consumer": "consumer"}}, limits={"underscores_in_names": True})
    spoofed = [("X-Consumer", "root"), ("x-consumer", "root"), ("X_Consumer", "root")]
    assert gw.get("/", fields=spoofed).status == 200
    assert "root" not in str(service.requests[-1].fields)
    assert gw.get("/", fields=[*spoofed, ("X-Api-Key", KEY)]).status == 200
    assert service.requests[-1].fields.all("X-Consumer") == ["shop"] and "root" not in str(service.requests[-1].fields)
    assert gw.get("/", method="OPTIONS", fields=[*spoofed, ("Origin", "https://a.test"), ("Access-Control-Request-Method", "GET")]).status == 200
    assert "root" not in str(service.requests[-1].fields)


def test_what_a_client_claims_to_be_in_trailers_never_reaches_the_service(keyed):
    gw, service = keyed({"consumer_headers": {"X-Consumer": "consumer"}})
    head = f"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX-Api-Key: {KEY}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Consumer\r\n\r\n"
    body = "3\r\nabc\r\n0\r\nX-Consumer: root\r\nX-Other: kept\r\n\r\n"
    for parts in ((head + body,), (head, body), (head, body[:20], body[20:])):
        with gw.connect() as wire:
            for part in parts:
                wire.send(part)
            assert wire.response("POST").status == 200
        assert service.requests[-1].trailers == [("X-Other", "kept")] and service.requests[-1].get("X-Consumer") == "shop"


def test_an_anonymous_request_goes_on_when_no_key_is_required_but_a_wrong_key_does_not(keyed):
    gw, service = keyed({"required": False})
    assert gw.get("/").status == 200
    assert gw.get("/", fields=[("X-Api-Key", "no such key at all")]).status == 401
    assert len(service.requests) == 1


def test_a_key_in_the_query_is_found_however_it_is_written_and_is_in_no_log(keyed):
    gw, service = keyed({"in": "query api_key"})
    assert gw.get(f"/a?x=%31&api_key={KEY}&y=2").status == 200
    assert service.requests[-1].target == "/a?x=%31&y=2"
    assert gw.get(f"/b?%61pi%5Fkey={KEY[:1]}%2D{KEY[2:]}").status == 200
    assert service.requests[-1].target == "/b"
    for target in (f"/c?api_key={KEY}&%61pi_key={OTHER}", "/c?api_key=", "/c?api_key", f"/c?API_KEY={KEY}"):
        assert gw.get(target).status == 401, target
    lines = gw.lines(4, path="/c")
    assert "0123456789abcdef" not in json.dumps([l for l in lines if "API_KEY" not in l.get("query", "")])
    assert gw.line(path="/a")["query"] == "x=%31&y=2" and "query" not in gw.line(path="/b")


def test_a_key_in_a_cookie_and_behind_a_scheme(keyed):
    gw, service = keyed({"in": "cookie key"})
    assert gw.get("/", fields=[("Cookie", f"a=1; key={KEY}; b=2")]).status == 200
    assert service.requests[-1].get("Cookie") == "a=1; b=2"
    assert gw.get("/", fields=[("Cookie", f"key={KEY}; key={OTHER}")]).status == 401
    gw, service = keyed({"in": "authorization Token"})
    assert gw.get("/", fields=[("Authorization", f"token  {KEY}")]).status == 200
    assert "Authorization" not in service.requests[-1].fields
    assert gw.get("/", fields=[("Authorization", f"Bearer {KEY}")]).get("WWW-Authenticate") == 'Token realm="maitred"'
    assert gw.get("/", fields=[("Authorization", f"Token {KEY}"), ("Authorization", "Bearer x")]).status == 401


def test_a_key_is_sent_on_when_that_is_asked_for(keyed):
    gw, service = keyed({"forward": True})
    assert gw.get("/", fields=[("X-Api-Key", KEY)]).status == 200
    assert service.requests[-1].get("X-Api-Key") == KEY


def test_keys_have_their_time_and_only_the_log_says_so(keyed):
    gw, service = keyed(known={"shop": {"api_keys": [
        {"id": "old", "hash": digest(KEY), "expires": "2020-02-29"},
        {"id": "new", "hash": digest(OTHER), "not_before": "2020-02-29T10:00:00Z", "expires": "2999-12-31"},
        {"id": "next", "key": "n-0123456789abcdef", "not_before": "2999-01-01"}]}})
    answers = [gw.get("/", fields=[("X-Api-Key", key)]) for key in (KEY, OTHER, "n-0123456789abcdef", "unknown-0123456789")]
    assert [a.status for a in answers] == [401, 200, 401, 401]
    bodies = [{**json.loads(a.text), "instance": ""} for a in (answers[0], answers[2], answers[3])]
    assert bodies[0] == bodies[1] == bodies[2]
    assert gw.line(access="the key old has expired")["status"] == 401
    assert gw.line(access="the key next is not good yet")
    assert gw.metric("maitred_authentications_total", outcome="expired") == 2


def test_a_reload_that_removes_a_consumer_is_in_force_for_the_next_request_of_a_connection(keyed):
    gw, service = keyed(known=consumers(spare={"api_keys": [{"key": "s-0123456789abcdef"}]}))
    with gw.connect() as wire:
        assert wire.get("/", fields=[("X-Api-Key", "s-0123456789abcdef")]).status == 200
        gw.reload({**gw.config, "consumers": consumers()})
        assert wire.get("/", fields=[("X-Api-Key", "s-0123456789abcdef")]).status == 401
        assert wire.get("/", fields=[("X-Api-Key", KEY)]).status == 200
        gw.reload({**gw.config, "revoked": {"jti": ["shop-1"]}})
        assert wire.get("/", fields=[("X-Api-Key", KEY)]).status == 401
        assert wire.get("/", fields=[("X-Api-Key", OTHER)]).status == 200
    assert gw.line(access="the credential is revoked")


def test_mistakes_are_told_with_what_to_do(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text(json.dumps({
        "listeners": ["127.0.0.1:8080"],
        "consumers": {"a": {"api_keys": [{"hash": "sha256:12"}, {"key": "short"}, {"id": "none"}, {"hash": digest(KEY), "expires": "2027-02-30"}]},
                      "b": {"certificates": [{"san": "b.test"}, {}], "basic": {"username": "u:x", "password_hash": "*secret"}},
                      "c": {"certificates": [{"fingerprint": "zz"}]}, "d": {"groups": ["a,b"]}},
        "routes": [{"policies": [{"api_key": {"in": "header Authorization"}}, {"api_key": {"in": "body x"}},
                                 {"api_key": {"consumer_headers": {"Host": "consumer"}}}], "respond": 200}]}))
    result = run("check", config)
    assert result.returncode == 3
    for told in ("expected `sha256:`", "from 16 to 512 bytes", "either `hash` or `key`", "expected a time of UTC", "`DNS:b.test`",
                 "one of `subject`", "no `:`", "no hash of crypt(3)", "no comma", "64 hexadecimal digits", "`authorization SCHEME`", "expected `header NAME`"):
        assert told in result.stderr, (told, result.stderr)


def test_a_key_of_two_consumers_and_a_field_with_a_meaning_are_mistakes(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text(json.dumps({
        "listeners": ["127.0.0.1:8080"],
        "consumers": {"a": {"api_keys": [{"hash": digest(KEY)}]}, "b": {"api_keys": [{"key": KEY}]}},
        "routes": [{"policies": [{"api_key": {"consumer_headers": {"Host": "consumer"}}}, {"api_key": {"realm": 'a"b'}}], "respond": 200}]}))
    result = run("check", config)
    assert result.returncode == 3 and KEY not in result.stderr
    for told in ("an API key of `b` stands here a second time", "`Host` has a meaning of its own", "a realm has printable"):
        assert told in result.stderr, (told, result.stderr)
