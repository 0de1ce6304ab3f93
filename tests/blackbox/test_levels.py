"""Policies on the gateway, on a listener, in a set and on a route: who sees which, and in what order."""
from kit import ports
from kit.gateway import run, upstream
from kit.wire import connect


def adds(value):
    return {"headers": {"request": {"add": {"X-Way": value}}, "response": {"add": {"X-Back": value}}}}


def test_policies_run_from_the_gateway_to_the_route_and_back(gateway, origin):
    inner, service = ports.free_port(), origin()
    gw = gateway(upstreams={"app": upstream(service)}, policies=[adds("gateway")],
                 policy_sets={"common": [adds("set-1"), adds("set-2")]},
                 routes=[{"match": {"path": "/used"}, "policies": [{"use": "common"}, adds("route")], "proxy": "app"},
                         {"match": {"prefix": "/"}, "proxy": "app"}])
    own = gw.config["listeners"]
    gw.reload({**gw.config, "listeners": own + [{"address": f"127.0.0.1:{inner}", "policies": [adds("listener")]}]})

    def ways(port, path):
        with connect(port) as wire:
            response = wire.get(path)
        request = service.requests[-1].fields
        return (request.all("X-Way"), response.fields.all("X-Back"))

    levels = ["gateway", "set-1", "set-2", "route"]
    assert ways(gw.port, "/used") == (levels, levels[::-1])
    assert ways(gw.port, "/other") == (["gateway"], ["gateway"])
    levels.insert(1, "listener")
    assert ways(inner, "/used") == (levels, levels[::-1])
    assert ways(inner, "/other") == (levels[:2], levels[1::-1])
    gw.reload({**gw.config, "listeners": own})


def test_a_request_without_a_route_sees_no_policy(gateway):
    gw = gateway(policies=[adds("gateway")], routes=[{"match": {"path": "/here"}, "respond": 200}])
    assert gw.get("/here").get("X-Back") == "gateway"
    response = gw.get("/nowhere")
    assert response.status == 404 and "X-Back" not in response.fields


def test_mistakes_in_a_set_and_in_its_name_are_told_once_with_their_place(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text("""listeners: [ 127.0.0.1:8080 ]
policy_sets:
  common:
    - headers: { response: { set: { "Bad Name": x } } }
policies:
  - use: comon
routes:
  - match: { path: /one }
    policies: [ { use: common } ]
    respond: 204
  - match: { path: /two }
    policies: [ { use: common } ]
    respond: 204
""")
    result = run("check", config)
    assert result.returncode == 3
    assert "2 mistakes" in result.stderr and "x.yaml:4:" in result.stderr
    assert "did you mean `common`" in result.stderr
