"""Sticky sessions: a client comes back to the target that served it first; and keys, which place requests without a cookie."""
import re
import threading
from collections import Counter

import pytest

from kit import ports
from kit.certificates import Authority, tls_connect
from kit.gateway import run, upstream
from kit.wire import connect

SECRET = "a secret of sixteen bytes or more"


def named(call):
    call.answer(200, call.request.get("Cookie", "none"), [("X-Who", call.origin.name), ("Set-Cookie", "theirs=1")])


@pytest.fixture
def services(origin):
    return [origin(name, script=named) for name in "abc"]


def config_of(services, sticky, weights=None, **more):
    targets = [{"address": s.address, "weight": (weights or {}).get(s.name, 1)} for s in services]
    return {"upstreams": {"app": {"targets": targets, "sticky": sticky, **more}}, "routes": [{"proxy": "app"}]}


def cookie_in(response, name="maitred-app"):
    """What the answer sets it to, with its attributes; None when it does not."""
    set_ones = [v for v in response.fields.all("Set-Cookie") if v.startswith(name + "=")]
    assert len(set_ones) <= 1
    assert "theirs=1" in response.fields.all("Set-Cookie")  # the service's own is left alone
    return set_ones[0] if set_ones else None


def begin(wire, name="maitred-app"):
    """A new session: the cookie to send, and who served."""
    response = wire.get("/")
    return cookie_in(response, name).split(";")[0], response.get("X-Who")


def go_on(wire, cookie):
    response = wire.get("/", fields=[("Cookie", cookie)])
    return cookie_in(response), response.get("X-Who")


def test_a_session_stays_with_its_target_whichever_worker_serves_it(gateway, services):
    gw = gateway(**config_of(services, {}), workers=2)
    for _ in range(6):
        with gw.connect() as wire:
            cookie, who = begin(wire)
        for _ in range(5):  # each may come to another worker
            with gw.connect() as wire:
                assert go_on(wire, cookie) == (None, who)


def test_new_clients_are_spread_as_the_algorithm_says(gateway, services):
    gw = gateway(**config_of(services, {}), workers=1)
    with gw.connect() as wire:
        assert Counter(begin(wire)[1] for _ in range(9)) == {"a": 3, "b": 3, "c": 3}


def test_the_cookie_has_the_attributes_of_the_configuration(gateway, services):
    plain = gateway(**config_of(services, {}))
    value = "[0-9a-f]{16}"
    with plain.connect() as wire:
        assert re.fullmatch(f"maitred-app={value}; Path=/; HttpOnly; SameSite=Lax", cookie_in(wire.get("/")))
    sticky = {"cookie": "node", "ttl": "1h", "path": "/shop", "domain": "gateway.test", "secure": True, "same_site": "strict", "http_only": False}
    other = gateway(**config_of(services, sticky))
    with other.connect() as wire:
        expected = f"node={value}; Path=/shop; Domain=gateway.test; Max-Age=3600; Secure; SameSite=Strict"
        assert re.fullmatch(expected, cookie_in(wire.get("/"), "node"))
    none = gateway(**config_of(services, {"same_site": "none"}))
    with none.connect() as wire:
        assert cookie_in(wire.get("/")).endswith("; Path=/; Secure; HttpOnly; SameSite=None")


def test_on_a_listener_with_tls_the_cookie_is_secure(gateway, services, folder):
    authority = Authority(folder)
    tls_port, plain_port = ports.free_port(), ports.free_port()
    listeners = [{"address": f"127.0.0.1:{tls_port}", "tls": {"certificates": [authority.issue("a.test").pair]}}, f"127.0.0.1:{plain_port}"]
    gateway(**config_of(services, {}), listeners=listeners)
    with tls_connect(tls_port, authority.context(), "a.test") as wire:
        assert cookie_in(wire.get("/", host="a.test")).endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    with connect(plain_port) as wire:
        assert "Secure" not in cookie_in(wire.get("/"))


