"""Custody and evidence of one log, joined: both look up the same rare entries."""

from collections.abc import Mapping
from dataclasses import dataclass

from app import custody
from app.custody import Custody
from app.domain import Clock
from app.evidence import EvidenceMaker
from app.retention import load_retention
from app.served import ServedModel
from app.settings import Settings
from app.timestamps import TIMESTAMP
from audit.rare import RareEntries
from audit.reader import LogReader
from audit.records import KEY_ROTATED


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of a log's decisions, and how it is shown to outsiders."""

    custody: Custody
    evidence: EvidenceMaker


def keeping_of(
    settings: Settings, log: LogReader, served: Mapping[str, ServedModel], *, clock: Clock
) -> Keeping:
    """Return custody and evidence as the settings say. Raises RetentionError."""
    rare = RareEntries(log, (*custody.TYPES, TIMESTAMP, KEY_ROTATED))
    return Keeping(
        Custody(log, rare, retention=load_retention(settings.retention_file), clock=clock),
        EvidenceMaker(
            log,
            rare,
            served,
            trust_policy=settings.witness_policy,
            timestamp_roots=settings.timestamp_roots,
        ),
    )
