"""The acceptance suite: a supplied bundle tried as its buyer would use it, one check after another.

A check that cannot be done is not passed: the report says why, and the bundle is not accepted.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from app import __version__
from app.acceptance import check_repeated, cross_check
from app.domain import Clock
from app.ids import timestamp
from app.judging import make_judge
from app.lint_report import lint_report
from app.policy import Policy, PolicyError, load_policy
from app.served import explain_against, highest_score, lowest_score, open_model
from app.settings import Settings
from app.shap_answers import CrossCheckMissingError
from app.supplied.fairness import check_calibration, check_fairness, scores_of
from app.supplied.report import Check, Report
from app.supplied.robustness import check_robustness
from explainers.errors import ExplanationError
from explainers.explainer import Explainer
from models.bundle import Bundle, BundleFiles, read
from models.errors import BundleRefusedError, ModelError, SigningError, TrainingLibraryMissingError
from models.evaluation import Evaluated
from models.profile import load_profile
from models.proxies import measure_proxies
from models.signing import load_suppliers, verify_signature

Step = Callable[[str], None]
"""Hears which check begins."""
Advance = Callable[[int, int], None]

FASTEST_SHARE = 0.5
"""The share of a request's time that scoring and explaining may take at the 99th percentile."""
TIMED = 200
CHECKS = ("signature", "fit", "requirements", "samples", "explanations", "robustness", "proxies",
          "fairness", "calibration", "speed")  # fmt: skip


def accept(
    path: Path,
    *,
    policy: Path,
    settings: Settings,
    clock: Clock,
    evaluation: Sequence[Evaluated] = (),
    step: Step = lambda _: None,
    advance: Advance = lambda _done, _total: None,
) -> Report:
    """Return what trying a supplied bundle has shown.

    ``evaluation`` is the buyer's own set, and wins over the bundle's. Raises FilesRefusedError,
    CardRefusedError, RowsRefusedError or PolicyError when bundle or policy cannot even be read.
    """
    files = read(path)
    rules = load_policy(
        policy, lowest_score=lowest_score(files.card), highest_score=highest_score(files.card)
    )
    found: list[Check] = []
    step("signature")
    supplier, check = _signature(files, settings)
    found.append(check)
    step("fit")
    opened = _fit(files, rules, settings)
    if isinstance(opened, Check):
        why = "the bundle does not fit"
        found.append(opened)
        found += [Check(name=n, status="not_done", summary=why) for n in CHECKS[2:]]
    else:
        found += _tried(files, opened, rules, settings, clock, evaluation, step, advance)
    return Report(
        made=timestamp(clock()),
        model=files.card.name,
        version=files.card.version,
        digest=files.digest,
        supplier=supplier,
        policy=f"{rules.policy} {rules.version}",
        policy_digest=rules.digest,
        grounds=__version__,
        checks=tuple(found),
    )


def _tried(
    files: BundleFiles,
    opened: tuple[Bundle, Explainer],
    rules: Policy,
    settings: Settings,
    clock: Clock,
    evaluation: Sequence[Evaluated],
    step: Step,
    advance: Advance,
) -> list[Check]:
    bundle, explainer = opened
    found = [
        Check(
            name="fit",
            status="passed",
            summary=f"it is served by {explainer.method}, in {explainer.unit}",
        )
    ]
    step("requirements")
    found.append(_requirements(files, settings, clock))
    found.append(
        Check(
            name="samples",
            status="passed",
            summary=f"{len(files.samples)} samples are reproduced within "
            f"{files.card.sample_tolerance:g}",
        )
    )
    step("explanations")
    found.append(_explanations(files, bundle, explainer, settings, advance))
    step("robustness")
    found.append(check_robustness(bundle, explainer))
    step("proxies, fairness and calibration")
    found += _evaluated(bundle, evaluation or files.evaluation, rules, settings)
    step("speed")
    found.append(_speed(bundle, explainer, settings))
    return found


def _signature(files: BundleFiles, settings: Settings) -> tuple[str | None, Check]:
    try:
        signer = verify_signature(files, load_suppliers(settings.suppliers_dir))
    except (BundleRefusedError, SigningError) as err:
        return None, Check(name="signature", status="failed", summary=str(err))
    return signer.supplier, Check(
        name="signature",
        status="passed",
        summary=f"signed by {signer.supplier}, {signer.mode} {signer.fingerprint}",
    )


