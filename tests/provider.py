"""A small OpenID provider for the tests: real HTTP, real keys, and every rule that a real one keeps.

``Provider.lie`` changes what the next tokens say, for the tests of what must be refused.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.running import running

CLIENT = "grounds"
SECRET = "a secret of the tests"  # noqa: S105  # of nobody


@dataclass
class Provider:
    """One provider: who is signed in at it, its keys, and what it was asked."""

    address: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "p-17", "roles": ["caseworkers"]}
    )
    """What it says of whoever is signed in."""
    lie: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Changes the claims before they are signed."""
    sign: Callable[[dict[str, Any]], str] | None = None
    """Signs in place of the provider's own key."""
    denies: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes to what it says of itself."""
    key: ECKey = field(default_factory=lambda: new_key("one"))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    exchanged: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.address,
                "authorization_endpoint": f"{self.address}/authorize",
                "token_endpoint": f"{self.address}/token",
                "jwks_uri": f"{self.address}/keys",
                "end_session_endpoint": f"{self.address}/end",
                **self.metadata,
            }
        )

    async def keys(self, _: Request) -> Response:
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        back = asked["redirect_uri"]
        if self.denies:
            return RedirectResponse(
                f"{back}?{urlencode({'error': 'access_denied', 'state': asked['state']})}"
            )
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.address}
        return RedirectResponse(f"{back}?{urlencode(answer)}")

    async def token(self, request: Request) -> Response:
        form = await request.form()
        expected = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '%20')}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        asked = self.codes.pop(str(form["code"]), None)  # a code is good once
        challenge = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        if (
            asked is None
            or form["redirect_uri"] != asked["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        self.exchanged += 1
        now = int(time.time())  # noqa: TID251  # a party of its own has a clock of its own
        claims = self.lie(
            {
                "iss": self.address,
                "aud": CLIENT,
                "iat": now,
                "exp": now + 300,
                "nonce": asked["nonce"],
                **self.claims,
            }
        )
        token = self.signed(claims) if self.sign is None else self.sign(claims)
        return JSONResponse({"id_token": token, "access_token": "unused", "token_type": "Bearer"})

    def signed(self, claims: dict[str, Any], key: ECKey | None = None) -> str:
        used = key or self.key
        return jwt.encode({"alg": "ES256", "kid": used.kid}, claims, used)


def new_key(name: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": name, "use": "sig", "alg": "ES256"})


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider on a port of its own."""
    provider = Provider()
    with running(provider.app()) as address:
        provider.address = address
        yield provider
