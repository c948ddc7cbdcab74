"""One served model: its bundle, its explainer and the policy around it, opened together.

A directory ``<models_dir>/<name>/`` holds ``bundle/`` and ``policy.yaml``. Whatever does not fit is
refused here, at start, with the reason: a service with a doubtful model does not start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from app.alternatives import ChangeableFields, changeable_fields
from app.policy import Policy, PolicyError, load_policy
from app.settings import Settings
from app.sureness import Sureness, learn_sureness
from audit.leaf import Facts
from explainers import exact, sampled
from explainers.choose import choose
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Run, Slot
from models.bundle import Bundle, BundleFiles, open_bundle, read, with_taps
from models.session import Session

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
    target: int
    """Which of the scores is explained and looked at by the policy."""
    sureness: Sureness
    changeable: ChangeableFields
    is_slow: bool
    """Whether explaining runs the model many times, and so belongs on a thread of its own."""
    facts: Facts
    """What the log's leaf says of the model: names and digests."""

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
    plan = choose(
        plain.model,
        slots=tuple(Slot(slot.input, slot.column) for slot in plain.slots),
        score_outputs=plain.score_outputs,
        targets=(plain.positive_score,),
        n_scores=plain.session.n_scores,
    )
    progress(f"{name}: preparing explanations by {plan.method}")
    bundle = with_taps(plain, plan.taps) if plan.taps else plain
    explainer = plan.build(
        bundle.background.feeds,
        # Tables are made of the very numbers that single rows give; black boxes need many rows fast.
        bundle.session.run_rows if plan.taps else _in_batches(bundle.session),
        ExplainerSettings(
            tolerance=settings.residual_tolerance,
            memory_budget_bytes=settings.table_memory_bytes,
        ),
    )
    return bundle, explainer


def _in_batches(session: Session) -> Run:
    def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        return session.run_batch(feeds), ()

    return run


def open_served(directory: Path, settings: Settings, progress: Progress) -> ServedModel:
    """Return the model in ``directory``, ready to advise.

    Raises ModelError, ExplanationError or PolicyError with what was wrong.
    """
    bundle, explainer = open_model(read(directory / "bundle"), settings, progress)
    card = bundle.card
    policy = load_policy(
        directory / "policy.yaml",
        lowest_score=0.0 if card.output.task == "classification" else -inf,
    )
    if policy.model != card.name:
        raise PolicyError(
            f"{directory / 'policy.yaml'} is for the model {policy.model}, want {card.name}"
        )
    return ServedModel(
        name=card.name,
        bundle=bundle,
        explainer=explainer,
        policy=policy,
        policy_digest=policy.digest,
        target=bundle.positive_score,
        sureness=learn_sureness(bundle),
        changeable=changeable_fields(bundle),
        is_slow=explainer.method in {exact.METHOD, sampled.METHOD},
        facts={
            "model": {"name": card.name, "version": card.version, "sha256": _hex(bundle.digest)},
            "policy": {"sha256": _hex(policy.digest)},
        },
    )


def open_all(settings: Settings, progress: Progress) -> dict[str, ServedModel]:
    """Return every model under ``models_dir`` by name.

    Raises PolicyError when the directory is missing or two models have one name.
    """
    if not settings.models_dir.is_dir():
        raise PolicyError(
            f"there is no directory of models at {settings.models_dir}: set GROUNDS_MODELS_DIR, "
            "or make the demonstration's with `grounds demo`"
        )
    served: dict[str, ServedModel] = {}
    for directory in sorted(settings.models_dir.iterdir()):
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        model = open_served(directory, settings, progress)
        if model.name in served:
            raise PolicyError(f"{directory} holds a second model named {model.name}")
        served[model.name] = model
    return served


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
