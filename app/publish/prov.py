"""One decision as W3C PROV-JSON: which model and policy, what was said, and who did what with it.

It holds identifiers and digests, and nothing that the case said: who may see the case asks the service.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

NAMESPACE = "urn:grounds:"


@dataclass(frozen=True, slots=True)
class Related:
    """A record that came after a recommendation and is about it."""

    id: str
    type: str
    """As the log names it, such as ``caseworker-decision``."""
    created: str
    """RFC 3339."""
    actor: str
    """The key's identifier."""
    actor_kind: Literal["person", "software"] = "person"


def prov_document(
    answer: Mapping[str, object], *, caller: str, related: Sequence[Related] = ()
) -> dict[str, object]:
    """Return the provenance of the recommendation ``answer``, stored as it was given.

    Each later record was informed by the one before, and acts on the recommendation.
    """
    identity, created = str(answer["id"]), str(answer["created"])
    model, policy = _part(answer, "model"), _part(answer, "policy")
    recommendation = _name("recommendation", identity)
    inference = _name("inference", identity)
    used = {
        "model": _name("model", str(model["digest"])),
        "policy": _name("policy", str(policy["digest"])),
        "case": _name("case", identity),
    }
    agents: dict[str, dict[str, object]] = {
        _name("software", "grounds"): {"prov:type": _qualified("prov:SoftwareAgent")},
        _name("caller", caller): {"prov:type": _qualified("prov:SoftwareAgent")},
    }
    entities: dict[str, dict[str, object]] = {
        used["model"]: {
            "prov:type": "model",
            "grounds:name": str(model["name"]),
            "grounds:version": str(model["version"]),
        },
        used["policy"]: {
            "prov:type": "policy",
            "grounds:name": str(policy["name"]),
            "grounds:version": str(policy["version"]),
        },
        used["case"]: {"prov:type": "case"},
        recommendation: {"prov:type": "recommendation"},
    }
    activities: dict[str, dict[str, object]] = {
        inference: {
            "prov:startTime": created,
            "prov:endTime": created,
            "prov:type": "inference",
        }
    }
    relations: dict[str, dict[str, dict[str, object]]] = {
        "used": {
            f"_:used-{kind}": {"prov:activity": inference, "prov:entity": entity}
            for kind, entity in used.items()
        },
        "wasGeneratedBy": {
            "_:generated": {"prov:entity": recommendation, "prov:activity": inference}
        },
        "wasAssociatedWith": {
            "_:ran": {"prov:activity": inference, "prov:agent": _name("software", "grounds")},
            "_:asked": {"prov:activity": inference, "prov:agent": _name("caller", caller)},
        },
        "wasDerivedFrom": {},
        "wasInformedBy": {},
        "wasAttributedTo": {},
    }
    before = inference
    for number, record in enumerate(related):
        activity, entity = _name(record.type, record.id), _name(f"{record.type}-record", record.id)
        agent = _name("actor", record.actor)
        person = record.actor_kind == "person"
        agents[agent] = {"prov:type": _qualified("prov:Person" if person else "prov:SoftwareAgent")}
        entities[entity] = {"prov:type": record.type}
        activities[activity] = {
            "prov:startTime": record.created,
            "prov:endTime": record.created,
            "prov:type": record.type,
        }
        relations["used"][f"_:used-{number}"] = {
            "prov:activity": activity,
            "prov:entity": recommendation,
        }
        relations["wasGeneratedBy"][f"_:generated-{number}"] = {
            "prov:entity": entity,
            "prov:activity": activity,
        }
        relations["wasAssociatedWith"][f"_:did-{number}"] = {
            "prov:activity": activity,
            "prov:agent": agent,
        }
        relations["wasAttributedTo"][f"_:by-{number}"] = {
            "prov:entity": entity,
            "prov:agent": agent,
        }
        relations["wasDerivedFrom"][f"_:from-{number}"] = {
            "prov:generatedEntity": entity,
            "prov:usedEntity": recommendation,
        }
        relations["wasInformedBy"][f"_:after-{number}"] = {
            "prov:informed": activity,
            "prov:informant": before,
        }
        before = activity
    return {
        "prefix": {"grounds": NAMESPACE},
        "entity": entities,
        "activity": activities,
        "agent": agents,
        **{name: each for name, each in relations.items() if each},
    }


def _part(answer: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = answer[name]
    if not isinstance(part, Mapping):
        raise TypeError(f"{name} of an answer: got {type(part).__name__}, want an object")
    return part


def _name(kind: str, identity: str) -> str:
    return f"grounds:{kind}/{identity}"


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}
