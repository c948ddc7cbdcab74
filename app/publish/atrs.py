"""The UK's Algorithmic Transparency Recording Standard, version 4.0, as a record with its gaps.

The fields, their numbers and how sure we are of each are in ``schemas/atrs-4.0.json``, our own JSON
Schema: no official one was found. Fields marked ``recalled`` have to be compared with the template
before a record is published.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files as resources

from app.publish.subject import Subject
from models.card_sections import PerformanceMetric

VERSION = "4.0"

_NOT_LIVE = "a live figure: none was given with its window"
_LIVE = {"frequency_and_scale"}


@cache
def schema() -> dict[str, object]:
    """Return the JSON Schema of a record."""
    text = (resources("app") / "publish" / "schemas" / "atrs-4.0.json").read_text("utf-8")
    loaded: dict[str, object] = json.loads(text)
    return loaded


def atrs_record(subject: Subject) -> dict[str, object]:
    """Return the record: every field of the standard, null where nothing is known, and the gaps."""
    fields: dict[str, object] = {name: fill(subject) for name, fill in FILLED.items()}
    return {
        "standard": "ATRS",
        "standard_version": VERSION,
        "model_digest": subject.files.digest,
        **fields,
        "gaps": _gaps(fields),
    }


def atrs_markdown(record: Mapping[str, object]) -> str:
    """Return the record for reading, in the standard's order."""
    lines = [f"# {record['title'] or 'Algorithmic transparency record'}", ""]
    for name, told in _properties().items():
        if "x-atrs-id" not in told:
            continue
        lines += [f"## {told['x-atrs-id']} {told['title']}", "", *_written(record[name]), ""]
    lines += ["## Gaps", ""]
    gaps = record["gaps"] if isinstance(record["gaps"], list) else []
    lines += [f"- {gap['id']} {gap['field']}: {gap['reason']}" for gap in gaps] or ["None."]
    return "\n".join(lines) + "\n"


def _written(value: object) -> list[str]:
    if value is None:
        return ["*Not stated.*"]
    if isinstance(value, list):
        if not value:
            return ["*Not stated.*"]
        return [line for each in value for line in _item(each)]
    return [str(value)]


def _item(value: object) -> list[str]:
    if not isinstance(value, dict):
        return [f"- {value}"]
    parts = [
        f"{name.replace('_', ' ')}: {'; '.join(map(str, told)) if isinstance(told, list) else told}"
        for name, told in value.items()
        if told is not None
    ]
    return ["- " + "\n  ".join(parts)]


def _properties() -> dict[str, dict[str, object]]:
    properties = schema()["properties"]
    if not isinstance(properties, dict):
        raise TypeError("atrs-4.0.json: want an object of properties")
    return properties


def _gaps(fields: Mapping[str, object]) -> list[dict[str, object]]:
    """Return what nobody has said, also inside repeated parts."""
    found: list[dict[str, object]] = []
    for name, told in _properties().items():
        if name not in fields:
            continue
        value = fields[name]
        if value is None or value == []:
            reason = (
                _NOT_LIVE if name in _LIVE else "nothing in the bundle or the deployment says so"
            )
            found.append({"id": told["x-atrs-id"], "field": told["title"], "reason": reason})
        elif isinstance(value, list):
            found += _inner_gaps(told, value)
    return found


def _inner_gaps(told: Mapping[str, object], parts: Sequence[object]) -> list[dict[str, object]]:
    items = told.get("items")
    inner = items.get("properties", {}) if isinstance(items, dict) else {}
    return [
        {
            "id": described["x-atrs-id"],
            "field": f"{told['title']} {number}: {described['title']}",
            "reason": "nothing in the bundle or the deployment says so",
        }
        for number, part in enumerate(parts, start=1)
        for name, described in inner.items()
        if isinstance(part, dict) and part.get(name) in (None, [])
    ]


def _of(section: str, member: str) -> Callable[[Subject], object]:
    """Return what a section of the card says, or the deployment's member."""

    def fill(subject: Subject) -> object:
        owner = subject.deployment if section == "deployment" else subject.files.card
        part = owner if section in {"deployment", "card"} else getattr(owner, section)
        return None if part is None else getattr(part, member)

    return fill


def _sheet(section: str, member: str) -> Callable[[Subject], object]:
    def fill(subject: Subject) -> object:
        sheet = subject.files.datasheet
        part = None if sheet is None else getattr(sheet, section)
        return None if part is None else getattr(part, member)

    return fill


def _operational(member: str) -> Callable[[Subject], object]:
    def fill(subject: Subject) -> object:
        deployment = subject.deployment
        data = None if deployment is None else deployment.operational_data
        return None if data is None else getattr(data, member)

    return fill


def _contact(subject: Subject) -> object:
    told = None if subject.deployment is None else subject.deployment.contact_email
    return told or subject.files.card.contact


def _organisation(subject: Subject) -> object:
    return None if subject.deployment is None else subject.deployment.organisation


