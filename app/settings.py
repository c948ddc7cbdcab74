"""Every setting of the service, read once from the environment (``GROUNDS_...``).

No secret has a default: keys live in files under ``data_dir`` and are made at first start.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
PREFIX = "GROUNDS_"


class Settings(BaseSettings):
    """What an operator may set. ``docs/settings.md`` lists each one; a test compares the two."""

    # What is set to nothing counts as not set: a path of no characters would be the current directory.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True
    )

    data_dir: Annotated[
        Path, Field(description="Where the log, its keys and the access keys are kept.")
    ] = Path("var/data")
    models_dir: Annotated[
        Path,
        Field(
            description="One directory per model, holding `bundle/` and `policy.yaml`: served at the "
            "model's first start, submitted later."
        ),
    ] = Path("var/models")
    store_dir: Annotated[
        Path | None,
        Field(
            description="Where submitted bundles and policies are kept by digest. Services that "
            "share a log share it too, or hold copies. Default: `store` in the data directory."
        ),
    ] = None
    acceptors_dir: Annotated[
        Path,
        Field(
            description="Those whose signatures on acceptance reports count: a public key, as "
            "`NAME.pem`, for each."
        ),
    ] = Path("var/acceptors")
    suppliers_dir: Annotated[
        Path,
        Field(
            description="The suppliers whose signatures on bundles are trusted: a public key or "
            "certificates, as `NAME.pem`, for each."
        ),
    ] = Path("var/suppliers")
    profile: Annotated[
        Literal["uk", "eu", "ca", "none"],
        Field(
            description="The country whose rules a model has to keep. `none` is for research with "
            "public data: no rule is applied, and every answer says so."
        ),
    ] = "uk"
    allow_unsigned: Annotated[
        bool,
        Field(
            description="For development: serve bundles that nobody has signed. Every answer, the "
            "log and the record of the start say so."
        ),
    ] = False
    attestations_file: Annotated[
        Path | None,
        Field(
            description="Who is trained to decide, as YAML. Without it nobody decides at impact "
            "levels III and IV."
        ),
    ] = None
    notices_dir: Annotated[
        Path | None,
        Field(
            description="A directory of the body's own templates for letters, one directory for "
            "each language. A language that it does not have takes the packaged template."
        ),
    ] = None
    webhooks_file: Annotated[
        Path | None,
        Field(
            description="Where events are sent, as YAML: CloudEvents, signed (Standard Webhooks). On "
            "one of several services that share a log, or each event comes several times."
        ),
    ] = None
    agreements_file: Annotated[
        Path | None,
        Field(
            description="The data-sharing agreements, as YAML. With it, every machine's key must "
            "name one."
        ),
    ] = None
    log_origin: Annotated[
        str,
        Field(
            description="The log's name in every checkpoint and receipt: a URL without a scheme "
            "that your organisation controls. It cannot change once the log exists.",
            pattern=r"^[^\s+]+$",
        ),
    ] = "localhost/grounds"
    log_url: Annotated[
        SecretStr | None,
        Field(
            description="The PostgreSQL database that holds the log, as "
            "`postgresql://user:password@host/database`; several services may share it. Without "
            "it the log is a SQLite file in the data directory, of one service alone."
        ),
    ] = None
    master_key_command: Annotated[
        SecretStr | None,
        Field(
            description="A program, with its arguments, that prints the log's master key as base64: the way to "
            "a key management service. It is run without a shell at each start, also of a command that "
            "opens the log. Without it the key is in a file."
        ),
    ] = None
    host: Annotated[str, Field(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(description="The port to listen on; 0 takes a free one.")] = 8080
    public_url: Annotated[
        str | None,
        Field(
            description="The address at which people reach the pages, such as "
            "`https://grounds.example.gov.uk`. Without it nobody can sign in but on this machine.",
            pattern=r"^https://[^/\s]+$",
        ),
    ] = None
    sign_in_file: Annotated[
        Path | None,
        Field(
            description="Who vouches for the people that use the pages (an OpenID provider) and "
            "what their roles are, as YAML. Without it nobody can sign in."
        ),
    ] = None
    demo_sign_in: Annotated[
        bool,
        Field(
            description="For the demonstration: let anybody on this machine sign in as anyone. "
            "Refused unless the service listens on this machine alone."
        ),
    ] = False
    session_idle_minutes: Annotated[
        int, Field(description="A session ends when nothing was asked for this long.", ge=1, le=480)
    ] = 30
    session_hours: Annotated[
        int, Field(description="A session ends this long after sign-in.", ge=1, le=24)
    ] = 10
    max_body_bytes: Annotated[
        int, Field(description="A larger request body is refused with 413.", ge=1024)
    ] = 1 * MIB
    max_batch_bytes: Annotated[
        int,
        Field(
            description="A larger batch is cut off with 413. Its body is held in memory.", ge=1024
        ),
    ] = 32 * MIB
    batch_limit: Annotated[
        int, Field(description="Batches under way beyond this are refused with 503.", ge=1)
    ] = 4
    queue_limit: Annotated[
        int,
        Field(description="Decisions waiting beyond this are refused with 503.", ge=1),
    ] = 4096
    slow_limit: Annotated[
        int,
        Field(
            description="Decisions that wait for something slow (an explanation of a black box, or "
            "a long search for what would have changed the recommendation) beyond this are refused "
            "with 503.",
            ge=1,
        ),
    ] = 256
    group_limit: Annotated[
        int, Field(description="The most decisions committed in one transaction.", ge=1)
    ] = 256
    request_timeout_seconds: Annotated[
        float, Field(description="How long one request may wait for its record.", gt=0)
    ] = 10.0
    witness_policy: Annotated[
        Path | None,
        Field(
            description="A tlog-policy file: this log, its witnesses with their URLs, and how many "
            "of them make a quorum. Each checkpoint is then shown to them."
        ),
    ] = None
    retention_file: Annotated[
        Path | None,
        Field(
            description="How long the content of each model's decisions is kept, at least and at "
            "most, and backups, as YAML."
        ),
    ] = None
    publish_dir: Annotated[
        Path | None,
        Field(
            description="A directory where the log is published as static files (tlog-tiles) for "
            "any web server."
        ),
    ] = None
    log_public: Annotated[
        bool,
        Field(
            description="Let anybody read `/log/...` without a key. The leaves hold no personal "
            "data, but they show how many decisions each model made, and when."
        ),
    ] = False
    timestamp_url: Annotated[
        str | None,
        Field(
            description="A timestamp authority (RFC 3161) that stamps a checkpoint every hour. "
            "Needs the extra `timestamps`."
        ),
    ] = None
    timestamp_roots: Annotated[
        Path | None,
        Field(description="The authority's root certificates, PEM. Needed with `timestamp_url`."),
    ] = None
    table_memory_bytes: Annotated[
        int, Field(description="Memory one bundle's explanation tables may take.", ge=MIB)
    ] = 256 * MIB
    otlp_endpoint: Annotated[
        str | None,
        Field(
            description="Where spans are sent: the traces address of an OpenTelemetry collector, "
            "such as `http://127.0.0.1:4318/v1/traces`. Needs the extra `telemetry`."
        ),
    ] = None
    residual_tolerance: Annotated[
        float,
        Field(
            description="How far an explanation may miss the model's own output, as a share of "
            "the output's size, before nothing is advised.",
            gt=0,
            le=1e-3,
        ),
    ] = 1e-5


def misspelt(variables: Iterable[str], *, known: Iterable[str]) -> dict[str, str | None]:
    """Return each variable that looks like a setting and is none, with the one it is most like.

    ``known`` are those that something else reads.
    """
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    found: dict[str, str | None] = {}
    for name in sorted({each.upper() for each in variables} - settings - {*known}):
        if name.startswith(PREFIX):
            found[name] = next(
                iter(get_close_matches(name, sorted(settings), n=1, cutoff=0.8)), None
            )
    return found
