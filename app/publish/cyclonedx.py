"""The model as a CycloneDX 1.7 bill of materials with its model card (ECMA-424)."""

import hashlib
import uuid
from collections.abc import Mapping

from app.publish.subject import Subject
from models.bundle import BACKGROUND, MODEL
from models.card import Card
from models.card_sections import PerformanceMetric

_NAMESPACE = uuid.UUID("6f6c2c0e-9d1a-5c39-9a53-5b1f0c7e0d11")


def cyclonedx_bom(subject: Subject) -> dict[str, object]:
    """Return the bill of materials; the same bundle gives the same one."""
    files = subject.files
    card = files.card
    reference = f"model:{card.name}@{card.version}"
    component: dict[str, object] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": card.name,
        "version": card.version,
        "description": card.purpose,
        "hashes": [{"alg": "SHA-256", "content": _sha256(files.contents[MODEL])}],
        "modelCard": _model_card(subject),
        "properties": [
            {"name": "grounds:bundle-digest", "value": files.digest},
            {"name": "grounds:legal-basis", "value": card.legal_basis},
            *(
                [{"name": "grounds:impact-level", "value": files.impact.roman}]
                if files.impact is not None
                else []
            ),
        ],
    }
    if card.supplier is not None:
        component["supplier"] = {"name": card.supplier.name}
    details = card.model_details
    if details is not None and details.licence is not None:
        component["licenses"] = [{"license": {"name": details.licence}}]
    if details is not None and details.documentation is not None:
        component["externalReferences"] = [{"type": "documentation", "url": details.documentation}]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, files.digest)}",
        "version": 1,
        "metadata": {"component": component},
        "components": [
            {
                "type": "data",
                "bom-ref": f"data:{BACKGROUND}",
                "name": BACKGROUND,
                "description": "Comparable cases that explanations compare with",
                "hashes": [{"alg": "SHA-256", "content": _sha256(files.contents[BACKGROUND])}],
            }
        ],
        "dependencies": [{"ref": reference, "dependsOn": [f"data:{BACKGROUND}"]}],
    }


def _model_card(subject: Subject) -> dict[str, object]:
    card = subject.files.card
    parameters = card.model_parameters
    told: dict[str, object] = {
        "approach": {"type": "supervised"},
        "task": card.output.task,
        "inputs": [{"format": f"{field.name}: {field.type}"} for field in card.fields],
        "outputs": [{"format": card.output.meaning}],
    }
    if parameters is not None and parameters.architecture is not None:
        told["modelArchitecture"] = parameters.architecture
    if card.training_data is not None:
        told["datasets"] = [
            {
                "type": "dataset",
                "name": "training data",
                "description": card.training_data,
                "governance": {"owners": [{"organization": {"name": card.owner}}]},
            }
        ]
    found: dict[str, object] = {"modelParameters": told, "considerations": _considerations(card)}
    if card.quantitative_analysis is not None:
        found["quantitativeAnalysis"] = {
            "performanceMetrics": [
                _metric(metric) for metric in card.quantitative_analysis.performance_metrics
            ]
        }
    return found


def _considerations(card: Card) -> dict[str, object]:
    told: dict[str, object] = {
        "technicalLimitations": [
            *card.limitations,
            *(f"It cannot know: {each}" for each in card.what_it_cannot_know),
        ]
    }
    said = card.considerations
    if said is None:
        return told
    told |= {
        "users": list(said.users),
        "useCases": list(said.use_cases),
        "performanceTradeoffs": list(said.tradeoffs),
        "ethicalConsiderations": [
            {"name": risk.name, "mitigationStrategy": risk.mitigation_strategy}
            for risk in said.ethical_considerations
        ],
    }
    if said.fairness is not None:
        criterion = f"{said.fairness.criterion}: {said.fairness.criterion_rationale}"
        told["fairnessAssessments"] = [
            *({"groupAtRisk": name, "mitigationStrategy": criterion} for name in card.protected),
            *(
                {"groupAtRisk": each.group, "harms": f"Not tested: {each.reason}"}
                for each in said.fairness.not_tested
            ),
        ]
    return told


def _metric(metric: PerformanceMetric) -> Mapping[str, object]:
    told: dict[str, object] = {"type": metric.type, "value": f"{metric.value:g}"}
    if metric.slice is not None:
        told["slice"] = f"{metric.slice.attribute}={metric.slice.value}"
    if metric.confidence_interval is not None:
        told["confidenceInterval"] = {
            "lowerBound": f"{metric.confidence_interval.lower:g}",
            "upperBound": f"{metric.confidence_interval.upper:g}",
        }
    return told


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
