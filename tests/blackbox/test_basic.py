"""Users and passwords (RFC 7617): plain and hashed ones, wrong ones, many at once, reloads."""
import base64
import concurrent.futures

import pytest

from kit.certificates import openssl
from kit.gateway import upstream


def hashed(password, rounds):
    return openssl("passwd", "-6", "-salt", f"rounds={rounds}$saltsalt", "-stdin", input=password.encode()).decode().strip()


SLOW = hashed("päss", 5000)


def basic(user, password, encoding="utf-8"):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode())


USERS = {"ada": {"groups": ["staff"], "basic": {"username": "ada", "password_hash": SLOW}},
         "bob": {"basic": [{"username": "bob", "password": "b:o:b"}, {"username": "bob2", "password": "second"}]}}


@pytest.fixture
def guarded(gateway, origin):
    def start(settings=None, users=USERS, **more):
        service = origin()
        gw = gateway(upstreams={"app": upstream(service)}, consumers=users,
                     routes=[{"match": {"prefix": "/"}, "policies": [{"basic": settings or {}}], "proxy": "app"}], **more)
        return gw, service
    return start


def test_a_password_lets_in_and_does_not_reach_the_service(guarded):
    gw, service = guarded({"consumer_headers": {"X-User": "subject", "X-Consumer": "consumer"}})
    for user, password, consumer in (("bob", "b:o:b", "bob"), ("bob2", "second", "bob"), ("ada", "päss", "ada"), ("ada", "päss", "ada")):
        assert gw.get("/", fields=[basic(user, password)]).status == 200, user
        request = service.requests[-1]
        assert "Authorization" not in request.fields and (request.get("X-User"), request.get("X-Consumer")) == (user, consumer)


def test_everything_else_is_401_with_realm_and_charset(guarded):
    gw, service = guarded({"realm": "staff only"})
    good = basic("bob", "b:o:b")[1].split()[1]
    wrong = [[], [basic("bob", "b:o:c")], [basic("eve", "b:o:b")], [basic("ada", "pass")], [basic("ada", "päss", "latin-1")], [basic("", "")],
             [("Authorization", "Basic")], [("Authorization", "Basic !!!!")], [("Authorization", "Basic " + "QUJD" * 2000)],
             [("Authorization", "Basic " + base64.b64encode(b"no colon").decode())], [("Authorization", f"Bearer {good}")],
             [basic("bob", "b:o:b\0")], [basic("bob", "b:o:b"), ("Authorization", "Bearer x")], [("Authorization", f"Basic {good} {good}")]]
    for fields in wrong:
        response = gw.get("/", fields=fields)
        assert response.status == 401, fields
        assert response.get("WWW-Authenticate") == 'Basic realm="staff only", charset="UTF-8"'
    assert not service.requests
    assert gw.get("/", fields=[("Authorization", f"bAsIc {good}")]).status == 200


def test_a_hashed_password_is_checked_beside_the_worker_and_remembered(guarded):
    gw, service = guarded()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(gw.get, "/", fields=[basic("ada", p)]) for p in ("päss", "wrong", "päss", "worse", "päss", "worst")]
        assert gw.get("/", fields=[basic("bob", "b:o:b")]).status == 200
        assert [s.result().status for s in slow] == [200, 401] * 3


def test_a_reload_that_changes_a_password_forgets_the_old_one(guarded):
    gw, service = guarded()
    with gw.connect() as wire:
        for _ in range(2):
            assert wire.get("/", fields=[basic("ada", "päss")]).status == 200
        changed = {"username": "ada", "password_hash": hashed("new", 1000)}
        gw.reload({**gw.config, "consumers": {"ada": {"basic": changed}}})
        assert wire.get("/", fields=[basic("ada", "päss")]).status == 401
        assert wire.get("/", fields=[basic("ada", "new")]).status == 200
        gw.reload({**gw.config, "revoked": {"sub": "ada"}})
        assert wire.get("/", fields=[basic("ada", "new")]).status == 401


def test_more_hashes_than_can_wait_are_refused_and_those_who_are_remembered_still_come_in(guarded):
    costly = hashed("slow", 200000)
    gw, service = guarded(users={**USERS, "cid": {"basic": {"username": "cid", "password_hash": costly}}})
    assert gw.get("/", fields=[basic("cid", "slow")]).status == 200
    with concurrent.futures.ThreadPoolExecutor(90) as pool:
        flood = [pool.submit(gw.get, "/", fields=[basic("cid", f"guess {i}")]) for i in range(90)]
        concurrent.futures.wait(flood, return_when=concurrent.futures.FIRST_COMPLETED)
        answers = {f.result().status for f in flood}
    assert 503 in answers and answers <= {401, 503}
    assert gw.metric("maitred_authentications_total", policy="basic", outcome="overloaded") > 0
    assert gw.get("/", fields=[basic("bob", "b:o:b")]).status == 200


def test_clients_that_leave_while_their_password_is_checked_leave_nothing_behind(guarded):
    costly = hashed("slow", 200000)
    gw, service = guarded(users={"cid": {"basic": {"username": "cid", "password_hash": costly}}})
    for i in range(6):
        with gw.connect() as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: a\r\n{': '.join(basic('cid', str(i)))}\r\n\r\n")
            if i % 2:
                wire.reset()
    assert gw.stop() == 0
