"""Limits with the real gateway: exact over two workers, keys apart, what the client is told, waiting, and giving back."""
import json
import re
import threading
import time

import pytest

from kit.calls import CallService, Channel
from kit.gateway import run, upstream, wait_until
from kit.http2 import h2_connect, request_fields
from kit.wire import connect


def limited(*limits, **more):
    return {"rate_limit": {"limits": list(limits), **more}}


def route(*limits, match=None, answer=None, **more):
    return {"match": match or {"prefix": "/"}, "policies": [limited(*limits, **more)], **(answer or {"respond": 200})}


def told(response):
    """[(name, {parameter: value})] of both fields, which are lists of RFC 9651."""
    found = []
    for field in ("RateLimit-Policy", "RateLimit"):
        items = []
        for item in response.fields.get(field, "").split(", "):
            name, parameters = re.fullmatch(r'"([A-Za-z0-9._-]+)"((?:;[a-z]+=(?:\d+|"[a-z-]+"))+)', item).groups()
            items.append((name, {k: int(v) if v.isdigit() else v.strip('"') for k, v in (p.split("=") for p in parameters[1:].split(";"))}))
        found.append(items)
    return found


def statuses(gw, count, **more):
    with gw.connect() as wire:
        return [wire.get(**more).status for _ in range(count)]


# ---- counting ----


@pytest.mark.parametrize("algorithm", [{"token_bucket": {"rate": "1/h", "burst": 100}}, {"sliding_window": "100/h"}, {"sliding_log": "100/h"},
                                       {"fixed_window": "100/month"}, {"leaky_bucket": {"rate": "1/h", "burst": 99, "queue": 1}}],
                         ids=lambda a: next(iter(a)))
