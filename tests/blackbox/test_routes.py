"""Which route takes a request, and what the handlers and policies on it do."""
import json
import time

import pytest

from kit import ports
from kit.gateway import Gateway, base_config, upstream


def says(name, **match):
    """A route that answers its name."""
    return {"match": match, "respond": {"body": name}} if match else {"respond": {"body": name}}


def asked(gw, target="/", **more):
    response = gw.get(target, **more)
    return response.text if response.status == 200 else response.status


TABLE = [
    says("me", path="/users/me"), says("user", path="/users/{id}"), says("posts", path="/users/{id}/posts"),
    says("files", path="/files/{rest...}"), says("api", prefix="/api"), says("api v2", prefix="/api/v2"), says("inner", path="/{a}/x/{b}"),
    says("rest", prefix="/"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    port, admin = ports.free_port(), ports.free_port()
    gw = Gateway(tmp_path_factory.mktemp("table"), base_config(port, admin, routes=TABLE))
    gw.port, gw.admin_port = port, admin
    yield gw.start()
    gw.finish()


@pytest.mark.parametrize("target, name", [
    ("/users/me", "me"), ("/users/7", "user"), ("/users/7?x", "user"), ("/users/7/posts", "posts"), ("/users/", "rest"), ("/users", "rest"),
    ("/users/a%20b", "user"), ("/files/", "files"), ("/files/a/b/c", "files"), ("/files", "rest"), ("/api", "api"), ("/api/", "api"),
    ("/api/v1", "api"), ("/api/v2", "api v2"), ("/api/v2/x", "api v2"), ("/apix", "rest"), ("/api/v22", "api"), ("/q/x/r", "inner"),
    ("/123", "rest"), ("/", "rest"), ("/%75sers/%6de", "me"), ("/users/./me", "me"), ("/files/../users/me", "me"), ("/users//me", "me")])
def test_the_most_specific_path_wins(table, target, name):
    assert asked(table, target) == name


def test_an_escaped_slash_is_refused_unless_it_is_allowed_and_then_no_separator(gateway):
    assert asked(gateway(routes=TABLE), "/users/a%2Fb") == 400
    assert asked(gateway(routes=TABLE, limits={"escaped_slashes": True}), "/users/a%2Fb") == "user"


def test_empty_segments_are_merged_unless_they_are_kept(gateway):
    assert asked(gateway(routes=TABLE, limits={"empty_segments": True}), "/users//me") == "rest"


def test_a_regex_is_tried_after_templates_and_prefixes(gateway):
    gw = gateway(routes=[says("digits", regex="/[0-9]+"), says("word", regex="/(?<w>[a-z]+)"), says("one", path="/one"), says("any")])
    assert [asked(gw, t) for t in ("/12", "/abc", "/one", "/a1", "/")] == ["digits", "word", "one", "any", "any"]


def test_the_order_of_the_file_does_not_matter(gateway):
    gw = gateway(routes=list(reversed(TABLE)))
    assert [asked(gw, t) for t in ("/users/me", "/users/7", "/api/v2/x", "/zzz")] == ["me", "user", "api v2", "rest"]


def test_hosts_go_before_paths(gateway):
    gw = gateway(routes=[says("exact", host="a.example.com"), says("wild", host="*.example.com"), says("deep", host="*.b.example.com"),
                         says("list", host=["one.test", "two.test"]), says("any"), says("path", path="/x")])
    for host, target, name in [("a.example.com", "/x", "exact"), ("A.Example.COM:8080", "/", "exact"), ("c.example.com", "/", "wild"),
                               ("x.b.example.com", "/", "deep"), ("b.example.com", "/", "wild"), ("example.com", "/", "any"),
                               ("one.test", "/", "list"), ("two.test.", "/", "list"), ("other", "/x", "path"), ("other", "/y", "any")]:
        assert asked(gw, target, host=host) == name, host


def test_a_host_whose_routes_do_not_fit_leaves_it_to_the_next(gateway):
    gw = gateway(routes=[says("exact", host="a.example.com", path="/only"), says("wild", host="*.example.com", path="/wild"), says("any", path="/any")])
    assert [asked(gw, t, host="a.example.com") for t in ("/only", "/wild", "/any", "/none")] == ["exact", "wild", "any", 404]


def test_methods_choose_and_the_others_are_told_in_allow(gateway):
    gw = gateway(routes=[says("read", path="/x", methods=["GET"]), says("write", path="/x", methods=["POST", "PUT"])])
    assert asked(gw, "/x") == "read"
    assert asked(gw, "/x", method="POST") == "write"
    assert gw.get("/x", method="HEAD").status == 200
    response = gw.get("/x", method="DELETE")
    assert response.status == 405
    assert set(response.get("Allow").replace(" ", "").split(",")) == {"GET", "HEAD", "POST", "PUT"}
    assert gw.line(path="/x", status=405)["error"]["word"] == "method_not_allowed"
    assert gw.get("/y", method="DELETE").status == 404


def test_methods_are_no_405_when_another_route_takes_the_request(gateway):
    gw = gateway(routes=[says("get", path="/x", methods=["GET"]), says("any", prefix="/")])
    assert asked(gw, "/x", method="DELETE") == "any"


def test_headers_query_and_cookies_are_conditions(gateway):
    gw = gateway(routes=[
        says("header", path="/x", headers={"X-Version": "2"}), says("regex", path="/x", headers={"X-Version": {"regex": "3\\.[0-9]+"}}),
        says("absent", path="/y", headers={"X-Debug": {"absent": True}}), says("present", path="/y", headers={"X-Debug": {}}),
        says("query", path="/x", query={"a": "1"}), says("cookie", path="/x", cookies={"beta": "on"}),
        says("both", path="/x", headers={"X-Version": "2"}, query={"a": "1"}), says("plain", path="/x")])
    for target, fields, name in [
        ("/x", [], "plain"), ("/x", [("x-version", "2")], "header"), ("/x", [("X-Version", "3.14")], "regex"), ("/x", [("X-Version", "3.")], "plain"),
        ("/x?a=1", [], "query"), ("/x?b=2&a=%31", [], "query"), ("/x?a=2", [], "plain"), ("/x", [("Cookie", "z=1; beta=on")], "cookie"),
        ("/x", [("Cookie", "beta=off")], "plain"), ("/x?a=1", [("X-Version", "2")], "both"), ("/y", [], "absent"), ("/y", [("X-Debug", "1")], "present"),
            ("/x", [("X-Version", "1"), ("X-Version", "2")], "header")]:
        assert asked(gw, target, fields=fields) == name, (target, fields)


def test_nothing_matches_is_a_404(gateway):
    gw = gateway(routes=[says("x", path="/x")])
    assert gw.get("/y").status == 404
    line = gw.line(path="/y")
    assert line["route"] == "" and line["error"] == {"side": "client", "word": "no_route"}


def test_routes_are_logged_and_counted_by_name_or_pattern(gateway):
    gw = gateway(routes=[{"name": "the users", **says("a", path="/users/{id}")}, says("b", path="/b/{x}")])
    gw.get("/users/1")
    gw.get("/b/2")
    assert gw.line(path="/users/1")["route"] == "the users"
    assert gw.line(path="/b/2")["route"] == "/b/{x}"
    assert gw.metric("maitred_requests_total", route="the users", **{"class": "2xx"}) == 1


@pytest.mark.parametrize("target", ["/a/../secret", "/a/%2e%2e/secret", "/%2e/secret", "/./secret", "/a/b/../../secret", "/%73ecret"])
def test_a_route_that_guards_cannot_be_walked_around(gateway, origin, target):
    service = origin()
    gw = gateway(to=service, routes=[{"match": {"prefix": "/secret"}, "respond": 403}, {"match": {"prefix": "/"}, "proxy": "app"}])
    assert gw.get(target).status in (400, 403)
    assert service.requests == []


@pytest.mark.parametrize("target", ["/..", "/../secret", "/a/../../b", "/%2e%2e/x"])
def test_a_path_above_the_root_never_reaches_a_service_as_such(gateway, origin, target):
    service = origin()
    gw = gateway(to=service)
    assert gw.get(target).status in (200, 400)
    for request in service.requests:
        assert ".." not in request.target.replace("%2e", ".").replace("%2E", ".")


# ---- handlers ----


@pytest.mark.parametrize("redirect, target, status, location", [
    ("/new", "/old/a", 307, "/new"), ({"to": "/new", "status": 301}, "/old/a?q=1", 301, "/new?q=1"),
    ({"to": "/new/{rest}"}, "/old/a/b?x", 307, None), ({"to": "/new/{rest...}"}, "/old/a/b?x", 307, "/new/a/b?x"),
    ({"to": "https://{host}{path}", "status": 308}, "/old/a?x=y", 308, "https://gateway.test/old/a?x=y"),
    ({"to": "/new?{query}"}, "/old/a?x=y", 307, "/new?x=y"), ({"to": "/new", "keep_query": False}, "/old/a?x=y", 307, "/new"),
    ({"to": "/new", "status": 303}, "/old/a", 303, "/new")])
def test_a_redirect_says_where_to(gateway, redirect, target, status, location):
    gw = gateway(routes=[{"match": {"path": "/old/{rest...}"}, "redirect": redirect}])
    response = gw.get(target)
    assert response.status == status
    assert location is None or response.get("Location") == location


def test_a_redirect_cannot_be_led_astray_by_what_it_captured(gateway):
    gw = gateway(routes=[{"match": {"path": "/to/{where}"}, "redirect": "/{where}"}, {"match": {"path": "/all/{rest...}"}, "redirect": "/{rest...}"}])
    for target in ("/to/%2Fevil.test", "/all//evil.test", "/all/%2Fevil.test", "/to/%5Cevil.test", "/to/a%0d%0aSet-Cookie:x"):
        response = gw.get(target)
        assert response.status in (307, 400), target
        if response.status == 307:
            assert not response.get("Location").startswith(("//", "/\\")), (target, response.get("Location"))
            assert "Set-Cookie" not in response.fields


def test_a_fixed_answer_has_its_status_fields_and_body(gateway):
    gw = gateway(routes=[{"match": {"path": "/closed"}, "respond": {
        "status": 503, "content_type": "application/json", "body": '{"error": "closed"}', "headers": {"Retry-After": "3600"}}},
        {"match": {"path": "/empty"}, "respond": 204}, {"match": {"path": "/ok"}, "respond": {}}])
    response = gw.get("/closed")
    assert (response.status, response.get("Content-Type"), response.get("Retry-After")) == (503, "application/json", "3600")
    assert json.loads(response.body) == {"error": "closed"}
    assert gw.get("/empty").status == 204
    response = gw.get("/ok")
    assert response.status == 200 and response.body == b"" and "Content-Type" not in response.fields


# ---- the headers policy ----


def edited(gateway, origin, edits, request=(), response=()):
    def script(call):
        call.answer(200, "x", response)

    service = origin(script=script)
    gw = gateway(to=service, routes=[{"proxy": "app", "policies": [{"headers": edits}]}])
    got = gw.get("/", fields=list(request))
    return service.requests[0].fields, got.fields


def test_fields_are_set_added_removed_and_renamed_in_both_directions(gateway, origin):
    up, down = edited(gateway, origin, {
        "request": {"remove": "X-Gone", "rename": {"X-Old": "X-New"}, "set": {"X-Set": "s", "X-Had": "new"}, "add": {"X-Add": ["1", "2"]}},
        "response": {"remove": ["Server", "X-Powered-By"], "rename": {"X-In": "X-Out"}, "set": {"X-Frame": "deny"}, "add": {"Link": "</a>"}}},
        request=[("X-Gone", "1"), ("x-gone", "2"), ("X-Old", "o1"), ("X-Old", "o2"), ("X-Had", "a"), ("X-Had", "b"), ("X-Add", "0")],
        response=[("Server", "secret/1.0"), ("X-Powered-By", "y"), ("X-In", "i"), ("Link", "</b>")])
    assert "X-Gone" not in up and "X-Old" not in up
    assert up.all("X-New") == ["o1", "o2"] and up.all("X-Had") == ["new"] and up.all("X-Set") == ["s"]
    assert up.all("X-Add") == ["0", "1", "2"]
    assert "Server" not in down and "X-Powered-By" not in down and "X-In" not in down
    assert down.all("X-Out") == ["i"] and down.all("X-Frame") == ["deny"] and down.all("Link") == ["</b>", "</a>"]


def test_the_host_can_be_set_on_a_request(gateway, origin):
    up, _ = edited(gateway, origin, {"request": {"set": {"Host": "inner.test"}}})
    assert up.all("Host") == ["inner.test"]


def test_a_response_policy_shapes_local_answers_too(gateway):
    gw = gateway(policies=[{"headers": {"response": {"set": {"X-Everywhere": "yes"}}}}], routes=[says("x", path="/x")])
    assert gw.get("/x").get("X-Everywhere") == "yes"


def test_policies_run_in_order_on_the_request_and_in_reverse_on_the_response(gateway, origin):
    add = lambda name: {"headers": {"request": {"add": {"X-Way": name}}, "response": {"add": {"X-Way": name}}}}
    service = origin()
    gw = gateway(to=service, policies=[add("outer")], routes=[{"proxy": "app", "policies": [add("first"), add("second")]}])
    response = gw.get("/")
    assert service.requests[0].fields.all("X-Way") == ["outer", "first", "second"]
    assert response.fields.all("X-Way") == ["second", "first", "outer"]


# ---- many ----


@pytest.mark.slow
def test_ten_thousand_routes_load_match_and_reload(gateway, origin):
    service = origin()
    many = [{"match": {"path": f"/service/{i}/items/{{id}}"}, "proxy": {"upstream": "app", "path": "/items/{id}"}} for i in range(10000)]
    gw = gateway(upstreams={"app": upstream(service)}, routes=many)
    with gw.connect() as wire:
        for i in (0, 1, 4999, 9999):
            assert wire.get(f"/service/{i}/items/{i}").status == 200
            assert service.requests[-1].target == f"/items/{i}"
        assert wire.get("/service/10000/items/1").status == 404
        gw.reload()
        assert wire.get("/service/9999/items/1").status == 200
    started = time.monotonic()
    gw.admin("/metrics")
    assert time.monotonic() - started < 20
