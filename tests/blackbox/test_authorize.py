"""Who may do what: the first rule that fits, 401 and 403, the log, revocations."""
import json

import pytest

from kit.gateway import run, upstream

KEYS = {name: f"{name}-0123456789abcdef" for name in ("root", "reader", "guest")}
CONSUMERS = {
    "root": {"groups": ["admins", "staff"], "attributes": {"plan": "gold", "tags": '["a", "b"]'}, "api_keys": [{"id": "root-1", "key": KEYS["root"]}]},
    "reader": {"groups": ["staff"], "attributes": {"plan": "silver"}, "api_keys": [{"key": KEYS["reader"]}]},
    "guest": {"api_keys": [{"key": KEYS["guest"]}]},
}


@pytest.fixture
def ruled(gateway):
    def start(rules, default="deny", required=False, **more):
        gw = gateway(consumers=CONSUMERS, routes=[{"match": {"prefix": "/"}, "respond": 204, "policies": [
            {"api_key": {"required": required}}, {"authorize": {"rules": rules, "default": default}}]}], **more)

        def ask(who=None, path="/", method="GET", fields=()):
            return gw.get(path, method=method, fields=[*fields, *([("X-Api-Key", KEYS[who])] if who else [])]).status
        return gw, ask
    return start


def test_the_first_rule_that_fits_decides_and_the_log_says_which(ruled):
    gw, ask = ruled([{"deny": {"paths": ["/closed"]}}, {"allow": {"consumers": ["root"]}}, {"deny": {"groups": ["staff"], "methods": ["DELETE"]}},
                     {"allow": {"groups": "staff"}}])
    assert [ask("root"), ask("root", "/closed"), ask("root", method="DELETE")] == [204, 403, 204]
    assert [ask("reader"), ask("reader", method="DELETE"), ask("guest")] == [204, 403, 403]
    assert ask() == 401 and ask(path="/closed") == 403
    told = [line["access"] for line in gw.lines(8)]
    assert sorted(told) == sorted(["rules[1] allows it", "rules[0] denies it", "rules[1] allows it", "rules[3] allows it", "rules[2] denies it",
                    "no rule fits", "no rule fits", "rules[0] denies it"])
    assert gw.metric("maitred_authorizations_total", decision="denied") == 4
    assert gw.metric("maitred_authorizations_total", decision="unauthenticated") == 1


def test_nobody_is_asked_who_they_are_where_it_would_not_help(ruled):
    gw, ask = ruled([{"allow": {"paths": ["/mine/*"], "groups": ["staff"]}}, {"allow": {"paths": ["/public"]}}])
    assert [ask(), ask(path="/public"), ask(path="/mine"), ask(path="/mine/x")] == [403, 204, 401, 401]
    response = gw.get("/mine")
    assert response.get("WWW-Authenticate") == 'ApiKey realm="maitred", in="header", name="X-Api-Key"'
    assert [ask("reader", "/mine/x"), ask("guest", "/mine"), ask("reader", "/minex")] == [204, 403, 403]


def test_paths_are_what_services_see(ruled):
    gw, ask = ruled([{"deny": {"paths": ["/admin/*"]}}], default="allow")
    denied = ["/admin", "/admin/", "/admin/x", "/%61dmin/x", "/a/../admin", "//admin", "/./admin/x"]
    assert [ask(path=p) for p in denied] == [403] * len(denied)
    assert [ask(path=p) for p in ("/administrator", "/", "/ADMIN")] == [204] * 3


def test_groups_claims_and_addresses(ruled):
    gw, ask = ruled([{"allow": {"all_groups": ["staff", "admins"], "paths": ["/both"]}}, {"allow": {"claims": {"plan": ["gold", "silver"]}, "paths": ["/plan"]}},
                     {"allow": {"claims": {"tags": "b"}, "paths": ["/tags"]}}, {"allow": {"addresses": ["10.0.0.0/8", "2001:db8::/32"], "paths": ["/net"]}},
                     {"allow": {"scopes": ["x"], "paths": ["/scoped"]}}], forwarding={"trusted": ["127.0.0.1"]})
    assert [ask(w, "/both") for w in KEYS] == [204, 403, 403]
    assert [ask(w, "/plan") for w in KEYS] == [204, 204, 403]
    assert [ask(w, "/tags") for w in KEYS] == [204, 403, 403]
    assert ask("root", "/scoped") == 403
    assert ask(path="/net") == 403
    for address, status in (("10.1.2.3", 204), ("11.1.2.3", 403), ("2001:db8::1", 204), ("::ffff:10.1.2.3", 204)):
        assert ask(path="/net", fields=[("X-Forwarded-For", address)]) == status, address


def test_a_preflight_passes(ruled):
    gw, ask = ruled([{"allow": {"groups": ["staff"]}}], required=True)
    assert ask(method="OPTIONS") == 401
    assert ask(method="OPTIONS", fields=[("Origin", "https://a.test"), ("Access-Control-Request-Method", "PUT")]) == 204


def test_a_revocation_is_in_force_with_the_reload(ruled):
    gw, ask = ruled([{"allow": {}}])
    assert [ask("root"), ask("reader"), ask()] == [204, 204, 204]
    gw.reload({**gw.config, "revoked": {"jti": "root-1", "sub": ["nobody"]}})
    assert [ask("root"), ask("reader"), ask()] == [401, 204, 204]


def test_mistakes_in_rules_are_told(tmp_path):
    config = tmp_path / "x.yaml"

    def told(rules):
        config.write_text(json.dumps({"listeners": ["127.0.0.1:8080"], "routes": [{"policies": [{"authorize": rules}], "respond": 200}]}))
        result = run("check", config)
        assert result.returncode == 3
        return result.stderr
    assert "either `allow` or `deny`" in told([{}]) and "either `allow` or `deny`" in told([{"allow": {}, "deny": {}}])
    for path in ("admin", "/a*", "/a?b", "/%zz", "*"):
        assert "expected a path such as" in told([{"allow": {"paths": [path]}}]), path
    assert "10.0.0.1/8" in told([{"allow": {"addresses": ["10.0.0.1/8"]}}])
    assert "group" in told([{"allow": {"grops": ["a"]}}])
