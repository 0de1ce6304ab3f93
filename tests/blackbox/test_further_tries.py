"""What holds for the first try holds for every further one."""
import pytest

from kit.gateway import upstream


def breaks_then_stalls(call):
    """The first connection breaks under a request; on later ones no answer comes until the client has gone."""
    if len(call.origin.wires) == 1:
        call.request.body = b""
        call.close()
    else:
        call.read_body()
        call.wire.rest()
        call.close()


@pytest.mark.parametrize("body", [None, b"hello"])
def test_a_further_try_has_the_response_timeout_of_the_first(gateway, origin, body):
    service = origin(script=breaks_then_stalls)
    gw = gateway(to=service, upstream_settings={"timeouts": {"response": "200ms"}, "retry": {"attempts": 2, "backoff": "0"}})
    with gw.connect() as wire:
        wire.ask("/", "GET" if body is None else "PUT", body=body)
        assert wire.response().status == 504
    line = gw.line(path="/")
    assert line["error"]["word"] == "response_timeout" and line["tries"] == 2


def test_without_a_host_each_try_names_its_own_target(gateway, origin):
    def breaks(call):
        call.request.body = b""
        call.close()

    first, second = origin("first", script=breaks), origin("second")
    gw = gateway(upstreams={"app": upstream(first, second, retry={"attempts": 2, "backoff": "0"})}, routes=[{"proxy": "app"}], workers=1)
    for _ in range(2):  # one of the two begins at the target that breaks
        with gw.connect() as wire:
            wire.send("GET / HTTP/1.0\r\n\r\n")
            assert wire.response().status == 200
    assert first.requests
    assert all(r.get("Host") == o.address for o in (first, second) for r in o.requests)


def test_retries_are_counted_once_each_and_replaced_connections_are_none(gateway, origin):
    def breaks_at_second_request(call):
        if call.number == 2:  # on a reused connection: it is stale
            call.request.body = b""
            call.close()
        else:
            call.answer(200)

    gw = gateway(to=origin(script=breaks_at_second_request), workers=1)
    with gw.connect() as wire:
        assert [wire.get("/").status for _ in range(2)] == [200, 200]
    assert gw.metric("maitred_upstream_retries_total") == 0
    assert gw.metric("maitred_target_failures_total") == 0
    assert [l["tries"] for l in gw.lines(2, path="/")] == [1, 1]
