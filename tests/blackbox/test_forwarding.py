"""What the service is told of the client and the way, and what stays between two neighbours."""
import pytest


def fields_seen(gateway, origin, sent=(), conf=None, source=None, **more):
    service = origin()
    gw = gateway(to=service, **({"forwarding": conf} if conf is not None else {}), **more)
    with gw.connect(source=source) as wire:
        assert wire.get("/", fields=list(sent)).status == 200
    return service.requests[0].fields


def test_fields_that_connection_names_and_those_of_the_hop_are_stripped(gateway, origin):
    fields = fields_seen(gateway, origin, [
        ("Connection", "close, X-Private , x-other"), ("X-Private", "1"), ("X-Other", "2"), ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"), ("TE", "gzip"), ("Upgrade", "foo"), ("X-Public", "3")])
    assert fields.get("X-Public") == "3"
    for name in ("Connection", "X-Private", "X-Other", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"):
        assert name not in fields


def test_the_same_holds_for_the_answers_fields(gateway, origin):
    def script(call):
        call.raw("HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 2\r\n"
                 "Upgrade: h2c\r\nContent-Length: 0\r\n\r\n")

    response = gateway(to=origin(script=script)).get("/")
    assert response.get("X-Public") == "2"
    for name in ("Connection", "X-Private", "Keep-Alive", "Upgrade"):
        assert name not in response.fields


def test_a_client_asking_for_trailers_is_passed_on_as_such(gateway, origin):
    fields = fields_seen(gateway, origin, [("TE", "trailers, deflate;q=0.5"), ("Connection", "TE")])
    assert fields.get("TE", "trailers") == "trailers"


def test_an_upgrade_to_cleartext_http_2_is_never_passed_on(gateway, origin):
    fields = fields_seen(gateway, origin, [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")])
    assert "Upgrade" not in fields and "HTTP2-Settings" not in fields and "Connection" not in fields


def test_via_names_us_behind_who_came_before(gateway, origin):
    assert fields_seen(gateway, origin).get("Via") == "1.1 maitred"
    assert fields_seen(gateway, origin, [("Via", "1.0 fred")]).get("Via") == "1.0 fred, 1.1 maitred"
    assert fields_seen(gateway, origin, conf={"via": "edge-1"}).get("Via") == "1.1 edge-1"
    assert "Via" not in fields_seen(gateway, origin, conf={"via": "off"})


def test_the_service_is_told_of_the_client(gateway, origin):
    fields = fields_seen(gateway, origin, source="127.0.0.7")
    assert fields.get("X-Forwarded-For") == "127.0.0.7"
    assert fields.get("X-Forwarded-Proto") == "http"
    assert fields.get("X-Forwarded-Host") == "gateway.test"
    assert "Forwarded" not in fields


def test_what_a_stranger_says_of_his_way_is_removed(gateway, origin):
    fields = fields_seen(gateway, origin, [
        ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil"), ("X-Forwarded-Port", "1"),
        ("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("x-forwarded-for", "7.7.7.7")])
    assert fields.get("X-Forwarded-For") == "127.0.0.1"
    assert fields.get("X-Forwarded-Proto") == "http"
    assert fields.get("X-Forwarded-Host") == "gateway.test"
    for name in ("X-Forwarded-Port", "X-Real-IP", "Forwarded"):
        assert name not in fields


def test_what_a_trusted_peer_says_is_believed_and_continued(gateway, origin):
    fields = fields_seen(gateway, origin, [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "public.test")],
                         conf={"trusted": ["127.0.0.0/8"]})
    assert fields.get("X-Forwarded-For") == "203.0.113.9, 127.0.0.1"
    assert fields.get("X-Forwarded-Proto") == "https"
    assert fields.get("X-Forwarded-Host") == "public.test"


def test_hops_left_of_the_first_stranger_are_not_believed(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": ["127.0.0.0/8", "10.0.0.0/8"]})
    gw.get("/", fields=[("X-Forwarded-For", "1.1.1.1, 203.0.113.9"), ("X-Forwarded-For", "10.0.0.4")])
    assert service.requests[0].get("X-Forwarded-For") == "203.0.113.9, 10.0.0.4, 127.0.0.1"
    assert gw.line(path="/")["client"] == "203.0.113.9"


def test_nonsense_among_the_hops_ends_belief(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": "127.0.0.1"})
    gw.get("/", fields=[("X-Forwarded-For", "203.0.113.9, <script>")])
    assert service.requests[0].get("X-Forwarded-For") == "127.0.0.1"
    assert gw.line(path="/")["client"] == "127.0.0.1"


def test_only_the_networks_that_are_named_are_trusted(gateway, origin):
    conf = {"trusted": ["127.0.0.8/32"]}
    assert fields_seen(gateway, origin, [("X-Forwarded-For", "9.9.9.9")], conf=conf, source="127.0.0.8").get("X-Forwarded-For") == "9.9.9.9, 127.0.0.8"
    assert fields_seen(gateway, origin, [("X-Forwarded-For", "9.9.9.9")], conf=conf, source="127.0.0.9").get("X-Forwarded-For") == "127.0.0.9"


def test_forwarded_is_built_when_asked_for(gateway, origin):
    fields = fields_seen(gateway, origin, conf={"forwarded": True, "x_forwarded": False})
    assert fields.get("Forwarded").replace('"', "") == "for=127.0.0.1;host=gateway.test;proto=http"
    assert "X-Forwarded-For" not in fields


def test_forwarded_of_a_trusted_peer_is_continued(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"forwarded": True, "trusted": ["127.0.0.1"]})
    gw.get("/", fields=[("Forwarded", 'for="[2001:db8::1]:4711";proto=https;host=public.test')])
    value = service.requests[0].get("Forwarded")
    first, second = value.split(", ")
    assert first == 'for="[2001:db8::1]:4711";proto=https;host=public.test'
    assert second.replace('"', "").startswith("for=127.0.0.1;")
    assert gw.line(path="/")["client"] == "2001:db8::1"


def test_untrusted_elements_of_forwarded_are_removed(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"forwarded": True, "trusted": ["127.0.0.1"]})
    gw.get("/", fields=[("Forwarded", "for=1.1.1.1, for=203.0.113.9")])
    assert "1.1.1.1" not in service.requests[0].get("Forwarded")
    assert gw.line(path="/")["client"] == "203.0.113.9"


def test_a_forwarded_that_a_trusted_peer_passed_through_unread_is_dropped(gateway, origin):
    """It speaks of another client than X-Forwarded-For: the peer writes one of them only, and the other is a stranger's."""
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": ["127.0.0.1"]})
    gw.get("/", fields=[("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=6.6.6.6")])
    assert "Forwarded" not in service.requests[0].fields
    assert gw.line(path="/")["client"] == "203.0.113.9"


def test_a_comma_within_quotes_does_not_end_an_element_of_forwarded(gateway, origin):
    service = origin()
    gw = gateway(to=service, forwarding={"trusted": ["127.0.0.1"]})
    gw.get("/", fields=[("Forwarded", 'for=203.0.113.9;by="a, for=6.6.6.6"')])
    assert gw.line(path="/")["client"] == "203.0.113.9"


def test_forwarding_fields_can_be_switched_off(gateway, origin):
    fields = fields_seen(gateway, origin, conf={"x_forwarded": False, "via": "off"})
    assert {n.lower() for n in fields.names()} == {"host"}


@pytest.mark.parametrize("mode, wanted", [("preserve", "gateway.test"), ("target", None), ("inner.example:8080", "inner.example:8080")])
def test_the_host_that_the_service_sees_is_chosen_by_the_route(gateway, origin, mode, wanted):
    service = origin()
    gateway(to=service, routes=[{"proxy": {"upstream": "app", "host": mode}}]).get("/")
    assert service.requests[0].get("Host") == (wanted or service.address)


def test_the_path_is_rewritten_with_captures_and_the_query_kept(gateway, origin):
    service = origin()
    gw = gateway(to=service, limits={"escaped_slashes": True}, routes=[
        {"match": {"path": "/v2/users/{id}"}, "proxy": {"upstream": "app", "path": "/users/{id}"}},
        {"match": {"path": "/files/{rest...}"}, "proxy": {"upstream": "app", "path": "/static/{rest...}"}}])
    for target, wanted in [("/v2/users/7?a=b", "/users/7?a=b"), ("/v2/users/a%2Fb", "/users/a%2Fb"), ("/v2/users/%C3%A4", "/users/%C3%A4"),
                           ("/files/a/b/c?x", "/static/a/b/c?x"), ("/v2/users/a%20b%3F", "/users/a%20b%3F")]:
        assert gw.get(target).status == 200
        assert service.requests[-1].target == wanted


def test_every_other_field_arrives_as_it_was_sent(gateway, origin):
    sent = [("Cookie", "a=b"), ("X-Twice", "1"), ("X-Twice", "2"), ("Authorization", "Basic eA=="), ("Accept", "*/*"), ("X-Empty", "")]
    fields = fields_seen(gateway, origin, sent)
    for name, value in sent:
        assert (name, value) in fields
    assert fields.all("X-Twice") == ["1", "2"]
