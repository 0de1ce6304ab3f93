"""The jwt policy with a real gateway: tokens of an independent signer, keys of an authority under full control."""
import json
import re
import threading
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kit.certificates import Authority as Trust
from kit.gateway import run, upstream, wait_until
from kit.load import Load
from kit.tokens import Authority, Key, TlsAuthority, b64, handmade, key_set, usual_claims
from kit.wire import connect

SECRET = "0123456789abcdef0123456789abcdef"
DENIED = 'Bearer realm="api", error="invalid_token", error_description="'


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def policy(keys=None, **more):
    settings = {"issuer": "https://id.test", "audiences": "api", "algorithms": ["ES256"], **more}
    if keys is not None:
        settings["jwks"] = keys
    return [{"jwt": {n: v for n, v in settings.items() if v is not None}}]


@pytest.fixture
def guarded(gateway, origin):
    """A gateway in front of a service: guarded(keys, settings...) gives both."""

    def start(keys=None, **more):
        service = origin()
        gw = gateway(upstreams={"app": upstream(service)}, routes=[{"match": {"prefix": "/"}, "policies": policy(keys, **more), "proxy": "app"}])
        return gw, service

    return start


@pytest.fixture
def authority():
    made = []

    def make(*keys, trust=None, **more):
        made.append(TlsAuthority(trust.issue("localhost"), *keys, **more) if trust else Authority(*keys, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def ask(gw, token=None, target="/", fields=()):
    return gw.get(target, fields=[*(bearer(token) if token else []), *fields])


def why(response):
    """What the client is told; the status and the form of the answer are checked on the way."""
    assert response.status == 401, (response.status, response.text)
    challenge = response.get("WWW-Authenticate")
    assert challenge.startswith(DENIED) and challenge.endswith('"'), challenge
    text = challenge[len(DENIED):-1]
    assert json.loads(response.text)["detail"] == text
    return text


# ---- who may pass ----


def test_without_a_token_the_realm_is_all_that_is_told(guarded):
    gw, service = guarded({"keys": key_set(Key())}, realm="orders")
    for fields in ([], [("Authorization", "Basic am9lOnB3")], [("Authorization", "Bearer")], [("Authorization", "Bearertoken")]):
        response = gw.get("/", fields=fields)
        assert response.status == 401 and response.get("WWW-Authenticate") == 'Bearer realm="orders"'
    assert service.requests == []
    assert gw.line(status=401)["access"] == "no token"


@pytest.mark.parametrize("alg", ["RS256", "PS384", "ES256", "ES512", "EdDSA"])
def test_a_good_token_passes_and_does_not_reach_the_service(guarded, alg):
    key = Key(alg)
    gw, service = guarded({"keys": key_set(key)}, algorithms=[alg])
    token = key.sign()
    for _ in range(3):
        assert ask(gw, token).status == 200
    assert all("Authorization" not in r.fields for r in service.requests) and len(service.requests) == 3
    assert gw.metric("maitred_jwt_verifications_total", result="verified") + gw.metric("maitred_jwt_verifications_total", result="cached") == 3


def test_forward_lets_the_service_have_the_token(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, forward=True)
    token = key.sign()
    assert gw.get("/", fields=[("Authorization", f"bearer  {token} ")]).status == 200
    assert service.requests[0].get("Authorization").endswith(token)


def test_every_rule_over_claims_is_kept(guarded):
    key, now = Key(), int(time.time())
    gw, service = guarded({"keys": key_set(key)}, clock_skew="10s", max_lifetime="1h")
    refused = [
        ({"exp": now - 11}, "the token has expired"),
        ({"exp": None}, "the token never expires"),
        ({"exp": str(now + 60)}, "the token's claims are malformed"),
        ({"exp": 1e300}, "the token's claims are malformed"),
        ({"exp": -1}, "the token's claims are malformed"),
        ({"exp": 10**30}, "the token's claims are malformed"),
        ({"exp": now + 7200}, "the token lives longer than is allowed"),
        ({"iat": None}, "the token lives longer than is allowed"),
        ({"iat": now + 100, "exp": now + 200}, "the token was issued in the future"),
        ({"nbf": now + 100}, "the token is not valid yet"),
        ({"nbf": "soon"}, "the token's claims are malformed"),
        ({"iss": "https://id.test/"}, "the token is of another issuer"),
        ({"iss": None}, "the token is of another issuer"),
        ({"aud": "other"}, "the token is meant for others"),
        ({"aud": ["other"]}, "the token is meant for others"),
        ({"aud": None}, "the token is meant for others"),
        ({"aud": ["api", 7]}, "the token's claims are malformed"),
        ({"sub": 7}, "the token's claims are malformed"),
        ({"sub": ""}, "the token's claims are malformed"),
    ]
    for claims, text in refused:
        assert why(ask(gw, key.sign(claims))) == text, claims
    assert service.requests == []
    taken = [{}, {"exp": now + 60.5}, {"aud": ["other", "api"]}, {"nbf": now + 5}, {"exp": now - 3}, {"sub": None}, {"sub": "Jörg 😀"}]
    for claims in taken:
        assert ask(gw, key.sign(claims)).status == 200, claims


def test_a_cached_token_still_expires(guarded):
    key = Key()
    gw, _ = guarded({"keys": key_set(key)}, clock_skew="0")
    token = key.sign(exp=int(time.time()) + 2)
    with connect(gw.port) as wire:
        assert wire.get("/", fields=bearer(token)).status == 200
        refused = wait_until(lambda: next((r for r in [wire.get("/", fields=bearer(token))] if r.status != 200), None), "it expires")
    assert why(refused) == "the token has expired"
    assert gw.metric("maitred_jwt_verifications_total", result="cached") > 0


def test_of_types_the_one_that_is_asked_for(guarded):
    key = Key()
    gw, _ = guarded({"keys": key_set(key)}, typ="at+jwt")
    assert ask(gw, key.sign(headers={"typ": "application/AT+JWT"})).status == 200
    assert why(ask(gw, key.sign(headers={"typ": "JWT"}))) == "the token is of another type"


# ---- attacks ----


def test_every_known_attack_on_tokens_is_refused(guarded):
    key, rsa, stranger = Key(), Key("RS256", kid="rsa"), Key()
    gw, service = guarded({"keys": key_set(key, rsa)}, algorithms=["ES256", "RS256"])
    good, claims = key.sign(), usual_claims()
    head, payload, signature = good.split(".")
    public = [json.dumps(key.jwk), json.dumps(rsa.jwk), rsa.jwk["n"], key_set(key, rsa)]
    der = "MEUCIQ" + signature[6:]
    attacks = {
        "none": [handmade({"alg": a}, claims) for a in ("none", "None", "NONE", "nOnE", "")],
        "none with the signature": [f"{b64(json.dumps({'alg': 'none'}))}.{payload}.{signature}"],
        "confusion": [handmade({"alg": "HS256", "kid": k}, claims, p.encode()) for p in public for k in ("one", "rsa")],
        "another key under the same name": [stranger.sign()],
        "embedded": [stranger.sign(headers={"jwk": stranger.jwk}), stranger.sign(headers={"jku": "http://127.0.0.1:9/k", "x5u": "http://127.0.0.1:9/x"})],
        "wrong curve": [Key("ES384").sign(), handmade({"alg": "ES384", "kid": "one"}, claims, signature=b"\1" * 96)],
        "no signature": [f"{head}.{payload}.", f"{head}.{payload}"],
        "zeros": [handmade({"alg": "ES256", "kid": "one"}, claims, signature=b"\0" * 64)],
        "truncated": [good[:-2], good[:-20], good[: len(head) + 1]],
        "over-long": [good + "A" * 4, good + "AA", f"{good}.{signature}", f"{good}..."],
        "DER": [f"{head}.{payload}.{der}"],
        "padding and stray bits": [good + "==", good.replace(".", "=.", 1), f"{head}\n.{payload}.{signature}".replace("\n", "%0A")],
        "crit": [_signed(key, json.dumps(claims), json.dumps({"alg": "ES256", "kid": "one", **m}))
                 for m in ({"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": True})],
        "doubled claims": [_signed(key, '{"sub":"a","sub":"b","aud":"api","iss":"https://id.test","exp":9999999999}')],
        "doubled header": [_signed(key, json.dumps(claims), '{"alg":"ES256","kid":"one","kid":"one"}')],
        "kid": [key.sign(headers={"kid": k}) for k in ("../../../dev/null", "' OR '1'='1", "one\0", "", "http://127.0.0.1/")],
        "kid of another kind": [_signed(key, json.dumps(claims), json.dumps({"alg": "ES256", "kid": k})) for k in (7, ["one"], None)],
        "JWE": ["a.b.c.d.e"],
        "JSON": ['{"payload":"e30","signature":"AA"}'],
        "huge": [key.sign(x="y" * 9000)],
        "deep": [_signed(key, '{"a":' + "[" * 200 + "]" * 200 + "}")],
        "not claims": [_signed(key, t) for t in ("[]", "null", "7", "", '{"sub":"\\ud800"}')],
    }
    assert ask(gw, good).status == 200
    for name, tokens in attacks.items():
        for token in tokens:
            assert why(ask(gw, token)), (name, token)
    assert len(service.requests) == 1
    log = json.dumps(gw.lines(sum(map(len, attacks.values())), status=401))
    assert payload not in log and signature not in log and "the token's signature is not valid" in log


def _signed(key, payload, header=None):
    """Exact bytes of header and payload, with the key's real signature."""
    assert key.alg == "ES256"
    text = f"{b64(header or json.dumps({'alg': key.alg, 'kid': key.kid}))}.{b64(payload)}"
    r, s = decode_dss_signature(key.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def test_a_secret_is_for_hs_alone(guarded):
    gw, _ = guarded(secret=SECRET, algorithms=["HS256"])
    good = handmade({"alg": "HS256"}, usual_claims(), SECRET.encode())
    assert ask(gw, good).status == 200
    assert why(ask(gw, handmade({"alg": "HS256"}, usual_claims(), SECRET.encode()[:-1]))) == "the token's signature is not valid"
    assert why(ask(gw, Key().sign())) == "the token's algorithm is not allowed here"
    assert why(ask(gw, handmade({"alg": "HS512"}, usual_claims(), SECRET.encode()))) == "the token's algorithm is not allowed here"


def test_two_tokens_are_one_too_many(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)})
    response = gw.get("/", fields=bearer(key.sign()) * 2)
    assert response.status == 401
    assert response.get("WWW-Authenticate") == 'Bearer realm="api", error="invalid_request", error_description="more than one token was sent"'
    assert service.requests == []


def test_what_is_revoked_is_refused_at_once_though_it_was_good_before(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)})
    tokens = {"jti": key.sign(jti="7"), "sub": key.sign(sub="jane"), "sid": key.sign(sid="s1")}
    good = key.sign(jti="8", sid="s2")
    assert [ask(gw, t).status for t in [*tokens.values(), good]] == [200] * 4
    gw.reload({**gw.config, "revoked": {"jti": ["7"], "sub": ["jane"], "sid": ["s1"]}})
    assert [why(ask(gw, t)) for t in tokens.values()] == ["the token was revoked"] * 3
    assert ask(gw, good).status == 200
    assert len(service.requests) == 5


