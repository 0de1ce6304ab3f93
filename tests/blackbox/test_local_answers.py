"""What the gateway answers itself."""
import json

import pytest

from kit.wire import connect

NOTHING_HERE = {"routes": [{"match": {"path": "/only"}, "respond": 200}]}


def test_an_error_is_told_as_problem_details(gateway):
    response = gateway(**NOTHING_HERE).get("/none")
    assert response.status == 404
    assert response.get("Content-Type") == "application/problem+json"
    problem = json.loads(response.body)
    assert problem["status"] == 404 and problem["title"] and problem["type"].startswith("urn:")


@pytest.mark.parametrize("accept, wanted", [
    (None, "application/problem+json"),
    ("*/*", "application/problem+json"),
    ("application/json", "application/problem+json"),
    ("application/*", "application/problem+json"),
    ("text/html, application/problem+json;q=0.9, text/plain;q=0.5", "application/problem+json"),
    ("text/plain", "text/plain; charset=utf-8"),
    ("TEXT/PLAIN", "text/plain; charset=utf-8"),
    ("text/*", "text/plain; charset=utf-8"),
    ("text/plain, application/json;q=0.1", "text/plain; charset=utf-8"),
    ("application/problem+json;q=0, text/plain", "text/plain; charset=utf-8"),
    ("text/plain;q=0.001, */*;q=0.9", "application/problem+json"),
    ("text/plain;q=nonsense", None),
    (",,;;=", None),
])
def test_plain_text_is_sent_where_accept_prefers_it(gateway, accept, wanted):
    with gateway(**NOTHING_HERE).connect() as wire:
        response = wire.get("/none", fields=[("Accept", accept)] if accept else [])
        assert response.status == 404
        assert wanted is None or response.get("Content-Type") == wanted
        if wanted and wanted.startswith("text"):
            assert response.text.startswith("404 ")


def test_nothing_that_the_client_sent_is_echoed(gateway):
    response = gateway(**NOTHING_HERE).get("/none-<script>alert(1)</script>".replace("<", "%3C").replace(">", "%3E"))
    assert b"script" not in response.body


def test_a_local_answer_keeps_the_connection(gateway):
    with gateway(**NOTHING_HERE).connect() as wire:
        for _ in range(3):
            assert wire.get("/none").status == 404
        assert wire.get("/only").status == 200


def test_a_local_answer_to_head_has_no_body(gateway):
    with gateway(**NOTHING_HERE).connect() as wire:
        response = wire.get("/none", method="HEAD")
        assert response.status == 404 and int(response.get("Content-Length")) > 0
        assert wire.get("/only").status == 200


def test_health_is_about_the_process(gateway):
    response = gateway(**NOTHING_HERE).admin("/healthz")
    assert (response.status, response.text) == (200, "ok\n")


def test_readiness_says_that_it_serves(gateway):
    assert gateway(**NOTHING_HERE).admin("/readyz").status == 200


def test_metrics_are_prometheus_text(gateway):
    gw = gateway(**NOTHING_HERE)
    gw.get("/only")
    response = gw.admin("/metrics")
    assert response.get("Content-Type").startswith("text/plain; version=0.0.4")
    assert response.get("Cache-Control") == "no-store"
    families = {}
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in families, f"{name} is told twice"
            families[name] = kind
        elif not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            base = name if name in families else name.rsplit("_", 1)[0]
            assert base in families, f"{name} has no type"
            float(line.rsplit(" ", 1)[1])
    assert families["maitred_requests_total"] == "counter"
    assert families["maitred_request_duration_seconds"] == "histogram"
    gw.wait_for_metric(1, "maitred_requests_total", route="/only", **{"class": "2xx"})  # counted behind the answer
    gw.wait_for_metric(1, "maitred_request_duration_seconds_count", route="/only")


def test_openmetrics_is_sent_when_it_is_asked_for(gateway):
    gw = gateway(**NOTHING_HERE)
    with connect(gw.admin_port) as wire:
        response = wire.get("/metrics", host="localhost", fields=[("Accept", "application/openmetrics-text; version=1.0.0")])
        assert response.get("Content-Type").startswith("application/openmetrics-text")
        assert response.text.endswith("# EOF\n")


def test_the_admin_listener_knows_its_paths_and_methods(gateway):
    gw = gateway(**NOTHING_HERE)
    assert gw.admin("/other").status == 404
    with connect(gw.admin_port) as wire:
        response = wire.get("/metrics", host="localhost", method="POST")
        assert (response.status, response.get("Allow")) == (405, "GET, HEAD")
        assert wire.get("/metrics", host="localhost", method="HEAD").status == 200


def test_the_admin_listener_may_be_a_unix_socket(gateway, folder):
    path = str(folder / "admin.sock")
    gateway(admin=f"unix:{path}", **NOTHING_HERE)
    with connect(path) as wire:
        assert wire.get("/healthz").text == "ok\n"


def test_the_admin_paths_are_not_on_the_clients_listener(gateway):
    gw = gateway(**NOTHING_HERE)
    for path in ("/metrics", "/healthz", "/readyz"):
        assert gw.get(path).status == 404
