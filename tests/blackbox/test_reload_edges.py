"""Reloads: what goes on across them, on connections and in routes that they do not touch."""
from kit import ports
from kit.gateway import upstream
from kit.wire import connect


def routes(text):
    return [{"match": {"path": "/proxied"}, "proxy": "app"}, {"match": {"path": "/changing"}, "respond": {"status": 200, "body": text}}]


def test_a_route_that_no_reload_has_touched_goes_on_with_the_settings_it_was_made_with(gateway, origin):
    service = origin()
    gw = gateway(upstreams={"app": upstream(service)}, routes=routes("0"), forwarding={"via": "front", "forwarded": True})
    for round_ in range(1, 5):
        gw.reload({**gw.config, "routes": routes(str(round_))})
        with gw.connect() as wire:
            assert wire.get("/changing").text == str(round_)
            assert wire.get("/proxied").status == 200
    assert all(r.get("Via") == "1.1 front" for r in service.requests)
    assert all("for=127.0.0.1" in r.get("Forwarded") for r in service.requests)


def test_a_connection_of_a_listener_that_went_is_served_by_the_routes_of_today(gateway, origin):
    extra = ports.free_port()
    service = origin()
    gw = gateway(upstreams={"app": upstream(service)}, routes=routes("old"))
    own = gw.config["listeners"]
    gw.reload({**gw.config, "listeners": own + [f"127.0.0.1:{extra}"]})
    with connect(extra) as wire:
        assert wire.get("/changing").text == "old"
        gw.reload({**gw.config, "listeners": own, "routes": routes("new")})
        gw.reload({**gw.config, "routes": routes("newest")})
        response = wire.get("/changing")
        assert response.text == "newest" and response.get("Connection") == "close"
        assert wire.is_closed()


def test_what_a_reload_cannot_change_is_said(gateway):
    gw = gateway().allow("stays as it is")
    gw.reload({**gw.config, "admin": f"127.0.0.1:{ports.free_port()}", "resolver": {"servers": ["127.0.0.1"]}})
    for name in ("admin", "resolver"):
        gw.errors.wait(lambda e: e[2].startswith(f"`{name}` stays as it is"), f"that {name} stays")
    assert gw.get("/").status == 200


def test_the_admin_listener_has_an_address_of_its_own(gateway):
    gw = gateway().allow("listened on already", "mistake")
    gw.reload({**gw.config, "listeners": gw.config["listeners"] + [gw.config["admin"]]})
    gw.errors.wait(lambda e: "listened on already" in e[2], "that the address is taken")
    assert gw.get("/").status == 200


def test_requests_that_met_no_route_are_counted_too(gateway):
    gw = gateway(routes=[{"match": {"path": "/here"}, "respond": 200}])
    with gw.connect() as wire:
        assert [wire.get(path).status for path in ("/here", "/nowhere", "/nowhere")] == [200, 404, 404]
    gw.wait_for_metric(2, "maitred_requests_total", route="", **{"class": "4xx"})