# ---- rights and identity ----


def test_what_is_required_and_lacking_is_403_with_the_scope(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, require={"scope": ["read", "write"], "claims": {"tenant": ["a", "b"], "realm_access.roles": "clerk", "level": "7"}})
    rights = {"scope": "write read more", "tenant": "b", "realm_access": {"roles": ["x", "clerk"]}, "level": 7}
    assert ask(gw, key.sign(rights)).status == 200
    assert ask(gw, key.sign({**rights, "scope": ["read", "write"]})).status == 200
    response = ask(gw, key.sign({**rights, "scope": "read writer"}))
    assert response.status == 403
    assert response.get("WWW-Authenticate") == (
        'Bearer realm="api", error="insufficient_scope", error_description="the token lacks a scope", scope="read write"')
    for change in ({"tenant": "c"}, {"tenant": None}, {"realm_access": {"roles": []}}, {"realm_access": "clerk"}, {"level": "70"}, {"level": None}):
        response = ask(gw, key.sign({**rights, **change}))
        assert response.status == 403 and 'error_description="the token lacks a claim"' in response.get("WWW-Authenticate"), change
    assert len(service.requests) == 2
    assert gw.line(access="the token lacks a scope")["status"] == 403


def test_claims_go_to_the_service_and_what_clients_say_in_their_place_does_not(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, required=False, consumer_claim="client_id",
                          claims_to_headers={"X-User": "sub", "X-Roles": "realm_access.roles", "X-Admin": "admin", "X-Level": "level"})
    spoofed = [("X-User", "root"), ("x-roles", "all"), ("X-ADMIN", "true"), ("X_User", "root"), ("X-Other", "stays")]
    token = key.sign(sub="Jörg", realm_access={"roles": ["a", "b"]}, level=7, client_id="shop")
    for _ in range(2):
        assert ask(gw, token, fields=spoofed).status == 200
    assert gw.get("/", fields=spoofed).status == 200
    assert gw.connect().get("/", fields=[*spoofed, ("Origin", "x"), ("Access-Control-Request-Method", "GET")], method="OPTIONS").status == 200
    for request in service.requests[:2]:
        assert request.get("X-User").encode("latin-1").decode() == "Jörg" and request.get("X-Roles") == "a,b" and request.get("X-Level") == "7"
        assert "X-Admin" not in request.fields and "X_User" not in request.fields and request.get("X-Other") == "stays"
    for request in service.requests[2:]:
        assert not [n for n in request.fields.names() if n.lower() in ("x-user", "x-roles", "x-admin", "x-level")]
    assert gw.line(consumer="shop")


