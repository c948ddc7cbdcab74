"""Shapes of reports about runs of replays: the JSON that ``grounds replay --out`` writes.

The same as ``app.replay_report`` and ``app.impact`` give; a test holds the two together.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas import (
    Digest,
    EnvironmentChange,
    Moment,
    Receipt,
    ReplayDifference,
    ReplayVerdict,
    Shape,
)

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Text = Annotated[str, Field(max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Verdicts(Shape):
    """How many decisions came to each verdict."""

    identical: Count
    within_ulps: Count
    different: Count
    erased: Count
    model_missing: Count
    failed: Count
    damaged: Count


class RunLog(Shape):
    """The log as it was when the run began."""

    origin: Text
    size: Count
    root: Hex


class RunSelection(Shape):
    """Which decisions were gone through: entries from `start` up to `stop`, of what is named."""

    start: Count
    stop: Count
    since: Moment | None
    until: Annotated[Moment | None, Field(description="Not wanted any more from here.")]
    model: Text | None
    version: Text | None
    digest: Digest | None


class RunModel(Shape):
    """One model among the decisions."""

    name: Text
    version: Text
    digest: Digest
    verdicts: Verdicts


class RunEnvironmentChange(EnvironmentChange):
    """Something about the machine that was otherwise for decisions that came out otherwise."""

    decisions: Count


class RunException(Shape):
    """One decision that did not come out identical."""

    index: Count
    decision: Text
    verdict: ReplayVerdict
    reason: Text | None
    max_ulps: Annotated[int | None, Field(ge=0)]
    differences: Annotated[list[ReplayDifference], Field(max_length=20)]


class RunInstead(Shape):
    """What the cases were tried with."""

    bundle: Annotated[
        Digest | None, Field(description="Null where each went through the one it was made with.")
    ]
    policy: Digest


class Transition(Shape):
    """How many cases went from one outcome to another."""

    recorded: Text
    instead: Text
    count: Count
    examples: list[Text]


class ImpactShare(Shape):
    """How many cases of one group would come out otherwise."""

    name: Text
    compared: Count
    changed: Count
    share: Number


class ScoreBin(Shape):
    """How many scores lie from `at_least` up to the next bin."""

    at_least: Number
    recorded: Count
    instead: Count


class ImpactScores(Shape):
    """How the scores move."""

    compared: Count
    mean_recorded: Number
    mean_instead: Number
    mean_difference: Number
    mean_absolute_difference: Number
    lowest_difference: Number
    highest_difference: Number
    bins: list[ScoreBin]


class ImpactAsked(Shape):
    """How often the policy's rules ask for something."""

    kind: Text
    recorded: Count
    instead: Count


class ImpactRefused(Shape):
    """How many cases are not taken because of one field."""

    field: Text
    count: Count
    examples: list[Text]


class Impact(Shape):
    """What would change."""

    cases: Count
    compared: Count
    refused: Count
    changed: Count
    share_changed: Number
    rule_changed: Count
    became_adverse: Count
    no_longer_adverse: Count
    transitions: list[Transition]
    by_version: list[ImpactShare]
    by_outcome: list[ImpactShare]
    scores: ImpactScores | None
    requirements: list[ImpactAsked]
    refused_fields: list[ImpactRefused]


class ReplayReport(Shape):
    """What a run of replays found. Nothing of a case is in it."""

    version: Literal[1]
    kind: Annotated[
        Literal["replay", "counterfactual"],
        Field(description="Whether each decision was recomputed as it was made, or its case tried "
              "with another bundle or policy. Then `identical` says the same outcome, and "
              "`different` another one or a case that is refused."),
    ]  # fmt: skip
    log: RunLog
    selection: RunSelection
    started: Moment
    ended: Moment
    environment: Annotated[
        dict[Text, Text], Field(description="Of the machine that recomputed.", max_length=64)
    ]
    allowed_ulps: Annotated[
        int, Field(ge=0, description="How far apart numbers may be to be `within_ulps`.")
    ]
    decisions: Count
    verdicts: Verdicts
    max_ulps: Annotated[
        int | None, Field(ge=0, description="The largest distance among those `within_ulps`.")
    ]
    by_model: list[RunModel]
    environment_changed: Annotated[
        list[RunEnvironmentChange],
        Field(description="Of decisions that were not identical: what to suspect."),
    ]
    results_sha256: Annotated[
        Hex,
        Field(description="SHA-256 over one line for each decision in order: index, leaf hash in "
              "hexadecimal and verdict, with a space between and a newline after. Whoever replays "
              "the same range gets the same."),
    ]  # fmt: skip
    exceptions: Annotated[
        list[RunException],
        Field(max_length=1000, description="The first decisions that were not identical."),
    ]
    exceptions_omitted: Count
    instead: RunInstead | None
    impact: Impact | None


class RunRecorded(Shape):
    """The log's entry of a run."""

    id: str
    report_sha256: Annotated[Hex, Field(description="Of the report as the log keeps it.")]
    receipt: Receipt


class RunSummary(Shape):
    """One run in a list, as its leaf tells it."""

    id: str
    index: Count
    recorded: Moment
    kind: Literal["replay", "counterfactual"]
    decisions: Count
    verdicts: Annotated[dict[str, Count], Field(description="Those that there are.")]
    results_sha256: Hex
    report_sha256: Hex


class RunList(Shape):
    """Runs, the latest first."""

    runs: list[RunSummary]


class RunShown(Shape):
    """One run's report, and who recorded it."""

    id: str
    actor: Annotated[str, Field(description="Who says so: anybody may repeat the run.")]
    recorded: Moment
    report: ReplayReport
    receipt: Receipt