def test_a_forged_cookie_names_no_target_and_is_replaced(gateway, services):
    gw = gateway(**config_of(services, {"secret": SECRET}))
    for forged in ("0" * 16, "f" * 16, "x", "", "0123456789ABCDEF", "a" * 5000, '"' + "0" * 16 + '"'):
        with gw.connect() as wire:
            cookie, who = go_on(wire, f"maitred-app={forged}")
            assert cookie, forged
            assert go_on(wire, cookie.split(";")[0]) == (None, who)


def test_gateways_with_one_secret_understand_each_other_and_others_do_not(gateway, services):
    one, two = (gateway(**config_of(services, {"secret": SECRET})) for _ in range(2))
    stranger, open_one = gateway(**config_of(services, {"secret": SECRET[::-1]})), gateway(**config_of(services, {}))
    with one.connect() as first, two.connect() as second, stranger.connect() as third, open_one.connect() as fourth:
        for _ in range(3):
            cookie, who = begin(first)
            assert go_on(second, cookie) == (None, who)
            assert go_on(third, cookie)[0] and go_on(fourth, cookie)[0]


def test_a_target_of_weight_zero_keeps_its_sessions_and_gets_no_new_ones(gateway, services):
    gw = gateway(**config_of(services, {}))
    with gw.connect() as wire:
        sessions = [begin(wire) for _ in range(6)]
        assert "a" in {who for _, who in sessions}
        gw.reload({**gw.config, **config_of(services, {}, weights={"a": 0})})
        for cookie, who in sessions:
            assert go_on(wire, cookie) == (None, who)
        assert {begin(wire)[1] for _ in range(9)} == {"b", "c"}


def test_the_session_of_a_target_that_is_gone_moves_and_stays_where_it_moved(gateway, services):
    gw = gateway(**config_of(services, {}))
    with gw.connect() as wire:
        cookie, who = begin(wire)
        while who != "a":
            cookie, who = begin(wire)
        services[0].kill()
        moved, now = go_on(wire, cookie)
        assert now in "bc" and moved
        for _ in range(4):
            assert go_on(wire, moved.split(";")[0]) == (None, now)


def test_a_session_outlives_a_reload_that_adds_targets(gateway, services, origin):
    gw = gateway(**config_of(services[:2], {}, algorithm="least_connections"))
    with gw.connect() as wire:
        sessions = [begin(wire) for _ in range(4)]
        gw.reload({**gw.config, **config_of(services[::-1], {}, algorithm="round_robin")})
        assert [go_on(wire, cookie) for cookie, _ in sessions] == [(None, who) for _, who in sessions]


def test_services_see_the_cookie_unless_it_is_hidden(gateway, services):
    shown, hidden = gateway(**config_of(services, {})), gateway(**config_of(services, {"hide": True}))
    with shown.connect() as wire:
        cookie, _ = begin(wire)
        assert wire.get("/", fields=[("Cookie", f"x=1; {cookie}; y=2")]).text == f"x=1; {cookie}; y=2"
    with hidden.connect() as wire:
        cookie, who = begin(wire)
        response = wire.get("/", fields=[("Cookie", f"x=1; {cookie}; y=2")])
        assert (response.text, response.get("X-Who")) == ("x=1; y=2", who)
        assert wire.get("/", fields=[("Cookie", cookie)]).text == "none"


@pytest.mark.tsan
def test_sessions_hold_while_the_targets_change_under_them(gateway, services):
    gw = gateway(**config_of(services, {}))
    stop, wrong = threading.Event(), []

    def client():
        with gw.connect() as wire:
            cookie, who = begin(wire)
            while not stop.is_set():
                seen = go_on(wire, cookie)
                if seen != (None, who):
                    wrong.append((who, seen))
                    return

    clients = [threading.Thread(target=client) for _ in range(4)]
    [c.start() for c in clients]
    for weights in ({"a": 0}, {"b": 0}, {"a": 5}, {}):
        gw.reload({**gw.config, **config_of(services, {}, weights=weights)})
    stop.set()
    [c.join() for c in clients]
    assert not wrong


