"""One served model: its bundle, its explainer and the policy around it, opened together.

Whatever does not fit is refused here with the reason: a doubtful model is not served.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, TypeGuard

from numpy.typing import NDArray

from app.alternatives import ChangeableFields, changeable_fields
from app.answers import AnswerForm
from app.domain import Arm, CaseTerms
from app.judging import Judge, make_judge
from app.policy import Policy, PolicyError
from app.settings import Settings
from app.sureness import Sureness, learn_sureness
from app.trust import Vouched
from audit.leaf import Facts
from explainers.choose import choose
from explainers.exact import EnumeratedExplainer
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Plan, Run, Slot
from explainers.sampled import SampledExplainer
from models.aia import requirements
from models.bundle import Bundle, BundleFiles, open_bundle, with_taps
from models.card import Card
from models.errors import GraphRefusedError
from models.session import Session
from models.translations import CARD_LANGUAGE

SLOW_SECONDS = 0.005
"""An explanation that takes longer would hold up the other decisions of its group."""

Progress = Callable[[str], None]
"""Hears, in a few words, what is being done at start."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Everything needed to advise on one kind of case."""

    name: str
    bundle: Bundle
    explainer: Explainer
    policy: Policy
    policy_digest: str
    judge: Judge
    """The policy's rules, compiled for the card's fields."""
    target: int
    """Which of the scores is explained and looked at by the policy."""
    sureness: Sureness
    changeable: ChangeableFields
    is_slow: bool
    """Whether explaining takes so long that it belongs on a thread of its own."""
    facts: Facts
    """What the log's leaf says of the model: names and digests."""
    terms: CaseTerms
    """The rules for what follows the advice."""
    directory: Path
    """Where it was opened."""
    vouched: Vouched
    """Who signed the bundle."""
    arm: Arm | None = "live"
    """Whether it is the active version, or has a share of the cases beside it. None for records from
    before there were arms."""
    form: AnswerForm = field(init=False)
    """What its answers have in common."""

    def __post_init__(self) -> None:
        """Make what follows from the parts: whoever replaces a part gets answers that fit it."""
        form = AnswerForm(
            self.bundle,
            self.policy,
            self.vouched,
            policy_digest=self.policy_digest,
            arm=self.arm,
        )
        object.__setattr__(self, "form", form)

    @property
    def is_probability(self) -> bool:
        """Whether the score is a probability."""
        return self.bundle.card.output.task == "classification"


def open_model(
    files: BundleFiles, settings: Settings, progress: Progress = lambda _: None
) -> tuple[Bundle, Explainer]:
    """Return a bundle ready to score, and the explainer of its scores.

    Raises ModelError or ExplanationError with what was wrong.
    """
    name = files.card.name
    progress(f"{name}: checking the graph against its samples")
    plain = open_bundle(files)
    plan = _plan(plain, targets=(plain.positive_score,))
    progress(f"{name}: preparing explanations by {plan.method}")
    try:
        bundle = with_taps(plain, plan.taps) if plan.taps else plain
    except GraphRefusedError as refusal:
        bundle = plain = replace(plain, untapped_because=str(refusal))
        plan = _plan(plain, targets=(plain.positive_score,))
    explainer = _build(plan, bundle, bundle.background.feeds, settings)
    if explainer.link.startswith("softmax"):
        if not files.card.output.classes:
            raise GraphRefusedError(
                f"score output {', '.join(map(repr, plain.output.scores))}",
                got="the shares of a softmax for a regression",
                want="the task classification, and a class for each share",
            )
        # A class' probability moves with every class' margin, so all of them are explained.
        plan = _plan(plain, targets=tuple(range(plain.session.n_scores)))
        explainer = _build(plan, bundle, bundle.background.feeds, settings)
    if plan.taps and is_black_box(explainer):
        # The background disproved the plan: no taps are wanted, and many rows are run at once.
        game = replace(explainer.game, run=_in_batches(plain.session))
        return plain, replace(explainer, game=game)
    return bundle, explainer


def explain_against(
    bundle: Bundle, settings: Settings, background: Feeds, targets: tuple[int, ...]
) -> Explainer:
    """Return an explainer of the opened ``bundle`` as served, against another background.

    Raises ModelError or ExplanationError with what was wrong.
    """
    return _build(_plan(bundle, targets=targets), bundle, background, settings)


def is_black_box(explainer: Explainer) -> TypeGuard[EnumeratedExplainer | SampledExplainer]:
    """Return whether explaining runs the model many times."""
    return isinstance(explainer, EnumeratedExplainer | SampledExplainer)


