"""Consumers known by their certificates."""
import hashlib
import ssl

import pytest

from kit import ports
from kit.certificates import Authority, tls_connect
from kit.gateway import upstream


@pytest.fixture
def secured(gateway, origin, tmp_path):
    authority = Authority(tmp_path)
    server = authority.issue("a.test")
    port = ports.free_port()
    started = []

    def start(consumers, settings=None):
        service = origin()
        gw = gateway(upstreams={"app": upstream(service)}, consumers=consumers,
                     routes=[{"match": {"prefix": "/"}, "policies": [{"client_certificate": settings or {}}], "proxy": "app"}])
        started.append((gw, gw.config))
        listener = {"address": f"127.0.0.1:{port}", "tls": {"certificates": [server.pair], "client_certificates": {"ca": str(authority.path), "mode": "optional"}}}
        gw.reload({**gw.config, "listeners": gw.config["listeners"] + [listener]})

        def get(certificate=None, **more):
            with tls_connect(port, authority.context(certificate)) as wire:
                return wire.get("/", **more)
        return gw, service, get
    yield start, authority
    for gw, before in started:
        gw.reload(before)


def test_a_certificate_is_known_by_subject_other_name_and_fingerprint(secured):
    start, authority = secured
    named, other, printed = authority.issue("shop"), authority.issue("x", sans=["URI:spiffe://acme/billing", "DNS:b.test"]), authority.issue("y")
    stranger = authority.issue("stranger")
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(printed.cert.read_text())).hexdigest().upper()
    gw, service, get = start({"shop": {"certificates": [{"subject": "CN=shop"}]},
                              "billing": {"certificates": [{"san": "URI:spiffe://acme/billing"}]},
                              "printed": {"certificates": [{"fingerprint": ":".join(fingerprint[i:i + 2] for i in range(0, 64, 2))}]}},
                             {"consumer_headers": {"X-Consumer": "consumer", "X-Subject": "subject"}})
    for certificate, consumer, subject in ((named, "shop", "CN=shop"), (other, "billing", "CN=x"), (printed, "printed", "CN=y")):
        assert get(certificate, fields=[("X-Consumer", "root")]).status == 200
        assert service.requests[-1].fields.all("X-Consumer") == [consumer] and service.requests[-1].get("X-Subject") == subject
    assert get(stranger).status == 401
    assert gw.line(access="the certificate is no consumer's")
    response = get()
    assert response.status == 401 and response.get("WWW-Authenticate") == "Mutual"
    assert gw.get("/").status == 401  # a plain listener


def test_any_verified_certificate_is_an_identity_when_that_is_asked_for(secured):
    start, authority = secured
    gw, service, get = start({}, {"any": True, "consumer_headers": {"X-Consumer": "consumer", "X-Subject": "subject"}})
    assert get(authority.issue("stranger")).status == 200
    assert service.requests[-1].get("X-Subject") == "CN=stranger" and "X-Consumer" not in service.requests[-1].fields