def test_two_workers_admit_exactly_what_there_is(gateway, algorithm):
    gw = gateway(routes=[route(algorithm, match={"path": "/"})])
    got, lock, go = [], threading.Lock(), threading.Barrier(8)

    def ask():
        go.wait()
        for _ in range(5):  # fresh connections: both workers get some
            with gw.connect() as wire:
                wire.sock.settimeout(5)
                for _ in range(5):
                    wire.ask("/")
                    try:
                        status = wire.response().status
                    except TimeoutError:
                        wire.reset()
                        return  # the leaky bucket's one that waits for an hour
                    with lock:
                        got.append(status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert got.count(200) == 100
    assert set(got) == {200, 429}


def test_keys_count_apart_and_an_empty_one_is_shared_or_skipped(gateway):
    bucket = {"token_bucket": {"rate": "1/h", "burst": 2}}
    gw = gateway(routes=[route({**bucket, "key": "{header.X-Tenant}"}, match={"path": "/shared"}),
                         route({**bucket, "key": "{header.X-Tenant}", "empty_key": "skip"}, match={"path": "/skip"}),
                         route({**bucket}, match={"path": "/address"}),
                         route({**bucket, "key": "{header.X-Tenant}/{route}"}, match={"prefix": "/both"})])
    for tenant in ("a", "b"):
        assert statuses(gw, 3, target="/shared", fields=[("X-Tenant", tenant)]) == [200, 200, 429]
        assert statuses(gw, 3, target="/both", fields=[("X-Tenant", tenant)]) == [200, 200, 429]
    assert statuses(gw, 3, target="/shared") == [200, 200, 429]
    assert statuses(gw, 5, target="/skip") == [200] * 5
    for source in ("127.0.0.1", "127.0.0.2"):
        with connect(gw.port, source=source) as wire:
            assert [wire.get("/address").status for _ in range(3)] == [200, 200, 429]


def test_one_that_refuses_takes_nothing_of_the_others(gateway):
    gw = gateway(routes=[route({"name": "all", "key": "all", "token_bucket": {"rate": "1/h", "burst": 5}},
                               {"name": "user", "key": "{header.X-User}", "token_bucket": {"rate": "1/m", "burst": 2}}, headers=True)])
    assert statuses(gw, 12, fields=[("X-User", "a")]) == [200] * 2 + [429] * 10
    response = gw.get(fields=[("X-User", "b")])
    assert response.status == 200 and told(response)[1][0][1]["r"] in (1, 2)
    assert statuses(gw, 3, fields=[("X-User", "c")]) == [200, 200, 429]
    refused = gw.get(fields=[("X-User", "d")])  # now all are used up, by 2, 1 and 2
    assert refused.status == 429 and told(refused)[1][0][0] == "all"


def test_the_longest_wait_of_all_limits_is_told(gateway):
    gw = gateway(routes=[route({"name": "short", "token_bucket": {"rate": "1/m", "burst": 1}}, {"name": "long", "token_bucket": {"rate": "1/h", "burst": 1}})])
    assert gw.get().status == 200
    refused = gw.get()
    assert told(refused)[1][0][0] == "long" and 3590 <= int(refused.get("Retry-After")) <= 3600


def test_costs_come_from_the_configuration_the_request_or_the_answer(gateway, origin):
    service = origin(script=lambda call: call.answer(200, fields=[("X-Spent", call.request.fields.get("X-Want", "no number"))]))
    bucket = {"token_bucket": {"rate": "1/h", "burst": 10}}
    gw = gateway(upstreams={"app": upstream(service)},
                 routes=[route({**bucket, "cost": 4}, match={"path": "/fixed"}),
                         route({**bucket, "cost": {"header": "X-Want", "max": 6}}, match={"path": "/header"}),
                         route({**bucket, "cost": {"response_header": "X-Spent", "fixed": 2, "max": 30}}, match={"path": "/answer"},
                               answer={"proxy": "app"}, headers=True)])
    assert statuses(gw, 3, target="/fixed") == [200, 200, 429]

    def ask(path, want):
        response = gw.get(path, fields=[("X-Want", want)])
        return response.status, (told(response)[1][0][1]["r"] if "RateLimit" in response.fields else None)

    assert ask("/header", "0")[0] == 200      # costs 1
    assert ask("/header", "999")[0] == 200    # costs 6
    assert ask("/header", "4") == (429, 3)
    assert ask("/header", "-7")[0] == 200     # no number: 1
    assert ask("/header", "2")[0] == 200
    assert ask("/answer", "0") == (200, 10)
    assert ask("/answer", "3") == (200, 7)
    assert ask("/answer", "many") == (200, 5)
    assert ask("/answer", "30") == (200, 0)   # it overdraws
    assert ask("/answer", "0")[0] == 429
    assert len([r for r in service.requests]) == 4


def test_an_answer_that_never_came_is_paid_for(gateway, origin):
    begun, go = threading.Event(), threading.Event()

    def hang(call):
        begun.set()
        go.wait(20)

    gw = gateway(upstreams={"app": upstream(origin(script=hang))},
                 routes=[route({"token_bucket": {"rate": "1/h", "burst": 3}, "cost": {"response_header": "X-Spent", "fixed": 3}}, answer={"proxy": "app"})])
    with gw.connect() as wire:
        wire.ask("/first")
        assert begun.wait(10)
        wire.reset()
    gw.line(path="/first")
    go.set()
    assert gw.get().status == 429


# ---- what is told ----


def test_the_fields_are_those_of_the_draft(gateway):
    gw = gateway(routes=[route({"token_bucket": {"rate": "10/m", "burst": 3}}, {"name": "per-day", "fixed_window": "1000/d"},
                               {"name": "at-once", "concurrency": 7}, headers=True, match={"path": "/told"}),
                         route({"token_bucket": {"rate": "1/h", "burst": 1}}, match={"path": "/quiet"})])
    response = gw.get("/told")
    policies, states = told(response)
    assert policies == [("default", {"q": 3, "w": 18}), ("per-day", {"q": 1000, "w": 86400}), ("at-once", {"q": 7, "qu": "concurrent-requests"})]
    assert states == [("default", {"r": 2, "t": 6})] and "Retry-After" not in response.fields
    gw.get("/told"), gw.get("/told")
    refused = gw.get("/told")
    assert refused.status == 429 and refused.get("Retry-After") == "6" and told(refused)[1] == [("default", {"r": 0, "t": 6})]
    problem = json.loads(refused.body)
    assert problem["type"] == "urn:maitred:problem:rate_limited" and "`default`" in problem["detail"]
    quiet = gw.get("/quiet")
    assert "RateLimit" not in quiet.fields and "RateLimit-Policy" not in quiet.fields
    assert told(gw.get("/quiet"))[0] == [("default", {"q": 1, "w": 3600})]
    assert gw.line(status=429)["error"]["word"] == "rate_limited"


def test_what_costs_more_than_there_ever_is_has_no_retry_after(gateway):
    gw = gateway(routes=[route({"token_bucket": {"rate": "1/s", "burst": 3}, "cost": 4})])
    refused = gw.get()
    assert refused.status == 429 and "Retry-After" not in refused.fields and "more than" in refused.text


def test_a_dry_run_counts_and_refuses_nothing(gateway):
    gw = gateway(routes=[route({"token_bucket": {"rate": "1/h", "burst": 2}}, {"name": "pace", "leaky_bucket": {"rate": "1/h", "queue": 9}}, dry_run=True, headers=True)])
    assert statuses(gw, 5) == [200] * 5
    assert "RateLimit" not in gw.get().fields
    gw.wait_for_metric(4, "maitred_rate_limit_decisions_total", limit="default", result="dry_run")
    gw.wait_for_metric(2, "maitred_rate_limit_decisions_total", limit="default", result="allowed")
    gw.errors.wait(lambda e: e[0] == "notice" and "dry run: the limit `default`" in e[2], "of the dry run")


def test_grpc_clients_get_resource_exhausted(gateway):
    service = CallService()
    gw = gateway(upstreams={"app": upstream(service, protocol="h2")}, routes=[route({"token_bucket": {"rate": "1/h", "burst": 1}}, answer={"proxy": "app"})])
    channel = Channel(gw.port)
    try:
        assert channel.say() == b"you said hello"
        assert channel.error().code().name == "RESOURCE_EXHAUSTED"
    finally:
        channel.close()
        service.stop()


# ---- waiting ----


def test_a_leaky_bucket_paces_and_bounds(gateway, origin):
    service = origin()
    gw = gateway(upstreams={"app": upstream(service)}, routes=[route({"leaky_bucket": {"rate": "10/s", "queue": 3}}, answer={"proxy": "app"})])
    begin = time.monotonic()
    with h2_connect(gw.port) as wire:
        streams = [wire.open(request_fields(path=f"/{i}")) for i in range(8)]
        got = [dict(s.head())[":status"] for s in streams]
    assert got.count("200") >= 4 and got[:4] == ["200"] * 4 and "429" in got
    assert time.monotonic() - begin >= 0.3  # three of them waited; never less
    assert [r.path for r in service.requests[:4]] == ["/0", "/1", "/2", "/3"]
    gw.wait_for_metric(lambda n: n >= 3, "maitred_rate_limit_decisions_total", result="delayed")


def test_one_that_waits_for_its_turn_can_go_away(gateway, origin):
    service = origin()
    gw = gateway(upstreams={"app": upstream(service)}, routes=[route({"leaky_bucket": {"rate": "1/h", "queue": 3}}, answer={"proxy": "app"})])
    assert gw.get("/first").status == 200
    with gw.connect() as waits:
        waits.ask("/waits")
        gw.wait_for_metric(1, "maitred_rate_limit_decisions_total", result="delayed")
        waits.reset()
    gw.line(path="/waits")
    assert [r.path for r in service.requests] == ["/first"]


# ---- in flight ----


class Hanging:
    """A script: /hang is answered once it may."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, call):
        if call.request.path == "/hang":
            self.go.wait(20)
        call.answer(200)


def test_concurrency_is_released_however_an_exchange_ends(gateway, origin):
    script = Hanging()
    service = origin(script=script)
    gw = gateway(upstreams={"app": upstream(service)}, routes=[route({"concurrency": 2}, answer={"proxy": "app"})])
    assert statuses(gw, 20) == [200] * 20
    with gw.connect() as one, h2_connect(gw.port) as two:
        one.ask("/hang")
        stream = two.open(request_fields(path="/hang"))
        wait_until(lambda: sum(r.path == "/hang" for r in service.requests) == 2, "two hang")
        refused = gw.get("/third")
        assert refused.status == 429 and refused.get("Retry-After") == "1"
        stream.reset()
        wait_until(lambda: gw.get("/third").status == 200, "the stream's place is free")
        assert statuses(gw, 20) == [200] * 20
        again = gw.connect()
        again.ask("/hang")
        wait_until(lambda: sum(r.path == "/hang" for r in service.requests) == 3, "three hung")
        assert gw.get("/third").status == 429
        one.reset()
        wait_until(lambda: gw.get("/third").status == 200, "the connection's place is free")
        script.go.set()
        assert again.response().status == 200
        again.close()
    with h2_connect(gw.port) as wire:  # both places are free again, and no more than both
        script.go.clear()
        before = gw.metric("maitred_rate_limit_decisions_total", result="refused")
        streams = [wire.open(request_fields(path="/hang")) for _ in range(5)]
        gw.wait_for_metric(before + 3, "maitred_rate_limit_decisions_total", result="refused")
        script.go.set()
        assert sorted(dict(s.head())[":status"] for s in streams) == ["200"] * 2 + ["429"] * 3


def test_a_limit_behind_that_refuses_leaves_no_place_taken(gateway):
    gw = gateway(routes=[route({"name": "at-once", "concurrency": 1}, {"name": "rate", "key": "{header.X-User}", "token_bucket": {"rate": "1/h", "burst": 1}})])
    assert statuses(gw, 4, fields=[("X-User", "a")]) == [200, 429, 429, 429]
    assert statuses(gw, 1, fields=[("X-User", "b")]) == [200]


# ---- bandwidth ----


def test_bodies_are_paced_in_both_directions_and_arrive_whole(gateway, origin):
    big = bytes(range(256)) * 1200  # 300 KiB
    service = origin(script=lambda call: call.answer(200, big if call.request.method == "GET" else str(len(call.read_body())).encode()))
    gw = gateway(upstreams={"app": upstream(service)},
                 routes=[route({"bandwidth": {"response": "400KiB", "request": "400KiB", "burst": "100KiB"}}, answer={"proxy": "app"})])
    begin = time.monotonic()
    assert gw.get().body == big
    middle = time.monotonic()
    assert middle - begin >= 0.4  # 200 KiB behind the burst, at 400 KiB a second
    with gw.connect() as wire:
        assert wire.get(method="POST", body=big).text == str(len(big))
    assert time.monotonic() - middle >= 0.4
    time_ = time.monotonic()
    with h2_connect(gw.port) as wire:
        assert wire.open(request_fields()).body() == big
    assert time.monotonic() - time_ >= 0.4


def test_bodies_of_one_key_share_the_rate(gateway, origin):
    big = b"x" * 150 * 1024
    gw = gateway(upstreams={"app": upstream(origin(script=lambda call: call.answer(200, big)))},
                 routes=[route({"bandwidth": {"response": "400KiB", "burst": "100KiB"}}, answer={"proxy": "app"})])
    begin, bodies = time.monotonic(), []
    threads = [threading.Thread(target=lambda: bodies.append(gw.get().body)) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert bodies == [big, big] and time.monotonic() - begin >= 0.5


def test_a_client_that_goes_away_from_a_paced_body_leaves_nothing(gateway, origin):
    size = {"/": 3000000, "/small": 100000}
    gw = gateway(upstreams={"app": upstream(origin(script=lambda call: call.answer(200, b"x" * size[call.request.path])))},
                 routes=[route({"bandwidth": {"response": "64KiB", "burst": "16KiB"}}, answer={"proxy": "app"})])
    for _ in range(5):
        with gw.connect() as wire:
            wire.ask()
            assert wire.response_head().status == 200
            wire.reset()
    gw.lines(5, path="/")
    assert len(gw.get("/small").body) == 100000  # longer than the others would have waited for their share


# ---- reloads and mistakes ----


def test_counts_outlive_a_reload_of_another_route_and_not_of_the_policy(gateway):
    def routes(other, burst):
        return [route({"token_bucket": {"rate": "1/h", "burst": burst}}, match={"path": "/here"}), {"match": {"path": "/other"}, "respond": other}]

    gw = gateway(routes=routes(200, 2))
    assert statuses(gw, 3, target="/here") == [200, 200, 429]
    gw.reload({**gw.config, "routes": routes(204, 2)})
    assert gw.get("/other").status == 204 and gw.get("/here").status == 429
    gw.reload({**gw.config, "routes": routes(204, 3)})
    assert statuses(gw, 4, target="/here") == [200, 200, 200, 429]


@pytest.mark.parametrize("limit, what", [
    ('{ token_bucket: 100 }', "is no rate"),
    ('{ token_bucket: 0/s }', "lets nothing through"),
    ('{ token_bucket: 2000000/s }', "at most 1000000 a second"),
    ('{ token_bucket: { rate: 1/d, burst: 100000 } }', "ten years"),
    ('{ sliding_window: 5/month }', "months are for `fixed_window`"),
    ('{ sliding_log: 20000/h }', "at most 10000"),
    ('{ sliding_log: 9000/h, keys: 100000 }', "lower `keys`"),
    ('{ fixed_window: { quota: 5/d, timezone: Europe/Paris } }', "expected `UTC` or an offset"),
    ('{ concurrency: 5, cost: 2 }', "have no `cost`"),
    ('{ bandwidth: { burst: 5KiB } }', "needs `response` or `request`"),
    ('{ token_bucket: 1/s, name: "a b" }', "is no name"),
    ('{ token_bucket: 1/s, key: "{consumr}" }', "did you mean `{consumer}`"),
    ('{ token_bucket: 1/s, cost: { header: "a b" } }', "is no field name"),
    ('{ token_bucket: 1/s, cost: { header: a, response_header: b } }', "paid for once"),
    ('{ leaky_bucket: { rate: 1/s, queue: 2 }, cost: { response_header: b } }', "has to know the cost before"),
    ('{ token_bucket: 1/s }, { sliding_log: 1/s }', "two limits are named `default`"),
    ('{ bandwidth: 5KiB }, { bandwidth: 5KiB, name: b }', "one `bandwidth` in a policy"),
    ('{ token_bucket: 1/s, concurrency: 5 }', "concurrency"),
    ('{ key: all }', "limit"),
])
def test_mistakes_are_told_where_they_stand(tmp_path, limit, what):
    config = tmp_path / "x.yaml"
    config.write_text(f"listeners: [ 127.0.0.1:8080 ]\nroutes:\n  - respond: 204\n    policies:\n      - rate_limit: [ {limit} ]\n")
    result = run("check", config)
    assert result.returncode == 3 and what in result.stderr and "x.yaml:5:" in result.stderr, result.stderr
