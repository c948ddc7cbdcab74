"""Signing in through the body's own provider: OpenID Connect, authorisation code flow with PKCE.

(1) The browser is sent to the provider with a state, a nonce and the digest of a verifier, all kept in
the visitor's session. (2) It comes back with a code and the state. (3) The service exchanges the code
and the verifier for an ID token. (4) The token's signature, issuer, audience, times and nonce are
checked (OpenID Connect Core 1.0, section 3.1.3.7; RFC 7636, RFC 9207). (5) Claims become an opaque name
and roles. Nothing else of the token is kept.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import yaml
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.addresses import is_protected
from app.domain import Clock, Role
from app.errors import ProviderError, SignInRefusedError
from app.keys import ACTOR
from app.outside import PLAIN, AnswerTooLongError, ask
from app.sessions import Pending, SignInError
from app.settings import Settings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures that only the provider can make: no shared secret, and never none."""
LEEWAY_SECONDS = 60
TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 256 * 1024
"""Of what a provider says of itself, its keys or a token: the largest in use have some tens of KB."""
KEYS_AGAIN_SECONDS = 60
"""How often an unknown key may make the service ask for the provider's keys again."""


class ProviderTerms(BaseModel):
    """``GROUNDS_SIGN_IN_FILE``: who vouches for people here, and what their claims mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What people call it, on the button."""
    issuer: str
    client_id: Annotated[str, Field(min_length=1)]
    client_secret_file: Path | None = None
    """Without one the client is a public one, which PKCE alone protects."""
    actor_claim: str = "sub"
    """The claim with a person's opaque name: 1 to 64 letters, digits, '.', '_' and '-'."""
    roles_claim: str = "roles"
    """The claim that lists what somebody may do; dots lead into it, as in `realm_access.roles`."""
    roles: Annotated[dict[str, Role], Field(min_length=1)]
    """Which of the claim's values stands for which role."""
    scopes: tuple[str, ...] = ("openid",)

    @field_validator("issuer")
    @classmethod
    def _is_protected(cls, issuer: str) -> str:
        if not is_protected(issuer):
            raise ValueError("want an address that begins with https://")
        return issuer

    @field_validator("roles")
    @classmethod
    def _are_peoples(cls, roles: dict[str, Role]) -> dict[str, Role]:
        if Role.CALLER in roles.values():
            raise ValueError("the role caller is for machines, which have keys")
        return roles


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever signed in, as far as the service knows them."""

    actor: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What the provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None


class Provider:
    """One provider, asked over HTTP."""

    def __init__(
        self, terms: ProviderTerms, secret: str | None, client: httpx.AsyncClient, *, clock: Clock
    ) -> None:
        self.terms = terms
        self._secret = secret
        self._client = client
        self._clock = clock
        self._metadata: _Metadata | None = None
        self._keys: KeySet | None = None
        self._keys_since = 0.0

    async def begin(self, pending: Pending, *, redirect_uri: str) -> tuple[str, Pending]:
        """Return where to send the browser, and what its answer must match. Raises ProviderError."""
        metadata = await self._known()
        waiting = replace(
            pending,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
        )
        challenge = hashlib.sha256(waiting.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.terms.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.terms.scopes),
                "state": waiting.state,
                "nonce": waiting.nonce,
                "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joint}{query}", waiting

    async def finish(
        self, answer: Mapping[str, str], pending: Pending, *, redirect_uri: str
    ) -> Person:
        """Return who signed in, from what the browser brought back.

        Raises SignInRefusedError when it does not fit what was begun, and ProviderError.
        """
        state = answer.get("state", "")
        if not pending.state or not hmac.compare_digest(state.encode(), pending.state.encode()):
            raise SignInRefusedError(
                "the answer does not belong to a sign-in begun in this browser"
            )
        if answer.get("iss", self.terms.issuer) != self.terms.issuer:
            raise SignInRefusedError("the answer comes from another provider")
        if "code" not in answer:
            raise SignInRefusedError("the provider did not let you in")
        token = await self._exchanged(answer["code"], pending, redirect_uri)
        return self._person(await self._claims(token, pending.nonce))

    def sign_out_address(self, *, back: str) -> str | None:
        """Return where the provider ends its own session, if it says so and was asked before."""
        endpoint = None if self._metadata is None else self._metadata.end_session_endpoint
        if endpoint is None:
            return None
        joint = "&" if urlsplit(endpoint).query else "?"
        told = {"client_id": self.terms.client_id, "post_logout_redirect_uri": back}
        return f"{endpoint}{joint}{urlencode(told)}"

    async def _known(self) -> _Metadata:
        if self._metadata is None:
            said = await self._asked(
                f"{self.terms.issuer.rstrip('/')}/.well-known/openid-configuration"
            )
            if said.get("issuer") != self.terms.issuer:
                raise ProviderError("the provider says it is another issuer")
            self._metadata = _Metadata(
                authorization_endpoint=_address(said, "authorization_endpoint"),
                token_endpoint=_address(said, "token_endpoint"),
                jwks_uri=_address(said, "jwks_uri"),
                end_session_endpoint=_address(said, "end_session_endpoint")
                if said.get("end_session_endpoint")
                else None,
            )
        return self._metadata

    async def _exchanged(self, code: str, pending: Pending, redirect_uri: str) -> str:
        """Return the ID token that the code is good for."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        auth: httpx.Auth = httpx.Auth()  # none at all
        if self._secret is None:
            form["client_id"] = self.terms.client_id
        else:  # RFC 6749, section 2.3.1: both parts are encoded first
            auth = httpx.BasicAuth(quote(self.terms.client_id, ""), quote(self._secret, ""))
        metadata = await self._known()
        response = await self._answer("POST", metadata.token_endpoint, data=form, auth=auth)
        if response.status_code in {httpx.codes.BAD_REQUEST, httpx.codes.FORBIDDEN}:
            raise SignInRefusedError("the provider does not take the code")
        token = _object(response).get("id_token")
        if not isinstance(token, str):
            raise ProviderError("the provider's answer has no ID token")
        return token

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Return the claims of an ID token, once everything about it was checked."""
        now = int(self._clock().timestamp())
        keys = self._keys or await self._current_keys()
        try:
            try:
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                if now - self._keys_since < KEYS_AGAIN_SECONDS:
                    raise
                # Signed with a key that is newer than those we know, perhaps.
                keys = await self._current_keys()
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            registry = jwt.JWTClaimsRegistry(
                now=now,
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": self.terms.issuer},
                aud={"essential": True, "value": self.terms.client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            registry.validate(claims)
        except (JoseError, ValueError) as err:
            raise SignInRefusedError("the provider's token does not hold") from err
        if claims.get("azp", self.terms.client_id) != self.terms.client_id:
            raise SignInRefusedError("the provider's token is for another service")
        return claims

    async def _current_keys(self) -> KeySet:
        said = await self._asked((await self._known()).jwks_uri)
        try:
            self._keys = KeySet.import_key_set(said)  # type: ignore[arg-type]  # checked by it
        except (JoseError, ValueError, KeyError, TypeError) as err:
            raise ProviderError("the provider's keys cannot be read") from err
        self._keys_since = self._clock().timestamp()
        return self._keys

    def _person(self, claims: Mapping[str, Any]) -> Person:
        actor = _at(claims, self.terms.actor_claim)
        if not isinstance(actor, str) or ACTOR(actor) is None:
            raise SignInRefusedError(
                f"the claim {self.terms.actor_claim} is not a name of 1 to 64 letters, digits,"
                " '.', '_' and '-'"
            )
        listed = _at(claims, self.terms.roles_claim)
        values = [listed] if isinstance(listed, str) else listed
        held = (
            {each for each in values if isinstance(each, str)} if isinstance(values, list) else ()
        )
        roles = tuple(
            dict.fromkeys(role for value, role in self.terms.roles.items() if value in held)
        )
        if not roles:
            raise SignInRefusedError("the provider gives you no role in this service")
        return Person(actor, roles)

    async def _asked(self, address: str) -> Mapping[str, Any]:
        return _object(await self._answer("GET", address))

    async def _answer(self, method: str, address: str, **request: Any) -> httpx.Response:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):  # in all, not for each piece
                return await ask(self._client, method, address, most=MAX_ANSWER_BYTES, **request)
        except AnswerTooLongError as err:
            raise ProviderError("the provider's answer is too long") from err
        except (TimeoutError, httpx.HTTPError) as err:
            raise ProviderError("the provider does not answer") from err


@asynccontextmanager
async def provider_of(settings: Settings, *, clock: Clock) -> AsyncIterator[Provider | None]:
    """Open the provider of the settings, if there is one. Raises SignInError."""
    if settings.sign_in_file is None:
        yield None
        return
    terms, secret = read_terms(settings.sign_in_file)
    async with httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS, follow_redirects=False, headers=PLAIN
    ) as client:
        yield Provider(terms, secret, client, clock=clock)


def read_terms(path: Path) -> tuple[ProviderTerms, str | None]:
    """Return what a file says of the provider, and the client's secret. Raises SignInError."""
    try:
        terms = ProviderTerms.model_validate(yaml.safe_load(path.read_bytes()))
        file = terms.client_secret_file
        secret = None if file is None else (path.parent / file).read_text("utf-8").strip()
    except OSError as err:
        raise SignInError(f"cannot read {err.filename}: {err.strerror}") from err
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "sign-in"
        raise SignInError(f"{path}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise SignInError(f"{path} is not YAML") from err
    if secret == "":
        raise SignInError(f"{path}: client_secret_file is empty")
    return terms, secret


def _object(response: httpx.Response) -> Mapping[str, Any]:
    try:
        said = response.raise_for_status().json()
    except (httpx.HTTPStatusError, ValueError) as err:
        raise ProviderError("the provider's answer cannot be used") from err
    if not isinstance(said, dict):
        raise ProviderError("the provider's answer cannot be used")
    return said


def _address(said: Mapping[str, Any], name: str) -> str:
    address = said.get(name)
    if not isinstance(address, str) or not is_protected(address):
        raise ProviderError(f"the provider's {name} is not an address that begins with https://")
    return address


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim at a path whose dots lead into objects."""
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
