"""any_of and all_of: which credential counts, what the service sees, challenges, and policies that wait."""
import base64
import json

import pytest

from kit.certificates import openssl
from kit.gateway import run, upstream
from kit.tokens import Authority, Key, key_set

KEY, SECOND = "k-0123456789abcdef", "s-0123456789abcdef"
SLOW = openssl("passwd", "-6", "-salt", "rounds=1000$saltsalt", "-stdin", input=b"pw").decode().strip()
CONSUMERS = {"shop": {"groups": ["a"], "api_keys": [{"id": "shop-1", "key": KEY}], "basic": {"username": "shop", "password_hash": SLOW}},
             "other": {"groups": ["b"], "api_keys": [{"key": SECOND}], "basic": {"username": "other", "password": "pw"}}}


def basic(user, password="pw"):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def key(text=KEY):
    return ("X-Api-Key", text)


TELL = {"consumer_headers": {"X-Consumer": "consumer", "X-Method": "method"}}


@pytest.fixture
def composed(gateway, origin):
    def start(policy, **more):
        service = origin()
        gw = gateway(upstreams={"app": upstream(service)}, consumers=CONSUMERS,
                     routes=[{"match": {"prefix": "/"}, "policies": [policy], "proxy": "app"}], **more)

        def ask(*fields, **also):
            seen = len(service.requests)
            status = gw.get("/", fields=fields, **also).status
            return (status, service.requests[-1].get("X-Consumer") if len(service.requests) > seen else None)
        return gw, service, ask
    return start


def test_the_first_credential_that_is_good_counts_and_none_reaches_the_service(composed):
    gw, service, ask = composed({"any_of": [{"api_key": TELL}, {"basic": TELL}]})
    for fields, consumer in (([key()], "shop"), ([basic("other")], "other"), ([basic("shop")], "shop"), ([key(SECOND), basic("shop")], "other"),
                             ([key("wrong"), basic("shop")], "shop"), ([key(), basic("other", "wrong")], "shop")):
        assert ask(*fields, ("X-Consumer", "root"), ("X-Method", "root")) == (200, consumer)
        request = service.requests[-1]
        assert "Authorization" not in request.fields and "X-Api-Key" not in request.fields and "root" not in str(request.fields)
    assert all("access" not in line for line in gw.lines(6))


def test_when_none_is_good_the_answer_has_all_challenges(composed):
    gw, service, ask = composed({"any_of": [{"api_key": {}}, {"basic": {"realm": "shop"}}, {"client_certificate": {}}]})
    for fields in ([], [key("wrong")], [basic("shop", "wrong")], [key("wrong"), basic("nobody")]):
        response = gw.get("/", fields=fields)
        assert response.status == 401
        assert response.fields.all("WWW-Authenticate") == ['ApiKey realm="maitred", in="header", name="X-Api-Key"', 'Basic realm="shop", charset="UTF-8"', "Mutual"]
    assert not service.requests and gw.line(access="the key is unknown")


def test_anonymous_requests_pass_when_no_alternative_is_required_but_wrong_ones_do_not(composed):
    gw, service, ask = composed({"any_of": [{"api_key": {"required": False, **TELL}}, {"basic": {"required": False, **TELL}}]})
    assert ask(("X-Consumer", "root")) == (200, None)
    assert ask(key("wrong"))[0] == 401 and ask(basic("shop", "wrong"))[0] == 401
    assert ask(key("wrong"), basic("shop")) == (200, "shop")


def test_all_credentials_have_to_be_there_and_to_be_of_one_consumer(composed):
    gw, service, ask = composed({"all_of": [{"api_key": TELL}, {"basic": TELL}]})
    assert ask(key(), basic("shop")) == (200, "shop")
    assert "Authorization" not in service.requests[-1].fields and "X-Api-Key" not in service.requests[-1].fields
    assert [ask(*f)[0] for f in ([], [key()], [basic("shop")], [key(), basic("shop", "no")], [key("no"), basic("shop")])] == [401] * 5
    assert ask(key(SECOND), basic("shop"))[0] == 403
    assert gw.line(access="the credentials are those of two consumers")
    gw.reload({**gw.config, "revoked": {"sub": "shop"}})
    assert ask(key(), basic("shop"))[0] == 401


