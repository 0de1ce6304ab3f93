"""TLS with clients and with services: who is shown which certificate, who has to show one, what is resumed, and how files are followed."""
import base64
import hashlib
import os
import re
import ssl
import subprocess
import threading
import time

import pytest

from kit import ports
from kit.certificates import Authority, TlsOrigin, openssl, tls_connect
from kit.gateway import run, wait_until
from kit.load import Load
from kit.wire import Response, connect

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture
def authority(folder):
    return Authority(folder)


@pytest.fixture
def secure(gateway, authority):
    """A gateway with a TLS listener beside its plain one; `tls_port` is where."""

    def start(*certificates, tls=None, **sections):
        port, plain = ports.free_port(), ports.free_port()
        made = certificates or (authority.issue("a.test"),)
        listener = {"address": f"127.0.0.1:{port}", "tls": {"certificates": [c.pair for c in made], **(tls or {})}}
        gw = gateway(listeners=[listener, f"127.0.0.1:{plain}"], **sections)
        gw.tls_port, gw.plain_port = port, plain
        return gw

    return start


def get(gw, context, name="a.test", path="/", **more):
    """One request on a connection of its own; the answer, and what was agreed on."""
    with tls_connect(gw.tls_port, context, name, **more) as wire:
        response = wire.get(path, host=name)
        response.serial, response.sock = wire.serial, wire.sock
        response.session, response.reused, response.version = wire.sock.session, wire.sock.session_reused, wire.sock.version()
        return response


