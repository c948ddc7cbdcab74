"""The card as a Hugging Face model card: YAML front matter, then the text for people."""

import yaml

from app.publish.subject import Subject

_TASKS = {"classification": "tabular-classification", "regression": "tabular-regression"}


def huggingface_metadata(subject: Subject) -> dict[str, object]:
    """Return the front matter."""
    card = subject.files.card
    details, analysis = card.model_details, card.quantitative_analysis
    task = _TASKS[card.output.task]
    told: dict[str, object] = {
        "license": "other",
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": ["public-sector", "decision-support"],
    }
    if details is not None and details.licence is not None:
        told["license_name"] = details.licence
    if analysis is not None and analysis.performance_metrics:
        told["model-index"] = [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": analysis.evaluation_data, "type": "private"},
                        "metrics": [
                            {
                                "type": metric.type,
                                "value": metric.value,
                                **(
                                    {}
                                    if metric.slice is None
                                    else {
                                        "name": f"{metric.type}, {metric.slice.attribute} "
                                        f"{metric.slice.value}"
                                    }
                                ),
                            }
                            for metric in analysis.performance_metrics
                        ],
                    }
                ],
            }
        ]
    return told


def huggingface_card(subject: Subject) -> str:
    """Return the whole card."""
    card, said = subject.files.card, subject.files.card.considerations
    front = yaml.safe_dump(huggingface_metadata(subject), sort_keys=False, allow_unicode=True)
    sections: list[tuple[str, tuple[str, ...]]] = [
        ("Purpose", (card.purpose,)),
        ("Owner", (card.owner,)),
        ("Legal basis", (card.legal_basis,)),
        ("Users", () if said is None else said.users),
        ("Uses", () if said is None else said.use_cases),
        ("Out of scope", () if said is None else said.out_of_scope),
        ("Training data", () if card.training_data is None else (card.training_data,)),
        ("Limitations", card.limitations),
        ("What it cannot know", card.what_it_cannot_know),
    ]
    lines = ["---", front.rstrip(), "---", "", f"# {card.title}", ""]
    for heading, texts in sections:
        if texts:
            lines += [f"## {heading}", "", *(f"- {text}" for text in texts), ""]
    lines += [f"Bundle: `{subject.files.digest}`"]
    return "\n".join(lines) + "\n"