def test_a_claim_that_would_split_a_field_is_refused(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, claims_to_headers={"X-User": "sub", "X-Roles": "roles"})
    for claims in ({"sub": "a\r\nX-Admin: true"}, {"sub": "a\0"}, {"roles": ["a,b"]}):
        assert why(ask(gw, key.sign(claims))) == "the token's claims are malformed"
    assert service.requests == []


def test_a_token_that_is_not_required_must_be_good_all_the_same(guarded):
    key = Key()
    gw, _ = guarded({"keys": key_set(key)}, required=False)
    assert gw.get("/").status == 200
    assert ask(gw, key.sign()).status == 200
    assert why(ask(gw, key.sign(exp=1))) == "the token has expired"


def test_in_a_composition_it_is_one_of_several(gateway, origin):
    key, service = Key(), origin()
    token = policy({"keys": key_set(key)}, claims_to_headers={"X-User": "sub"})[0]
    gw = gateway(upstreams={"app": upstream(service)}, consumers={"shop": {"api_keys": [{"key": "0123456789abcdef-key"}]}}, routes=[
        {"match": {"prefix": "/"}, "policies": [{"any_of": [token, {"api_key": {}}]}], "proxy": "app"}])
    assert ask(gw, key.sign(), fields=[("X-User", "root")]).status == 200
    assert gw.get("/", fields=[("X-Api-Key", "0123456789abcdef-key"), ("X-User", "root")]).status == 200
    assert ["X-User" in r.fields for r in service.requests] == [True, False]
    assert service.requests[0].get("X-User") == "joe" and "X-Api-Key" not in service.requests[1].fields
    refused = ask(gw, key.sign(exp=1))
    assert refused.status == 401 and any("the token has expired" in c for c in refused.fields.all("WWW-Authenticate"))