def test_mistakes_in_the_settings_are_told(folder):
    mistakes = {
        "{ cookie: 'a b' }": "`a b` cannot be the name of a cookie",
        "{ secret: short }": "the secret has fewer than 16 bytes",
        "{ path: shop }": "a cookie's path begins with `/`",
        "{ domain: 'a;b' }": "`a;b` cannot stand in a cookie",
        "{ ttl: 10ms }": "a cookie lives for whole seconds",
        "{ same_site: never }": "strict",
    }
    for text, told in mistakes.items():
        config = folder / "wrong.yaml"
        config.write_text(f"listeners: [ 127.0.0.1:1 ]\nupstreams: {{ app: {{ targets: [ 127.0.0.1:2 ], sticky: {text} }} }}\nroutes: [ {{ proxy: app }} ]\n")
        checked = run("check", "-c", config)
        assert checked.returncode != 0 and told in checked.stderr + checked.stdout, (text, checked.stderr, checked.stdout)
        assert "short" not in checked.stderr + checked.stdout or "same_site" in text or "secret" not in text


# ---- keys ----

def keyed(services, key, **more):
    return {"upstreams": {"app": upstream(*services, algorithm="hash", hash=key, **more)}, "routes": [{"match": {"path": "/users/{id}"}, "proxy": "app"}, {"proxy": "app"}]}


@pytest.mark.parametrize("key, field", [("{header.X-User}", "X-User"), ("{cookie.user}", "Cookie"), ("{query.user}", None)])
def test_requests_of_one_key_go_to_one_target(gateway, services, key, field):
    gw = gateway(**keyed(services, key), workers=2)
    placed = {}
    for round in range(3):
        for user in range(40):
            with gw.connect() as wire:
                value = f"user={user}" if field == "Cookie" else f"u {user}"
                response = wire.get("/", fields=[(field, value)]) if field else wire.get(f"/?x=1&user=u%20{user}")
            assert placed.setdefault(user, response.get("X-Who")) == response.get("X-Who")
    assert set(placed.values()) == {"a", "b", "c"}


def test_requests_without_a_key_are_spread(gateway, services):
    gw = gateway(**keyed(services, "{header.X-User}"))
    with gw.connect() as wire:
        assert {wire.get("/").get("X-Who") for _ in range(60)} == {"a", "b", "c"}


def test_two_gateways_place_a_key_on_the_same_target(gateway, services):
    one, two = gateway(**keyed(services, "{header.X-User}")), gateway(**keyed(services, "{header.X-User}"))
    with one.connect() as first, two.connect() as second:
        for user in range(20):
            fields = [("X-User", f"user {user}")]
            assert first.get("/", fields=fields).get("X-Who") == second.get("/", fields=fields).get("X-Who")


def test_ip_hash_places_a_client_by_its_network(gateway, services):
    config = {"upstreams": {"app": upstream(*services, algorithm="ip_hash")}, "routes": [{"proxy": "app"}], "forwarding": {"trusted": ["127.0.0.1"]}}
    gw = gateway(**config)

    def served(wire, client):
        return wire.get("/", fields=[("X-Forwarded-For", client)]).get("X-Who")

    with gw.connect() as wire:
        for net in range(10):
            assert len({served(wire, f"2001:db8:0:{net}::{host:x}") for host in range(1, 6)}) == 1
        assert {served(wire, f"192.0.2.{host}") for host in range(1, 40)} == {"a", "b", "c"}


def test_a_key_that_the_template_does_not_know_is_told_once_where_it_stands(folder):
    config = folder / "wrong.yaml"
    config.write_text("""listeners: [ 127.0.0.1:1 ]
upstreams:
  app:
    algorithm: hash
    hash: "{client.adress}"
    targets: [ 127.0.0.1:2 ]
routes:
  - { match: { path: /a }, proxy: app }
  - { proxy: app }
""")
    told = run("check", "-c", config).stderr
    assert told.count("did you mean `{client.address}`?") == 1 and "wrong.yaml:5:" in told, told
    config.write_text(config.read_text().replace("{client.adress}", "{id}"))
    told = run("check", "-c", config).stderr
    assert "`{id}` is no capture of this route's path" in told and "wrong.yaml:8:" in told, told
