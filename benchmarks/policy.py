"""What evaluating the policy adds to a decision: CPU time of one judgement, over many cases.

``python -m benchmarks.policy``. The demonstration's policy on the demonstration's own invented cases,
and the same with rules that read the case's values, which no memory of earlier combinations can
answer. Median and 99th percentile of batches of 100 judgements, in microseconds of CPU time, so that
other work on the machine counts for little; the collector is off, as in no service, during a batch.
"""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import process_time_ns

import numpy as np

from app.conditions import Conditions
from app.domain import Circumstances, Origin
from app.judging import Judge
from app.policy import Policy, load_policy
from models.demo.card import demo_card
from models.demo.data import make_applications
from models.schema import EncodedCase, Flag

TARGET_MICROSECONDS = 30.0
BATCHES, BATCH = 300, 100
DAY = date(2026, 11, 23)
POLICY = Path(__file__).resolve().parents[1] / "app" / "demo" / "policy.yaml"
READING_RULES = (
    "case.rent_arrears > 1000.0 && case.notice == 'Eviction date set'",
    "!('savings' in missing) && case.savings > 5000.0 && adverse",
    "case.children > 6 || score > 0.99",
)


def main() -> int:
    """Measure and print; return 1 when a target is missed."""
    plain = load_policy(POLICY, lowest_score=0.0)
    reading = plain.model_copy(
        update={
            "rules": (
                *plain.rules,
                *(
                    plain.rules[0].model_copy(update={"rule": f"reading-{place}", "when": when})
                    for place, when in enumerate(READING_RULES)
                ),
            )
        }
    )
    missed = 0
    print(f"{'policy':58} {'median':>8} {'p99':>8}   microseconds of CPU time a judgement")
    for name, policy, with_origins in (
        ("the demonstration's", plain, False),
        ("the demonstration's, every input with an origin and a date", plain, True),
        ("and three rules that read the case", reading, False),
        ("and three rules that read the case, with origins", reading, True),
    ):
        times = measure(policy, with_origins=with_origins)
        median, high = np.percentile(times, (50, 99))
        is_met = median < TARGET_MICROSECONDS
        missed += not is_met
        print(f"{name:58} {median:8.1f} {high:8.1f}   {'met' if is_met else 'MISSED'}")
    print(f"target: a median below {TARGET_MICROSECONDS:g}")
    return int(missed > 0)


def measure(policy: Policy, *, with_origins: bool) -> list[float]:
    """Return the microseconds a judgement took, one number for each batch."""
    judge_one = judgements(policy, with_origins=with_origins)
    judge_one(BATCH)
    gc.disable()
    try:
        times = []
        for _ in range(BATCHES):
            start = process_time_ns()
            judge_one(BATCH)
            times.append((process_time_ns() - start) / BATCH / 1000)
    finally:
        gc.enable()
    return times


def judgements(policy: Policy, *, with_origins: bool) -> Callable[[int], None]:
    """Return what judges so many cases, one after the other, each with a score of its own."""
    rng = np.random.default_rng(20_261_126)
    rows = make_applications(rng, 1000).cases
    card = demo_card()
    judge = Judge(
        Conditions(policy.rules, card.fields),
        {
            name: Counter(row[name] for row in rows)
            for name in (policy.small_group.fields if policy.small_group else ())
        },
    )
    cases = [
        EncodedCase({}, row, tuple(Flag(name, "missing") for name in row if row[name] is None))
        for row in rows
    ]
    kinds = ("declared", "verified", "estimated", "imputed")
    said = [
        Circumstances(
            purpose="housing-support",
            provenance={
                name: Origin(kinds[int(rng.integers(4))], date(2026, int(rng.integers(1, 12)), 1))
                for name in row
            }
            if with_origins
            else {},
        )
        for row in rows
    ]
    scores = rng.random(len(cases)).astype(np.float32)
    place = 0

    def run(count: int) -> None:
        nonlocal place
        for _ in range(count):
            judge.judge(
                policy,
                scores[place],
                target=0,
                case=cases[place],
                circumstances=said[place],
                is_unfamiliar=place % 50 == 0,
                on=DAY,
            )
            place = (place + 1) % len(cases)

    return run


if __name__ == "__main__":
    sys.exit(main())