@pytest.mark.parametrize("doubled", ["query", "cookie", "schemes"])
def test_two_tokens_in_one_place_are_refused_whichever_the_service_would_read(guarded, doubled):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, **{"from": [{"header": "Authorization", "scheme": "Bearer"}, {"cookie": "sid"}, {"query": "t"}]}, forward=True)
    token, forged = key.sign(), Key().sign()
    target, fields = {"query": (f"/?t={token}&%74={forged}", []),
                      "cookie": ("/", [("Cookie", f"sid={forged}; sid={token}")]),
                      "schemes": ("/", [*bearer(token), ("Authorization", "Basic YTpi")])}[doubled]
    assert gw.get(target, fields=fields).status == 401
    assert service.requests == []


def test_a_tab_behind_the_scheme_hides_no_token(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, required=False)
    assert gw.get("/", fields=[("Authorization", f"Bearer\t{key.sign()}x")]).status == 401
    assert gw.get("/", fields=[("Authorization", f"Bearer\t{key.sign()}")]).status == 200
    assert "Authorization" not in service.requests[0].fields


def test_what_only_looks_like_a_preflight_needs_a_token(guarded):
    gw, service = guarded({"keys": key_set(Key())})
    preflight = [("Origin", "https://app.test"), ("Access-Control-Request-Method", "PUT")]
    with gw.connect() as wire:
        wire.send(b"OPTIONS /delete HTTP/1.1\r\nHost: a\r\nOrigin: x\r\nAccess-Control-Request-Method: x\r\nContent-Length: 2\r\n\r\nhi")
        assert wire.response().status == 401
    assert service.requests == []
    forged = bearer(Key().sign())
    assert gw.connect().get("/", fields=[*preflight, *forged], method="OPTIONS").status == 200
    assert "Authorization" not in service.requests[0].fields