def test_a_part_of_all_of_that_would_do_without_a_credential_does_not(composed):
    gw, service, ask = composed({"all_of": [{"api_key": {}}, {"basic": {"required": False}}]})
    response = gw.get("/", fields=[key()])
    assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic ")


def test_compositions_within_each_other_leave_the_request_whole_for_the_next_alternative(composed):
    gw, service, ask = composed({"any_of": [{"all_of": [{"api_key": TELL}, {"basic": TELL}]}, {"api_key": {"consumer_headers": {"X-Consumer": "consumer"}}}]})
    assert ask(key()) == (200, "shop")
    assert "X-Method" not in service.requests[-1].fields
    assert ask(key(), basic("shop")) == (200, "shop")
    assert service.requests[-1].get("X-Method") == "basic"
    assert ask(key("wrong"), basic("shop"))[0] == 401


def test_the_groups_of_all_parts_are_there_for_authorize(gateway):
    gw = gateway(consumers={**CONSUMERS, "shop2": {"groups": ["two"]}}, routes=[{"match": {"prefix": "/"}, "respond": 204, "policies": [
        {"all_of": [{"api_key": {}}, {"basic": {}}]}, {"authorize": [{"allow": {"all_groups": ["a"], "consumers": ["shop"]}}]}]}])
    assert gw.get("/", fields=[key(), basic("shop")]).status == 204
    assert gw.get("/", fields=[key(SECOND), basic("other")]).status == 403


def test_tokens_of_two_issuers_and_a_key_are_alternatives(composed):
    ours, theirs = Key(), Key(kid="two")
    authority = Authority(ours)
    try:
        rules = {"audiences": "api", "algorithms": ["ES256"]}
        gw, service, ask = composed({"any_of": [
            {"jwt": {**rules, "issuer": "https://id.test", "jwks": authority.url}},
            {"jwt": {**rules, "issuer": "https://id.test", "jwks": {"keys": key_set(theirs)}, "realm": "two"}}, {"api_key": TELL}]})

        def bearer(token):
            return ("Authorization", f"Bearer {token}")
        for fields in ([bearer(ours.sign())], [bearer(theirs.sign())], [bearer(Key(kid="three").sign()), key()]):
            assert ask(*fields)[0] == 200
            assert "Authorization" not in service.requests[-1].fields and "X-Api-Key" not in service.requests[-1].fields
        response = gw.get("/", fields=[bearer(Key(kid="three").sign())])
        assert response.status == 401 and len(response.fields.all("WWW-Authenticate")) == 3
    finally:
        authority.stop()


def test_authorize_asks_for_what_optional_alternatives_would_have_taken(gateway):
    gw = gateway(consumers=CONSUMERS, routes=[{"match": {"prefix": "/"}, "respond": 204, "policies": [
        {"any_of": [{"api_key": {"required": False}}, {"basic": {"required": False}}]}, {"authorize": [{"allow": {"groups": ["a"]}}]}]}])
    response = gw.get("/")
    assert response.status == 401
    assert [c.split()[0] for c in response.fields.all("WWW-Authenticate")] == ["ApiKey", "Basic"]
    assert gw.get("/", fields=[key()]).status == 204 and gw.get("/", fields=[key(SECOND)]).status == 403


def test_only_policies_that_say_who_it_is_can_be_composed(tmp_path):
    config = tmp_path / "x.yaml"

    def told(policy):
        config.write_text(json.dumps({"listeners": ["127.0.0.1:8080"], "routes": [{"policies": [policy], "respond": 200}]}))
        result = run("check", config)
        assert result.returncode == 3
        return result.stderr
    assert "headers" in told({"any_of": [{"headers": {}}]})
    assert told({"any_of": []}) and told({"all_of": [{"api_key": {}}] * 9})
