"""The first entry of every run: with what settings, models and policies the service started."""

from dataclasses import dataclass
from hashlib import sha256

import orjson

from app import __version__
from app.api.parts import Parts
from app.ids import timestamp
from app.records import STARTED
from app.work import Prepared
from audit.leaf import Facts, canonical_facts
from audit.records import Idempotency, NewRecord


@dataclass(frozen=True, slots=True)
class StartWork:
    """Records the configuration at start; policies whole, so that they can be read years later."""

    parts: Parts

    @property
    def idempotency(self) -> Idempotency | None:
        """Each start is an event of its own."""
        return None

    def recorded(self, prepared: Prepared) -> None:
        """Nothing is counted."""

    def prepare(self) -> Prepared:
        """Return the record of this start."""
        parts = self.parts
        answer = orjson.dumps(
            {
                "created": timestamp(parts.clock()),
                "version": __version__,
                "runtime": dict(parts.runtime),
                "settings": parts.settings.model_dump(mode="json"),
                "models": {
                    name: {
                        "version": served.bundle.card.version,
                        "digest": served.bundle.digest,
                        "signature": {
                            **served.vouched.body(),
                            "fingerprint": served.vouched.fingerprint,
                        },
                        "method": served.explainer.method,
                        "background": served.explainer.background_digest,
                        "policy": served.policy.model_dump(mode="json"),
                        "policy_digest": served.policy_digest,
                    }
                    for name, served in parts.served.items()
                },
            }
        )
        return Prepared(
            record=NewRecord(
                type=STARTED,
                id=parts.new_id(),
                facts={"models": _summary(parts)},
                payload=answer,
                subject=None,
                idempotency=None,
            ),
            answer=answer,
            result=STARTED,
        )


def _summary(parts: Parts) -> Facts:
    """Return how many models are served, and a digest of which: a leaf has no room for many."""
    models = {name: served.facts["model"] for name, served in parts.served.items()}
    digest = sha256(canonical_facts(models).encode()).hexdigest()
    return {"count": len(models), "sha256": digest}


async def record_start(parts: Parts) -> None:
    """Append the start event. Raises AuditError when the log takes nothing: then do not serve."""
    await parts.engine.submit(StartWork(parts))
