"""The whole six-part explanation of one case, put together."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from app.cases import CaseFile
from app.policy import Policy
from app.publish.subject import FILE, read_deployment
from app.served import ServedModel
from app.six_kinds import outcome, shapes
from app.six_kinds.process import Made, no_process, process_halves
from models.bundle import BundleFiles, read
from models.errors import FilesRefusedError


def six_kinds(
    case: CaseFile,
    served: ServedModel | None,
    *,
    today: Policy | None,
    watched: Sequence[str],
    limits_broken: Sequence[str],
) -> shapes.SixKinds:
    """Return the explanation of a case that its reader may see.

    ``served`` is the version that advised, or None where it is not available; ``today`` is today's
    policy, if any; ``watched`` are the limits of that version that are watched, and
    ``limits_broken`` those that are broken now.
    """
    if served is None:
        files, halves = None, no_process(outcome.GONE)
    else:
        files = _files(served.bundle.path, served.bundle.digest)
        halves = process_halves(
            Made(
                files=files,
                deployment=read_deployment(served.directory / FILE),
                method=served.explainer.method,
                why_this_method=served.explainer.reason,
                background_rows=served.explainer.background_rows,
                signed_by=case.answer["model"]["signature"]["supplier"],
                watched=tuple(watched),
            )
        )
    around = outcome.Around(files, None if served is None else served.policy, today, limits_broken)
    kinds = {
        "rationale": shapes.Rationale(process=halves.rationale, outcome=outcome.rationale(case)),
        "responsibility": shapes.Responsibility(
            process=halves.responsibility, outcome=outcome.responsibility(case, around)
        ),
        "data": shapes.Data(process=halves.data, outcome=outcome.data(case, around)),
        "fairness": shapes.Fairness(
            process=halves.fairness, outcome=outcome.fairness(case, around)
        ),
        "safety_and_performance": shapes.SafetyAndPerformance(
            process=halves.safety, outcome=outcome.safety(case)
        ),
        "impact": shapes.Impact(process=halves.impact, outcome=outcome.impact(case, around)),
    }
    return shapes.SixKinds.model_validate(
        {
            "decision": case.decision.id,
            "summary": _summary(case),
            **kinds,
            "not_provided": list(_missing(kinds)),
        }
    )


def _summary(case: CaseFile) -> list[str]:
    told = case.answer.get("explanation")
    why = (
        ["No advice was given on this case."]
        if told is None
        else [told["summary"], *told["strongest_reasons"]]
    )
    final, last = case.final, case.in_force
    who = (
        "Nobody has decided yet."
        if final is None
        else f"{'A person' if final.is_human else 'A machine'} decided: {final.content['outcome']}."
    )
    reviewed = (
        []
        if last is None or last is final
        else [f"A person reviewed this and decided: {last.content['outcome']}."]
    )
    days = case.terms.answer_within_days
    return [
        *why,
        who,
        *reviewed,
        f"A person looks at it again if asked, and answers within {days} days.",
    ]


def _missing(kinds: dict[str, shapes.Shape]) -> Iterator[str]:
    for name, kind in kinds.items():
        for half in ("process", "outcome"):
            if isinstance(getattr(kind, half), shapes.NotProvided):
                yield f"{name}.{half}"


@lru_cache(maxsize=16)
def _files(path: Path, digest: str) -> BundleFiles:
    """Return a served bundle's files, read once: they do not change under their digest.

    Raises FilesRefusedError for files that were changed while they were served.
    """
    files = read(path)
    if files.digest != digest:
        raise FilesRefusedError(str(path), got=files.digest, want=digest)
    return files
