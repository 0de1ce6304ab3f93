"""An authority that signs tokens: keys, key sets, and a service that publishes them, under full control."""
import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .certificates import TlsOrigin
from .origin import Origin


def b64(data):
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).decode().rstrip("=")


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    """One key; `jwk` is its public part."""

    def __init__(self, alg="ES256", kid="one", **more):
        self.alg, self.kid = alg, kid
        kinds = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
        if alg[:2] in ("RS", "PS"):
            self.private = rsa.generate_private_key(65537, 2048)
            public = self.private.public_key().public_numbers()
            self.jwk = {"kty": "RSA", "n": number(public.n), "e": number(public.e)}
        elif alg in kinds:
            self.private = ec.generate_private_key(kinds[alg]())
            public, size = self.private.public_key().public_numbers(), (self.private.key_size + 7) // 8
            self.jwk = {"kty": "EC", "crv": f"P-{self.private.key_size}", "x": number(public.x, size), "y": number(public.y, size)}
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
            raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        if kid is not None:
            self.jwk["kid"] = kid
        self.jwk.update(more)

    def sign(self, claims=None, headers=None, **more):
        """A token; what is None among the claims is left out."""
        all_claims = {**usual_claims(), **(claims or {}), **more}
        all_claims = {n: v for n, v in all_claims.items() if v is not None}
        named = {} if self.kid is None else {"kid": self.kid}
        return jwt.api_jws.PyJWS().encode(json.dumps(all_claims).encode(), self.private, algorithm=self.alg, headers={**named, **(headers or {})})


def usual_claims():
    now = int(time.time())
    return {"iss": "https://id.test", "aud": "api", "sub": "joe", "iat": now, "exp": now + 600}


def handmade(header, payload, secret=None, signature=b""):
    """Any header (a dict, or text) and payload; signed with HS256 by a secret, or with those bytes."""
    text = ".".join(b64(p if isinstance(p, (str, bytes)) else json.dumps(p)) for p in (header, payload))
    if secret is not None:
        signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{b64(signature)}"


def key_set(*keys):
    return json.dumps({"keys": [k.jwk for k in keys]})


class _Publishing:
    """`keys` are published; `answer`, when it is set, is called instead."""

    def publish(self, *keys):
        self.body = key_set(*keys)
        return self

    def _give(self, call):
        if self.answer:
            self.answer(call)
        else:
            call.answer(200, self.body, [("Content-Type", "application/json"), *self.fields])

    @property
    def fetches(self):
        return len(self.requests)


class Authority(_Publishing, Origin):
    def __init__(self, *keys, **more):
        self.answer, self.fields = None, []
        self.publish(*keys)
        super().__init__("authority", script=self._give, **more)
        self.url = f"http://{self.address}/jwks.json"


class TlsAuthority(_Publishing, TlsOrigin):
    def __init__(self, certificate, *keys, **more):
        self.answer, self.fields = None, []
        self.publish(*keys)
        super().__init__(certificate, name="authority", script=self._give, **more)
        self.url = f"https://localhost:{self.port}/jwks.json?secret=1"