def refused(gw, context, name="a.test"):
    """The reason why a client gets no answer; in TLS 1.3 it hears of a refusal only when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
        with tls_connect(gw.tls_port, context, name) as wire:
            wire.get("/", host=name)
    return str(caught.value)


# ---- certificates and versions ----


def test_the_name_that_is_asked_for_chooses_the_certificate(secure, authority):
    a, b, star = authority.issue("a.test"), authority.issue("b.test"), authority.issue("*.c.test")
    gw = secure(a, b, star)
    context = authority.context()
    assert get(gw, context, "a.test").serial == a.serial
    assert get(gw, context, "b.test").serial == b.serial
    assert get(gw, context, "B.TEST").serial == b.serial
    assert get(gw, context, "x.c.test").serial == star.serial
    context.check_hostname = False
    assert get(gw, context, "unknown.test").serial == a.serial, "the first serves names that none is for"
    assert get(gw, context, "x.y.c.test").serial == a.serial, "`*` is one label"


def test_clients_of_rsa_and_of_ecdsa_get_theirs(secure, authority):
    ecdsa, rsa = authority.issue("a.test"), authority.issue("a.test", kind="rsa", file="rsa")
    gw = secure(ecdsa, rsa)
    context = authority.context(version=TLS_1_2)
    assert get(gw, context).serial == ecdsa.serial
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert get(gw, context).serial == rsa.serial


def test_both_versions_are_spoken_unless_one_is_excluded(secure, authority):
    gw = secure(tls={"min_version": "1.3"})
    assert get(gw, authority.context()).version == "TLSv1.3"
    assert "alert" in refused(gw, authority.context(version=TLS_1_2)).lower()
    assert gw.metric("maitred_tls_handshake_failures_total", side="client", reason="unsupported_version") == 1
    other = secure()
    assert [get(other, authority.context(version=v)).version for v in (TLS_1_2, TLS_1_3)] == ["TLSv1.2", "TLSv1.3"]
    assert other.metric("maitred_tls_handshakes_total", side="client", version="1.2", resumed="false") == 1


def test_curl_verifies_the_gateway_and_is_answered(secure, authority):
    gw = secure()
    for version in ("--http1.1", "--http2"):
        done = subprocess.run(["curl", "-sS", version, "--cacert", authority.path, "--resolve", f"a.test:{gw.tls_port}:127.0.0.1", "-w",
                               "%{http_code} %{http_version}", "-o", "/dev/null", f"https://a.test:{gw.tls_port}/"], capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.stderr) == ("200 " + ("1.1" if version == "--http1.1" else "2"), "")


def test_the_log_says_how_the_connection_is_secured(secure, authority):
    gw = secure()
    get(gw, authority.context(version=TLS_1_3))
    line = gw.line(path="/")
    assert (line["tls"], line["sni"], line["scheme"]) == ("TLSv1.3", "a.test", "https")
    assert line["tls_cipher"].startswith("TLS_") and "tls_resumed" not in line and "client_subject" not in line
    with connect(gw.plain_port) as wire:
        wire.get("/plain")
    assert "tls" not in gw.line(path="/plain")


def test_services_are_told_that_the_client_came_over_tls(secure, authority, origin):
    service = origin()
    gw = secure(upstreams={"app": {"targets": [service.address]}}, routes=[{"proxy": "app"}], forwarding={"forwarded": True})
    get(gw, authority.context())
    fields = service.requests[0].fields
    assert fields.get("X-Forwarded-Proto") == "https"
    assert "proto=https" in fields.get("Forwarded")


def test_when_certificates_expire_is_a_metric(secure, authority):
    gw = secure(authority.issue("a.test", days=30))
    left = gw.metric("maitred_tls_certificate_expiry_timestamp_seconds") - time.time()
    assert 29 * 86400 < left < 31 * 86400


# ---- sessions ----


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_sessions_are_resumed_by_any_worker_and_across_a_reload(secure, authority, version):
    gw = secure()
    context = authority.context(version=version)
    first = get(gw, context)
    assert not first.reused
    for _ in range(8):  # the kernel spreads connections over both workers
        assert get(gw, context, session=first.session).reused
    gw.reload()
    assert get(gw, context, session=first.session).reused
    assert gw.line(tls_resumed=True)
    assert gw.metric("maitred_tls_handshakes_total", side="client", resumed="true") == 9


def test_no_session_is_resumed_where_tickets_are_off(secure, authority):
    gw = secure(tls={"tickets": False})
    context = authority.context(version=TLS_1_3)
    first = get(gw, context)
    assert not first.session.has_ticket
    assert not get(gw, context, session=first.session).reused


def test_gateways_with_the_same_ticket_keys_resume_each_others_sessions(secure, authority, folder):
    old, new = folder / "ticket.old", folder / "ticket.new"
    for path in (old, new):
        openssl("rand", "-out", path, "80")
        path.chmod(0o644)
    certificate = authority.issue("a.test")
    one = secure(certificate, session_tickets=[str(old)])
    other = secure(certificate, session_tickets=[str(new), str(old)])
    stranger = secure(certificate)
    context = authority.context(version=TLS_1_3)
    first = get(one, context)
    assert get(other, context, session=first.session).reused
    assert not get(stranger, context, session=first.session).reused
    newer = get(other, context)
    assert not get(one, context, session=newer.session).reused, "it does not have the new key yet"
    one.upgrade()
    one.wait_for_old()
    assert get(one, context, session=first.session).reused, "the keys of files live on in the new process"


# ---- following files ----


def test_a_certificate_that_is_replaced_on_disk_is_served_without_a_signal_or_a_lost_request(secure, authority):
    served, newer = authority.issue("a.test"), authority.issue("a.test", file="newer")
    gw = secure(served)
    context = authority.context()
    with tls_connect(gw.tls_port, context) as kept, Load(gw.plain_port, clients=2) as load:
        kept.get("/before", host="a.test")
        newer.put_at(served)
        wait_until(lambda: get(gw, context).serial == newer.serial, "the new certificate is served")
        load.served(10)
        kept.get("/behind", host="a.test")
        assert kept.serial == served.serial


def test_reloads_renewals_and_an_upgrade_lose_no_request_over_tls(secure, authority):
    served, newer = authority.issue("a.test"), authority.issue("a.test", file="newer")
    gw = secure(served)
    stop, failed, done = threading.Event(), [], [0, 0, 0]

    def ask(number, keep):
        context = authority.context()
        try:
            while not stop.is_set():
                with tls_connect(gw.tls_port, context) as wire:
                    for _ in range(20 if keep else 1):
                        response = wire.get("/", host="a.test")
                        assert response.status == 200
                        done[number] += 1
                        if response.get("Connection") == "close":
                            break
        except Exception as error:
            failed.append((number, done[number], repr(error)))

    threads = [threading.Thread(target=ask, args=(n, n > 0)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            gw.reload()
        newer.put_at(served)
        wait_until(lambda: get(gw, authority.context()).serial == newer.serial or failed, "the new certificate is served")
        gw.upgrade()
        gw.wait_for_old()
        gw.reload()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not failed and min(done) > 0, (failed, done)


def test_a_broken_file_leaves_the_certificate_in_force_and_is_told(secure, authority):
    served, newer = authority.issue("a.test"), authority.issue("a.test", file="newer")
    gw = secure(served).allow("served.test", "a.test", "stay")
    context = authority.context()
    key = served.key.read_bytes()
    served.key.write_bytes(b"not a key")
    gw.errors.wait(lambda e: e[0] == "error" and "stay" in e[2], "that what is in force stays")
    assert get(gw, context).serial == served.serial
    gw.reload()  # the settings are as they were: the rest of a reload is not held up
    assert get(gw, context).serial == served.serial
    served.key.write_bytes(key)
    newer.put_at(served)
    wait_until(lambda: get(gw, context).serial == newer.serial, "the new certificate is served")


def test_a_reload_puts_other_certificates_in_force_at_once(secure, authority):
    a, b = authority.issue("a.test"), authority.issue("a.test", file="b")
    gw = secure(a)
    config = dict(gw.config)
    config["listeners"][0]["tls"]["certificates"] = [b.pair]
    gw.reload(config)
    assert get(gw, authority.context()).serial == b.serial
    config["listeners"][0]["tls"]["certificates"] = [{"cert": "/nowhere.pem"}]
    gw.allow("nowhere.pem", "mistakes").reload(config)
    assert get(gw, authority.context()).serial == b.serial
    gw.errors.wait(lambda e: "listeners[0].tls.certificates[0].cert: /nowhere.pem: there is no such file" in e[2], "of the file")


def test_a_listener_changes_between_plain_and_tls_with_a_reload(secure, authority):
    gw = secure()
    config = dict(gw.config)
    tls = config["listeners"][0].pop("tls")
    gw.reload(config)
    with connect(gw.tls_port) as wire:
        assert wire.get("/").status == 200
    config["listeners"][0]["tls"] = tls
    gw.reload(config)
    assert get(gw, authority.context()).status == 200


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_a_key_that_only_root_can_read_lasts_over_reloads(secure, authority):
    served, newer = authority.issue("a.test"), authority.issue("a.test", file="newer")
    served.key.chmod(0o600)
    gw = secure(served, user="nobody").allow(str(served.key), "stay")
    checked = run("check", gw.config_path)
    assert checked.returncode == 0 and f"user `nobody` cannot read {served.key}" in checked.stderr
    gw.reload({**gw.config, "routes": [{"respond": 204}]})
    assert get(gw, authority.context()).status == 204
    gw.errors.wait(lambda e: e[0] == "warning" and "ermission denied; it is taken as it was" in e[2], "that it may not be read")
    newer.cert.rename(served.cert)
    gw.errors.wait(lambda e: e[0] == "error" and "stay" in e[2], "that what is in force stays")
    assert get(gw, authority.context()).serial == served.serial


@needs_root
def test_a_key_that_only_root_can_read_is_handed_to_the_next_process(secure, authority):
    served = authority.issue("a.test")
    served.key.chmod(0o600)
    gw = secure(served, user="nobody").allow(str(served.key), "^")
    for _ in range(2):  # the second one from a process that never was root
        gw.upgrade()
        gw.wait_for_old()
        assert get(gw, authority.context()).serial == served.serial
    environment = open(f"/proc/{gw.pid}/environ", "rb").read()
    for line in served.key.read_bytes().splitlines():
        assert line not in environment


def test_sessions_are_resumed_by_the_process_that_an_upgrade_starts(secure, authority):
    gw = secure()
    context = authority.context(version=TLS_1_3)
    first = get(gw, context)
    gw.upgrade()
    gw.wait_for_old()
    assert get(gw, context, session=first.session).reused


# ---- certificates of clients ----


def mutual(authority, **more):
    return {"client_certificates": {"ca": str(authority.path), **more}}


def test_a_required_certificate_has_to_be_shown_and_to_be_good(secure, authority, folder):
    other = Authority(folder, "stranger")
    gw = secure(tls=mutual(authority))
    client = authority.issue("client", ["URI:spiffe://a/client"])
    assert get(gw, authority.context(client)).status == 200
    assert gw.line(path="/")["client_subject"] == "CN=client"
    refused(gw, authority.context())
    refused(gw, authority.context(other.issue("client", file="strange")))
    refused(gw, authority.context(authority.issue("late", days=-1)))
    for word, count in (("certificate_required", 1), ("certificate_refused", 2)):
        gw.wait_for_metric(count, "maitred_errors_total", side="client", error=word)
    for reason in ("certificate_missing", "unknown_authority", "certificate_expired"):
        assert gw.metric("maitred_tls_handshake_failures_total", side="client", reason=reason) == 1, reason


def test_an_optional_one_may_be_left_out_but_not_be_wrong(secure, authority, folder):
    gw = secure(tls=mutual(authority, mode="optional"))
    assert get(gw, authority.context()).status == 200
    assert get(gw, authority.context(authority.issue("client"))).status == 200
    refused(gw, authority.context(Authority(folder, "stranger").issue("client", file="strange")))


def test_names_that_no_rule_allows_are_refused(secure, authority):
    gw = secure(tls=mutual(authority, names=["DNS:*.clients.test", "URI:spiffe://a/*"]))
    for name, sans, good in (("x.clients.test", None, True), ("x.others.test", None, False), ("s", ["URI:spiffe://a/b"], True),
                             ("t", ["URI:spiffe://b/b"], False)):
        context = authority.context(authority.issue(name, sans))
        assert get(gw, context).status == 200 if good else refused(gw, context)
    assert gw.metric("maitred_tls_handshake_failures_total", reason="certificate_not_allowed") == 2


def test_a_resumed_session_is_still_that_clients(secure, authority):
    gw = secure(tls=mutual(authority))
    context = authority.context(authority.issue("client"), version=TLS_1_3)
    first = get(gw, context)
    assert get(gw, context, path="/again", session=first.session).reused
    assert gw.line(path="/again")["client_subject"] == "CN=client"


def test_services_are_told_of_the_certificate_and_believe_nothing_else(secure, authority, origin):
    service = origin()
    gw = secure(tls=mutual(authority, mode="optional"), upstreams={"app": {"targets": [service.address]}}, routes=[{"proxy": "app"}],
                forwarding={"client_certificate": ["certificate", "subject", "san", "sha256", "verify"]})
    client = authority.issue("client", ["URI:spiffe://a/client"])
    forged = [("X-Client-Cert-Subject", "CN=root"), ("Client-Cert", ":AAAA:"), ("x-client-cert-verify", "SUCCESS")]
    for context in (authority.context(client), authority.context()):
        with tls_connect(gw.tls_port, context) as wire:
            assert wire.get("/", host="a.test", fields=forged).status == 200
    shown, anonymous = (r.fields for r in service.requests)
    der = openssl("x509", "-in", client.cert, "-outform", "der")
    assert shown.get("Client-Cert") == f":{base64.b64encode(der).decode()}:"
    assert shown.get("X-Client-Cert-Subject") == "CN=client"
    assert shown.get("X-Client-Cert-San") == "URI:spiffe://a/client"
    assert shown.get("X-Client-Cert-Sha256") == hashlib.sha256(der).hexdigest()
    assert shown.get("X-Client-Cert-Verify") == "SUCCESS"
    assert anonymous.get("X-Client-Cert-Verify") == "NONE"
    assert "Client-Cert" not in anonymous and "X-Client-Cert-Subject" not in anonymous


def test_the_chain_is_told_on_every_connection_as_such_sessions_are_not_resumed(secure, authority, origin, folder):
    service = origin()
    middle = authority.issue("middle")
    gw = secure(tls=mutual(authority, mode="optional"), upstreams={"app": {"targets": [service.address]}}, routes=[{"proxy": "app"}],
                forwarding={"client_certificate": ["certificate", "chain"]})
    client = authority.issue("client")
    client.cert.write_text(client.cert.read_text() + middle.cert.read_text())
    context = authority.context(client)
    first = get(gw, context)
    again = get(gw, context, session=first.session)
    assert not again.reused
    told = [r.fields.get("Client-Cert-Chain") for r in service.requests]
    assert told[0] and told[0] == told[1], told
    anonymous = authority.context()
    first = get(gw, anonymous)
    assert get(gw, anonymous, session=first.session).reused, "those without a certificate are"


def test_open_tls_connections_are_a_gauge(secure, authority):
    gw = secure()
    with tls_connect(gw.tls_port, authority.context(version=TLS_1_3)) as one, tls_connect(gw.tls_port, authority.context(version=TLS_1_2)) as two:
        for wire in (one, two):
            wire.get("/", host="a.test")
        for version in ("1.2", "1.3"):
            gw.wait_for_metric(1, "maitred_tls_connections", side="client", version=version)
    for version in ("1.2", "1.3"):
        gw.wait_for_metric(0, "maitred_tls_connections", side="client", version=version)


# ---- services ----


@pytest.fixture
def tls_origin():
    made = []

    def make(*args, **more):
        made.append(TlsOrigin(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    assert not [f for o in made for f in o.faults]


def behind(gateway, target, **tls):
    return gateway(upstreams={"app": {"targets": [target], "retry": {"attempts": 2, "backoff": "0"}, "tls": tls or True}}, routes=[{"proxy": "app"}])


def test_a_service_is_verified_by_the_name_of_its_target(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("localhost"))
    gw = behind(gateway, f"localhost:{service.port}", ca=str(authority.path))
    assert gw.get("/").status == 200
    assert service.handshakes[0]["name"] == "localhost" and service.handshakes[0]["alpn"] == "http/1.1"


@pytest.mark.parametrize("protocol, version", [("http1", "1.1"), ("h2", "2")])
def test_alpn_asks_a_service_for_the_configured_protocol(secure, gateway, authority, protocol, version):
    service = secure()
    gw = gateway(upstreams={"app": {"targets": [f"127.0.0.1:{service.tls_port}"], "protocol": protocol,
                                    "tls": {"ca": str(authority.path), "server_name": "a.test"}}}, routes=[{"proxy": "app"}])
    assert gw.get("/").status == 200
    assert service.line(path="/")["version"] == version
    assert gw.stop() == 0  # before the service is looked over: it keeps a connection to it


def test_a_service_that_does_not_speak_the_protocol_is_a_failed_handshake(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("a.test"))
    gw = gateway(upstreams={"app": {"targets": [service.address], "protocol": "h2", "retry": {"attempts": 1},
                                    "tls": {"ca": str(authority.path), "server_name": "a.test"}}}, routes=[{"proxy": "app"}]).allow("handshake failed")
    assert gw.get("/").status == 502
    assert gw.line(path="/")["error"]["word"] == "not_http2"
    assert not service.requests


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b"220 mail.test\r\n"])
def test_a_service_that_speaks_something_else_than_http2_is_named_so(gateway, origin, says):
    def speak(wire):
        wire.send(says)
        wire.some()

    service = origin(on_connect=speak)
    gw = gateway(upstreams={"app": {"targets": [service.address], "protocol": "h2", "retry": {"attempts": 1}}}, routes=[{"proxy": "app"}])
    response = gw.get("/")
    assert response.status == 502 and "HTTP/2" in response.text
    assert gw.line(path="/")["error"]["word"] == "not_http2"


def test_an_address_is_verified_as_an_address(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("any", ["IP:127.0.0.1"]))
    gw = behind(gateway, service.address, ca=str(authority.path))
    assert gw.get("/").status == 200
    assert service.handshakes[0]["name"] is None, "SNI has host names only"


@pytest.mark.parametrize("wrong, reason", [
    ({"server_name": "other.test"}, "hostname mismatch.*tls.server_name"),
    ({"ca": None}, "(self-signed certificate in certificate chain|unable to get local issuer certificate).*tls.ca"),
    ({"days": -1}, "certificate has expired"),
])
def test_a_service_that_cannot_prove_itself_gets_no_request(gateway, authority, tls_origin, wrong, reason):
    service = tls_origin(authority.issue("a.test", days=wrong.get("days", 30)))
    tls = {"ca": str(authority.path), "server_name": "a.test", **{k: v for k, v in wrong.items() if k != "days"}}
    gw = behind(gateway, service.address, **{k: v for k, v in tls.items() if v}).allow("handshake failed")
    for _ in range(3):
        assert gw.get("/").status == 502
    line = gw.lines(3, status=502)[0]
    assert line["error"] == {"side": "upstream", "word": "tls_failed"} and line["tries"] == 2
    assert not service.requests
    gw.errors.wait(lambda e: "handshake failed" in e[2], "of the reason")
    assert gw.stop() == 0  # the log is whole
    said = [e[2] for e in gw.errors.items if "handshake failed" in e[2]]
    assert len(said) == 1 and service.address in said[0] and "`app`" in said[0] and re.search(reason, said[0]), said


def test_without_verification_any_certificate_is_taken(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("other.test", days=-1))
    assert behind(gateway, service.address, verify=False).get("/").status == 200


def test_a_plain_service_behind_tls_is_a_failed_handshake(gateway, origin):
    service = origin(on_connect=lambda wire: wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    gw = behind(gateway, service.address, verify=False).allow("handshake failed")
    assert gw.get("/").status == 502
    assert gw.line(status=502)["error"]["word"] == "tls_failed"


def test_we_show_our_certificate_to_services_that_ask(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("a.test"), authority=authority)
    ours = authority.issue("gateway")
    gw = behind(gateway, service.address, ca=str(authority.path), server_name="a.test", **ours.pair)
    assert gw.get("/").status == 200
    assert service.handshakes[0]["subject"] == {"commonName": "gateway"}
    bare = behind(gateway, service.address, ca=str(authority.path), server_name="a.test").allow("handshake failed")
    assert bare.get("/").status == 502
    assert service.refused


def test_sessions_with_services_are_resumed(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("a.test"))
    gw = gateway(workers=1, upstreams={"app": {"targets": [service.address], "keep_alive_connections": 0,
                                               "tls": {"ca": str(authority.path), "server_name": "a.test"}}}, routes=[{"proxy": "app"}])
    for _ in range(3):
        assert gw.get("/").status == 200
    assert [h["reused"] for h in service.handshakes] == [False, True, True]
    assert gw.metric("maitred_tls_handshakes_total", side="upstream", resumed="true") == 2


def test_our_certificate_for_services_follows_its_file(gateway, authority, tls_origin):
    service = tls_origin(authority.issue("a.test"), authority=authority)
    ours, newer = authority.issue("gateway"), authority.issue("renewed")
    gw = gateway(workers=1, upstreams={"app": {"targets": [service.address], "keep_alive_connections": 0,
                                               "tls": {"ca": str(authority.path), "server_name": "a.test", **ours.pair}}}, routes=[{"proxy": "app"}])
    assert gw.get("/").status == 200
    newer.put_at(ours)
    wait_until(lambda: gw.get("/").status == 200 and service.handshakes[-1]["subject"]["commonName"] == "renewed", "the new one is shown")


# ---- who speaks no TLS, or nothing ----


def test_plain_http_on_a_tls_port_is_told_so(secure):
    gw = secure()
    with connect(gw.tls_port) as wire:
        wire.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        response = wire.head(Response)
        wire.body(response, until_close=False)
        assert response.status == 400 and "https" in response.text and wire.is_closed()
    gw.wait_for_metric(1, "maitred_errors_total", side="client", error="plain_http")


def test_what_is_no_tls_at_all_is_closed_and_counted(secure):
    gw = secure()
    with connect(gw.tls_port) as wire:
        wire.send(b"\x00" * 64)
        wire.is_closed()
    gw.wait_for_metric(1, "maitred_errors_total", side="client", error="handshake_failed")


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00"])
def test_a_client_that_does_not_go_on_with_its_handshake_is_closed(secure, begin):
    gw = secure(timeouts={"handshake": "200ms"}, log_level="info")
    with connect(gw.tls_port) as wire:
        wire.send(begin)
        assert wire.is_closed()
    gw.wait_for_metric(1, "maitred_errors_total", side="client", error="handshake_timeout")
    assert gw.errors.wait(lambda e: e[1] == "dropped", "of it")[2].endswith(": handshake_timeout")


# ---- secrets ----


def test_no_secret_is_in_a_log(secure, authority, folder):
    served = authority.issue("a.test")
    gw = secure(served, log_level="debug").allow("a.test", "stay")
    get(gw, authority.context())
    secret = served.key.read_text()
    served.key.write_text(secret.replace("BEGIN", "BEGIM"))
    gw.errors.wait(lambda e: "stay" in e[2], "that it stays")
    checked = run("check", gw.config_path)
    assert checked.returncode == 3
    told = "\n".join(map(str, gw.errors.items + gw.access.items)) + checked.stdout + checked.stderr
    for line in secret.splitlines()[1:-1]:
        assert line not in told


@pytest.mark.parametrize("offered", [[], ["http/1.1"]])
def test_http2_over_tls_has_to_be_chosen_by_alpn(secure, authority, offered):
    gw = secure()
    context = authority.context()
    if offered:
        context.set_alpn_protocols(offered)
    with tls_connect(gw.tls_port, context, "a.test") as wire:
        wire.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        assert wire.sock.recv(1000).startswith(b"HTTP/1.1 505 ")