def _plan(bundle: Bundle, *, targets: tuple[int, ...]) -> Plan:
    return choose(
        bundle.model,
        slots=tuple(
            Slot(
                slot.input,
                slot.column,
                always_finite=not field.may_be_missing or field.missing_value is not None,
            )
            for field, slot in zip(bundle.card.fields, bundle.slots, strict=True)
        ),
        score_outputs=bundle.score_outputs,
        targets=targets,
        n_scores=bundle.session.n_scores,
        score_columns=bundle.session.score_columns,
        gives_probabilities=bundle.card.output.task == "classification",
        untapped_because=bundle.untapped_because,
    )


def _build(plan: Plan, bundle: Bundle, background: Feeds, settings: Settings) -> Explainer:
    explainer = plan.build(
        background,
        # Tables are made of the very numbers that single rows give; black boxes need many rows fast.
        bundle.session.run_rows if plan.taps else _in_batches(bundle.session),
        ExplainerSettings(
            tolerance=settings.residual_tolerance,
            memory_budget_bytes=settings.table_memory_bytes,
            rows_alone=bool(bundle.session.alone_because),
        ),
    )
    because = bundle.session.alone_because
    if because and is_black_box(explainer):
        return replace(explainer, reason=f"{explainer.reason}; rows scored one by one: {because}")
    return explainer


def _in_batches(session: Session) -> Run:
    def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        return session.run_batch(feeds), ()

    return run


def join(
    files: BundleFiles,
    policy: Policy,
    settings: Settings,
    *,
    vouched_for: Vouched,
    directory: Path,
    progress: Progress = lambda _: None,
) -> ServedModel:
    """Return a bundle, opened, with a policy around it.

    Raises ModelError, ExplanationError or PolicyError with what was wrong.
    """
    bundle, explainer = open_model(files, settings, progress)
    card = bundle.card
    return ServedModel(
        name=card.name,
        bundle=bundle,
        explainer=explainer,
        policy=policy,
        policy_digest=policy.digest,
        judge=make_judge(policy, bundle),
        target=bundle.positive_score,
        sureness=learn_sureness(bundle),
        changeable=changeable_fields(bundle, explainer),
        is_slow=is_black_box(explainer) or _practised_seconds(bundle, explainer) > SLOW_SECONDS,
        facts=_facts(bundle, policy),
        terms=_terms(policy, bundle),
        directory=directory,
        vouched=vouched_for,
    )


def with_policy(served: ServedModel, policy: Policy) -> ServedModel:
    """Return an open model under another policy: nothing of the bundle is read or opened again.

    Raises PolicyError.
    """
    return replace(
        served,
        policy=policy,
        policy_digest=policy.digest,
        judge=make_judge(policy, served.bundle),
        facts=_facts(served.bundle, policy),
        terms=_terms(policy, served.bundle),
    )


def lowest_score(card: Card) -> float:
    """Return the least score that a model can give."""
    return 0.0 if card.output.task == "classification" else -inf


def highest_score(card: Card) -> float:
    """Return the greatest score that a model can give."""
    return 1.0 if card.output.task == "classification" else inf


def _facts(bundle: Bundle, policy: Policy) -> Facts:
    card = bundle.card
    return {
        "model": {"name": card.name, "version": card.version, "sha256": _hex(bundle.digest)},
        "policy": {"sha256": _hex(policy.digest)},
    }


def _terms(policy: Policy, bundle: Bundle) -> CaseTerms:
    translated = bundle.card.translations.keys() | {CARD_LANGUAGE}
    untranslated = policy.notice.letters.keys() - translated
    if untranslated:
        raise PolicyError(
            f"policy {policy.policy}: it has letters in {', '.join(sorted(untranslated))}, and the "
            "card has no such translation"
        )
    level = bundle.impact_level
    if (
        level is not None
        and requirements(level).human_final_decision
        and policy.final_decision != "human"
    ):
        raise PolicyError(
            f"policy {policy.policy}: final_decision is {policy.final_decision}, and at impact level "
            f"{level} only a person decides"
        )
    return CaseTerms(
        reveal=policy.reveal,
        final_decision=policy.final_decision,
        outcomes={band.outcome: band.adverse for band in policy.bands},
        answer_within_days=policy.review.answer_within_days,
        impact_level=level,
        material_share=policy.notice.material_share,
    )


def _practised_seconds(bundle: Bundle, explainer: Explainer) -> float:
    """Return how long the second explanation of a sample takes; the first may compile.

    Raises what explaining raises: a bundle whose own sample cannot be explained is not served.
    """
    case = bundle.schema.encode(bundle.samples[0].case)
    scored = bundle.session.run_row(case.feeds)
    elapsed = 0.0
    for _ in range(2):
        start = perf_counter()
        explainer.explain(case.feeds, scored.scores, scored.taps, b"practice")
        elapsed = perf_counter() - start
    return elapsed


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