def test_preflights_need_no_token(guarded):
    gw, service = guarded({"keys": key_set(Key())})
    preflight = [("Origin", "https://app.test"), ("Access-Control-Request-Method", "PUT")]
    assert gw.connect().get("/", fields=preflight, method="OPTIONS").status == 200
    assert gw.connect().get("/", fields=preflight[:1], method="OPTIONS").status == 401
    assert gw.get("/", fields=preflight).status == 401


def test_tokens_come_from_the_places_that_are_named_and_are_taken_out_of_all_of_them(guarded):
    key = Key()
    gw, service = guarded({"keys": key_set(key)}, **{"from": [{"header": "X-Token", "scheme": "Token"}, {"cookie": "sid"}, {"query": "access_token"}]})
    token = key.sign()
    assert gw.get("/", fields=[("X-Token", f"Token {token}"), ("Cookie", f"a=1; sid={token}; b=2")]).status == 200
    assert gw.get(f"/p?x=1&access_token={token}&y=2").status == 200
    assert gw.get(f"/p?access_token={token}").status == 200
    assert gw.get("/", fields=bearer(token)).status == 401
    first, second, third = service.requests
    assert "X-Token" not in first.fields and first.get("Cookie") == "a=1; b=2"
    assert second.target == "/p?x=1&y=2" and third.target == "/p"
    assert why(gw.get(f"/p?access_token={token[:-4]}AAAA"))
    gw.lines(5, version="1.1")
    assert token[-60:-10] not in json.dumps([i for i in gw.access.items if isinstance(i, dict)])


# ---- keys ----


def test_keys_are_fetched_before_they_are_needed_and_once_for_all_workers(guarded, authority):
    key = Key()
    auth = authority(key)
    gw, _ = guarded(auth.url)
    auth.wait_for_request()
    token = key.sign()
    for _ in range(8):  # new connections: both workers
        assert ask(gw, token).status == 200
    assert auth.fetches == 1
    request = auth.requests[0]
    assert request.target == "/jwks.json" and request.get("Accept").startswith("application/jwk-set+json")
    assert gw.metric("maitred_jwks_fetches_total", source=auth.url, result="answered") == 1
    assert gw.metric("maitred_jwks_keys", source=auth.url) == 1


def test_requests_that_come_before_the_keys_wait_for_them(guarded, authority):
    key, go = Key(), threading.Event()
    auth = authority(key)
    auth.answer = lambda call: (go.wait(10), call.answer(200, auth.body))
    gw, _ = guarded(auth.url)
    results = []
    threads = [threading.Thread(target=lambda: results.append(ask(gw, key.sign()).status)) for _ in range(6)]
    for thread in threads:
        thread.start()
    auth.wait_for_request()
    assert results == []
    go.set()
    for thread in threads:
        thread.join(15)
    assert results == [200] * 6 and auth.fetches == 1


def test_over_tls_the_authority_has_to_be_who_it_says(guarded, authority, folder):
    trust, key = Trust(folder), Key()
    auth = authority(key, trust=trust)
    gw, _ = guarded({"url": auth.url, "ca": str(trust.path)})
    assert ask(gw, key.sign()).status == 200
    assert auth.requests[0].target == "/jwks.json?secret=1"
    assert "secret=1" not in json.dumps([e[2] for e in gw.errors.items]) and "secret=1" not in gw.admin("/metrics").text
    other, _ = guarded({"url": auth.url, "timeout": "2s"})
    other.allow("the keys cannot be fetched: the TLS handshake failed (unknown_authority)")
    other.errors.wait(lambda e: "the keys cannot be fetched" in e[2], "about the fetch")
    response = ask(other, key.sign())
    assert response.status == 503 and json.loads(response.text)["type"].endswith("keys_unavailable")
    assert other.line(status=503)["access"] == "the keys to check the token with could not be fetched"


