"""The first entry of every run: with what settings, models and policies the service started."""

from dataclasses import dataclass

import orjson

from app import __version__
from app.api.parts import Parts
from app.engine import Prepared
from app.ids import timestamp
from app.records import STARTED
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
                facts={
                    "models": {name: served.facts["model"] for name, served in parts.served.items()}
                },
                payload=answer,
                subject=None,
                idempotency=None,
            ),
            answer=answer,
            result=STARTED,
        )


async def record_start(parts: Parts) -> None:
    """Append the start event. Raises AuditError when the log takes nothing: then do not serve."""
    await parts.engine.submit(StartWork(parts))