def _fit(files: BundleFiles, rules: Policy, settings: Settings) -> tuple[Bundle, Explainer] | Check:
    if rules.model != files.card.name:
        return Check(
            name="fit",
            status="failed",
            summary=f"got a policy for the model {rules.model}; want one for {files.card.name}",
        )
    try:
        bundle, explainer = open_model(files, settings)
        make_judge(rules, bundle)
    except (ModelError, ExplanationError, PolicyError) as err:
        return Check(name="fit", status="failed", summary=str(err))
    return bundle, explainer


def _requirements(files: BundleFiles, settings: Settings, clock: Clock) -> Check:
    if settings.profile == "none":
        return Check(name="requirements", status="not_done", summary="no country's rules are set")
    try:
        report = lint_report(files, load_profile(settings.profile), on=clock().date())
    except BundleRefusedError as err:
        return Check(name="requirements", status="failed", summary=str(err))
    found = report.coverage
    gaps = {i.obligation.id: list(i.gaps) for i in found.items if not i.is_covered}
    return Check(
        name="requirements",
        status="passed" if found.suffices else "failed",
        summary=found.refusal or f"{found.share:.0%} of what {found.profile} asks is covered",
        details={"gaps": gaps, "warnings": list(report.warnings)},
    )


def _explanations(
    files: BundleFiles, bundle: Bundle, explainer: Explainer, settings: Settings, advance: Advance
) -> Check:
    try:
        acceptance = cross_check(
            bundle, explainer, partial(explain_against, bundle, settings), advance
        )
        if files.acceptance is not None:
            check_repeated(files.acceptance, acceptance)
    except CrossCheckMissingError as err:
        return Check(name="explanations", status="not_done", summary=str(err))
    except ExplanationError as err:
        return Check(name="explanations", status="failed", summary=str(err))
    return Check(
        name="explanations",
        status="passed",
        summary=acceptance.sentence,
        details=acceptance.model_dump(mode="json"),
    )


def _evaluated(
    bundle: Bundle, rows: Sequence[Evaluated], rules: Policy, settings: Settings
) -> list[Check]:
    names = ("proxies", "fairness", "calibration")
    if not rows:
        why = "no evaluation set: got none in the bundle; want --evaluation"
        return [Check(name=name, status="not_done", summary=why) for name in names]
    found = [_proxies(bundle, rows, settings)]
    if bundle.card.output.task != "classification":
        why = "rates are for classifications; this is a regression"
        return [*found, *(Check(name=n, status="not_done", summary=why) for n in names[1:])]
    scores = scores_of(bundle, rows)
    # The line of the policy between its outcomes; with several, the one nearest the middle.
    lines = [band.at_least for band in rules.bands[1:]] or [0.5]
    threshold = min(lines, key=lambda line: abs(line - 0.5))
    found.append(check_fairness(bundle, rows, scores, threshold=threshold))
    found.append(check_calibration(bundle, rows, scores))
    return found


def _proxies(bundle: Bundle, rows: Sequence[Evaluated], settings: Settings) -> Check:
    try:
        proxies = measure_proxies(rows, bundle.card)
    except TrainingLibraryMissingError as err:
        return Check(name="proxies", status="not_done", summary=str(err))
    limit = 1.0 if settings.profile == "none" else load_profile(settings.profile).proxies.auc
    strong = [f"{a.attribute} ({a.auc:.2f})" for a in proxies.attributes if (a.auc or 0) >= limit]
    return Check(
        name="proxies",
        # A finding to be weighed by people, not a fault: an adapted home follows disability.
        status="passed",
        summary=f"measured; the fields together tell {', '.join(strong)}"
        if strong
        else "measured; the fields tell no protected attribute well",
        details=proxies.model_dump(mode="json"),
    )


def _speed(bundle: Bundle, explainer: Explainer, settings: Settings) -> Check:
    feeds = [bundle.schema.encode(sample.case).feeds for sample in bundle.samples]
    seconds = []
    for number in range(TIMED + 1):
        feed = feeds[number % len(feeds)]
        start = perf_counter()
        scored = bundle.session.run_row(feed)
        explainer.explain(feed, scored.scores, scored.taps, b"speed")
        seconds.append(perf_counter() - start)
    # The first may compile.
    half, most = np.quantile(seconds[1:], [0.5, 0.99]).tolist()
    allowed = FASTEST_SHARE * settings.request_timeout_seconds
    return Check(
        name="speed",
        status="passed" if most <= allowed else "failed",
        summary=f"scored and explained in {half * 1e3:.3g} ms (99th percentile {most * 1e3:.3g} ms; "
        f"want {allowed * 1e3:g} ms)",
        details={"median_seconds": half, "p99_seconds": most, "cases": TIMED},
    )