def test_rotation_under_load_gives_not_one_wrong_answer(guarded, authority):
    keys = [Key(kid=f"key{i}") for i in range(6)]
    auth = authority(keys[0])
    gw, _ = guarded({"url": auth.url, "refetch_interval": "200ms"})
    current = [keys[0].sign()]

    def with_token(wire, number, count):
        return wire.get("/", fields=bearer(current[0]))

    with Load(gw.port, clients=4, fresh=2, ask=with_token) as load:
        for i in range(1, len(keys)):
            load.served(100)
            auth.publish(keys[i], keys[i - 1])
            current[0] = keys[i].sign()
        load.served(100)
    assert load.failed == []
    assert len(keys) <= auth.fetches <= 2 * len(keys)


def test_made_up_keys_make_few_fetches_and_good_tokens_are_served_meanwhile(guarded, authority):
    key, stranger = Key(), Key(kid="made-up")
    auth = authority(key)
    gw, _ = guarded({"url": auth.url, "refetch_interval": "500ms"})
    assert ask(gw, key.sign()).status == 200
    began, refused = time.monotonic(), []
    threads = [threading.Thread(target=lambda: [refused.append(why(ask(gw, stranger.sign()))) for _ in range(3)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert ask(gw, key.sign()).status == 200
    for thread in threads:
        thread.join(30)
    assert refused == ["the token's key is not known"] * 24
    assert auth.fetches <= 3 + (time.monotonic() - began) / 0.5


def test_while_the_authority_is_gone_the_keys_that_are_there_stay(guarded, authority):
    key, new = Key(), Key(kid="new")
    auth = authority(key)
    gw, _ = guarded({"url": auth.url, "cache": "1s", "refetch_interval": "100ms"})
    gw.allow("the keys cannot be fetched")
    assert ask(gw, key.sign()).status == 200
    failures = [
        ("status", lambda call: call.answer(500, "no")),
        ("status", lambda call: call.answer(302, "", [("Location", auth.url)])),
        ("no_keys", lambda call: call.answer(200, "<html>")),
        ("no_keys", lambda call: call.answer(200, '{"keys":[]}')),
        ("too_large", lambda call: call.answer(200, " " * 300000)),
        ("closed", lambda call: (call.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), call.close())),
        ("malformed", lambda call: (call.raw("garbage\r\n\r\n"), call.close())),
    ]
    for result, answer in failures:
        auth.answer = answer
        before = gw.metric("maitred_jwks_fetches_total", source=auth.url, result=result) if gw.metrics("maitred_jwks_fetches_total").get(result) else 0
        assert ask(gw, new.sign()).status == 503, result  # it cannot be known whether that key exists
        assert ask(gw, key.sign()).status == 200, result
        assert gw.metric("maitred_jwks_fetches_total", source=auth.url, result=result) > before
    auth.answer = None
    auth.publish(key, new)
    wait_until(lambda: ask(gw, new.sign()).status == 200, "it is fetched again")
    told = [e[2] for e in gw.errors.items if e[1] == "jwks"]
    assert len([t for t in told if "the keys cannot be fetched" in t]) == 1, told
    assert len([t for t in told if "can be fetched again" in t]) == 1, told


def test_a_silent_authority_costs_one_timeout(guarded, authority):
    key, end = Key(), threading.Event()
    auth = authority(key)
    auth.answer = lambda call: end.wait(20)
    gw, _ = guarded({"url": auth.url, "timeout": "500ms", "refetch_interval": "100ms"})
    gw.allow("the keys cannot be fetched")
    assert ask(gw, key.sign()).status == 503
    gw.errors.wait(lambda e: re.search(r"no complete answer within 500ms; requests with tokens are answered 503", e[2]), "about the timeout")
    auth.answer = None
    end.set()
    wait_until(lambda: ask(gw, key.sign()).status == 200, "it is fetched again")


def test_keys_get_old_as_the_answer_says(guarded, authority):
    key, new = Key(), Key(kid="new")
    auth = authority(key)
    auth.fields = [("Cache-Control", "public, max-age=1")]
    gw, _ = guarded({"url": auth.url, "cache": "1s"})
    old = key.sign()
    assert ask(gw, old).status == 200
    auth.publish(new)
    gone = wait_until(lambda: next((r for r in [ask(gw, old)] if r.status != 200), None), "the old key goes")  # its token was cached, too
    assert why(gone) == "the token's key is not known"
    assert ask(gw, new.sign()).status == 200


def test_a_file_is_read_again_when_it_changes(guarded, folder):
    key, new, path = Key(), Key(kid="new"), folder / "keys.json"

    def put(text):
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").chmod(0o644)
        path.with_suffix(".new").rename(path)

    put(key_set(key))
    gw, _ = guarded(f"file:{path}")
    assert ask(gw, key.sign()).status == 200
    assert why(ask(gw, new.sign())) == "the token's key is not known"
    put(key_set(new))
    wait_until(lambda: ask(gw, new.sign()).status == 200, "it is read again")
    wait_until(lambda: ask(gw, key.sign()).status == 401, "the other worker has it too")
    gw.allow("the keys that are there stay")
    put("broken")
    gw.errors.wait(lambda e: "keys.json" in e[2] and "the keys that are there stay" in e[2], "about the file")
    assert ask(gw, new.sign()).status == 200


def test_a_reload_keeps_keys_and_one_that_changes_the_rules_is_in_force_at_once(gateway, origin, authority):
    key = Key()
    auth = authority(key)
    settings = policy(auth.url)

    def config(name, rules):
        return {"policies": rules, "routes": [{"match": {"prefix": f"/{name}"}, "respond": 200}]}

    gw = gateway(**config("a", settings))
    token = key.sign()
    assert ask(gw, token, "/a").status == 200
    gw.reload({**gw.config, **config("b", settings)})
    assert ask(gw, token, "/b").status == 200 and auth.fetches == 1  # the same policy
    gw.reload({**gw.config, **config("b", policy(auth.url, audiences="other"))})
    assert why(ask(gw, token, "/b")) == "the token is meant for others"


# ---- mistakes ----


@pytest.mark.parametrize("settings, text", [
    ({}, "tokens are checked with `jwks` or with a `secret`"),
    ({"secret": SECRET, "jwks": "file:x"}, "give one of them"),
    ({"secret": "short", "algorithms": "HS256"}, "too short"),
    ({"secret": SECRET, "algorithms": "HS512"}, "too short"),
    ({"secret": SECRET, "algorithms": "RS256"}, "for HS256, HS384 and HS512 alone"),
    ({"jwks": "https://id.test/k", "algorithms": "HS256"}, "does not come from a URL"),
    ({"jwks": "https://id.test/k", "algorithms": "none"}, "none"),
    ({"jwks": "ftp://id.test/k"}, "begins neither with"),
    ({"jwks": "https:///k"}, "host"),
    ({"jwks": "https://me:pw@id.test/k"}, "host"),
    ({"jwks": "https://id.test/k#x"}, "no URL"),
    ({"jwks": "file:missing.json"}, "cannot be read"),
    ({"jwks": {"keys": "{}"}}, "no list `keys`"),
    ({"jwks": {"keys": '{"keys":[]}'}}, "it has no keys"),
    ({"jwks": {"keys": '{"keys":[{"kty":"oct","k":"AAAA"}]}'}}, "of no use"),
    ({"jwks": {"url": "https://id.test/k", "file": "x"}}, "one of `url`, `file` and `keys`"),
    ({"jwks": {"url": "http://127.0.0.1/k", "ca": "x"}}, "without a `url` that begins with `https://`"),
    ({"secret": SECRET, "from": {"header": "A", "cookie": "b"}}, "one of `header`, `cookie` and `query`"),
    ({"secret": SECRET, "realm": 'a"b'}, "quotes"),
    ({"secret": SECRET, "require": {"scope": "a b"}}, "write several as a list"),
    ({"secret": SECRET, "claims_to_headers": {"Content-Length": "sub"}}, "no field that a claim could be sent in"),
])
def test_mistakes_are_told_with_their_place(tmp_path, settings, text):
    config = tmp_path / "gateway.yaml"
    config.write_text(json.dumps({"listeners": ["127.0.0.1:8080"], "routes": [
        {"match": {"prefix": "/"}, "policies": [{"jwt": {"audiences": "api", **settings}}], "respond": 200}]}))
    result = run("check", config)
    assert result.returncode != 0 and text in result.stderr, result.stderr
    assert SECRET not in result.stderr