def _third_parties(subject: Subject) -> object:
    supplier = subject.files.card.supplier
    if supplier is None:
        return []
    return [
        {
            "name": supplier.name,
            "company_number": supplier.company_number,
            "role": supplier.role,
            "procurement": supplier.procurement,
            "data_access": supplier.data_access,
        }
    ]


def _appeals(subject: Subject) -> object:
    appeals = None if subject.deployment is None else subject.deployment.appeals
    if appeals is None:
        return None
    return (
        f"The tool's output: {appeals.tool_output} The decision and the wider process: "
        f"{appeals.wider_process}"
    )


def _scale(subject: Subject) -> object:
    live = subject.live
    if live is None:
        return None
    return f"{live.decisions:,} recommendations from {live.window.start} to {live.window.end}."


def _input(subject: Subject) -> object:
    return "; ".join(field.label for field in subject.files.card.fields)


def _models(subject: Subject) -> object:
    files = subject.files
    card, parameters = files.card, files.card.model_parameters
    return [
        {
            "name": card.name,
            "version": f"{card.version}, {files.digest}",
            "task": f"{card.output.task}: {card.output.meaning}",
            "input": None if parameters is None else parameters.input_format,
            "output": None if parameters is None else parameters.output_format,
            "architecture": None if parameters is None else parameters.architecture,
            "performance": _performance(subject),
            "datasets": [card.training_data] if card.training_data else [],
        }
    ]


def _performance(subject: Subject) -> list[str]:
    analysis = subject.files.card.quantitative_analysis
    told = []
    if analysis is not None:
        told += [f"On {analysis.evaluation_data}"] if analysis.performance_metrics else []
        told += [_metric(metric) for metric in analysis.performance_metrics]
    if subject.live is not None:
        window = f"{subject.live.window.start} to {subject.live.window.end}"
        told += [f"{m.type}: {m.value:g} (in use, {window})" for m in subject.live.metrics]
    return told


def _metric(metric: PerformanceMetric) -> str:
    part = "" if metric.slice is None else f", {metric.slice.attribute} {metric.slice.value}"
    interval = metric.confidence_interval
    told = f" ({interval.lower:g} to {interval.upper:g})" if interval is not None else ""
    return f"{metric.type}{part}: {metric.value:g}{told}"


def _assessments(subject: Subject) -> object:
    return [
        {
            "name": each.title,
            "description": each.description,
            "date": each.date.isoformat(),
            "link": each.link,
        }
        for each in subject.files.card.assessments
    ]


def _risks(subject: Subject) -> object:
    considerations = subject.files.card.considerations
    risks = () if considerations is None else considerations.ethical_considerations
    return [{"name": each.name, "mitigation": each.mitigation_strategy} for each in risks]


FILLED: Mapping[str, Callable[[Subject], object]] = {
    "title": _of("card", "title"),
    "organisation_name": _organisation,
    "phase": _of("deployment", "phase"),
    "region": _of("deployment", "region"),
    "one_sentence_description": _of("card", "purpose"),
    "name": _of("card", "title"),
    "description": _of("model_details", "overview"),
    "website": _of("deployment", "website"),
    "contact_email": _contact,
    "organisation": _organisation,
    "team": _of("deployment", "team"),
    "senior_responsible_owner": _of("deployment", "senior_responsible_owner"),
    "third_parties": _third_parties,
    "detailed_description": _of("model_details", "overview"),
    "benefits": _of("model_details", "benefits"),
    "previous_process": _of("deployment", "previous_process"),
    "alternatives_considered": _of("model_details", "alternatives_considered"),
    "integration": _of("deployment", "integration"),
    "human_review": _of("deployment", "human_review"),
    "frequency_and_scale": _scale,
    "required_training": _of("deployment", "required_training"),
    "appeals_and_review": _appeals,
    "system_architecture": _of("deployment", "system_architecture"),
    "system_input": _input,
    "system_output": lambda subject: subject.files.card.output.meaning,
    "maintenance": _of("model_parameters", "maintenance"),
    "models_used": lambda subject: f"{subject.files.card.name} {subject.files.card.version}",
    "models": _models,
    "development_data_description": _sheet("composition", "description"),
    "development_data_modality": _sheet("composition", "modality"),
    "development_data_quantities": _sheet("composition", "quantities"),
    "development_sensitive_attributes": _sheet("composition", "sensitive_attributes"),
    "development_completeness": _sheet("composition", "completeness"),
    "development_cleaning": _sheet("preprocessing", "cleaning"),
    "development_collection": _sheet("collection_process", "how"),
    "development_access": _sheet("distribution", "access"),
    "development_sharing": _sheet("distribution", "sharing_agreements"),
    "operational_sources": _operational("sources"),
    "operational_sensitive_attributes": _operational("sensitive_attributes"),
    "operational_processing": _operational("processing"),
    "operational_access": _operational("access"),
    "operational_sharing": _operational("sharing"),
    "impact_assessments": _assessments,
    "risks": _risks,
}
"""How each field is filled; ``None`` or nothing in a list is a gap."""
