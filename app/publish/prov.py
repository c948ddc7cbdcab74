"""One decision as W3C PROV-JSON, from the log: which model and policy advised, and who did what since.

It holds identifiers, digests and places in the log, and nothing that the case, the advice or a person
said: who may see those asks the service.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import orjson

from app.case_entries import FOLLOWING
from app.records import SHADOW, parse_recommendation
from audit.leaf import Fact
from audit.note import encode_base64
from audit.reader import LogReader
from audit.records import StoredRecord

NAMESPACE = "urn:grounds:"
TOLD = FOLLOWING - {SHADOW}
"""The later entries that are part of a decision's story; what a shadow made of it is part of none."""

ProvJson: TypeAlias = dict[str, dict[str, object]]
"""By kind of PROV record, then by name."""


def prov_document(log: LogReader, made: StoredRecord, later: Iterable[StoredRecord]) -> ProvJson:
    """Return the provenance of a recommendation: how it was made, and each later record in order.

    ``later`` are the entries about it, oldest first; those that are no part of its story, such as
    readings, are left out. Of an erased record stays what its leaf says, and who erased it.
    """
    document = _Document(log)
    recommendation = document.recommendation(made)
    before = f"grounds:inference/{made.id}"
    for record in later:
        if record.type in TOLD:
            before = document.step(record, recommendation=recommendation, before=before)
    return document.written()


class _Document:
    """A document as it grows."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._records: ProvJson = {
            "entity": {}, "activity": {}, "agent": {}, "used": {}, "wasGeneratedBy": {},
            "wasAssociatedWith": {}, "wasAttributedTo": {}, "wasDerivedFrom": {},
            "wasInformedBy": {}, "wasInvalidatedBy": {},
        }  # fmt: skip

    def written(self) -> ProvJson:
        """Return what there is; an empty kind is left out."""
        kinds = {kind: each for kind, each in self._records.items() if each}
        return {"prefix": {"grounds": NAMESPACE}, **kinds}

    def recommendation(self, made: StoredRecord) -> str:
        """Tell how the recommendation was made; return its name."""
        model, policy = _part(made.facts, "model"), _part(made.facts, "policy")
        used = {
            f"grounds:model/sha256:{model['sha256']}": {
                "prov:type": "model",
                "grounds:name": model["name"],
                "grounds:version": model["version"],
            },
            f"grounds:policy/sha256:{policy['sha256']}": {"prov:type": "policy"},
            f"grounds:case/{made.id}": {"prov:type": "case"},
        }
        inference = self._activity(f"grounds:inference/{made.id}", "inference", made.timestamp)
        for name, told in used.items():
            self._records["entity"][name] = told
            self._relate("used", activity=inference, entity=name)
        self._associate(inference, "grounds:software/grounds", "prov:SoftwareAgent")
        if made.payload is not None:
            caller = parse_recommendation(made.payload).caller
            self._associate(inference, f"grounds:caller/{caller}", "prov:SoftwareAgent")
        return self._recorded(f"grounds:recommendation/{made.id}", made, by=inference)

    def step(self, record: StoredRecord, *, recommendation: str, before: str) -> str:
        """Tell a later record, which followed the activity ``before``; return its own activity."""
        activity = self._activity(
            f"grounds:{record.type}/{record.id}", record.type, record.timestamp
        )
        entity = self._recorded(f"grounds:{record.type}-record/{record.id}", record, by=activity)
        self._relate("used", activity=activity, entity=recommendation)
        self._relate("wasInformedBy", informed=activity, informant=before)
        self._relate("wasDerivedFrom", generatedEntity=entity, usedEntity=recommendation)
        if record.payload is not None:
            said = orjson.loads(record.payload)
            # Only the steps of a case say whether it was a person.
            kind = {True: "prov:Person", False: "prov:SoftwareAgent"}.get(said.get("human"))
            agent = self._associate(activity, f"grounds:actor/{said['actor']}", kind)
            self._relate("wasAttributedTo", entity=entity, agent=agent)
        return activity

    def _recorded(self, name: str, record: StoredRecord, *, by: str) -> str:
        """Tell an entity that is an entry of the log, and who erased it; return its name."""
        self._records["entity"][name] = {
            "prov:type": record.type,
            "grounds:log": self._log.origin,
            "grounds:index": record.index,
            "grounds:leaf-hash": encode_base64(record.leaf_hash),
        }
        self._relate("wasGeneratedBy", entity=name, activity=by, time=record.timestamp)
        erased_by = self._log.erasure_of(record.index)
        if erased_by is not None:
            erasure = self._log.read_index(erased_by)
            activity = self._activity(
                f"grounds:erasure/{erasure.id}", erasure.type, erasure.timestamp
            )
            self._associate(activity, f"grounds:actor/{erasure.facts['actor']}", None)
            self._relate("wasInvalidatedBy", entity=name, activity=activity, time=erasure.timestamp)
        return name

    def _activity(self, name: str, kind: str, at: str) -> str:
        self._records["activity"][name] = {
            "prov:startTime": at, "prov:endTime": at, "prov:type": kind,
        }  # fmt: skip
        return name

    def _associate(self, activity: str, agent: str, kind: str | None) -> str:
        """Say who acted: one person or program may do so often."""
        known = self._records["agent"].get(agent)
        if not known:
            self._records["agent"][agent] = {} if kind is None else {"prov:type": _qualified(kind)}
        self._relate("wasAssociatedWith", activity=activity, agent=agent)
        return agent

    def _relate(self, kind: str, **ends: str) -> None:
        relations = self._records[kind]
        told = {f"prov:{name}": end for name, end in ends.items()}
        if told not in relations.values():  # one erasure takes many records
            relations[f"_:{kind}-{len(relations)}"] = told


def _part(facts: Mapping[str, Fact], name: str) -> Mapping[str, Fact]:
    part = facts[name]
    if not isinstance(part, Mapping):
        raise TypeError(f"{name} of a recommendation: got {type(part).__name__}, want an object")
    return part


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}
