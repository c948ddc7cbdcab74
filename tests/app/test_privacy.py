"""What the public leaf gives away: nothing of the outcome, not even by its length."""

from app.domain import Role
from app.settings import Settings
from audit.leaf import parse_leaf
from models.demo.build import demo_applications
from tests.started import start

PATH = "housing-support"


def test_the_length_of_a_record_does_not_tell_its_outcome(settings: Settings) -> None:
    """An adverse answer is longer: it says what would have changed it."""
    outcomes: set[str] = set()
    answered: set[int] = set()
    with start(settings) as service:
        for case in demo_applications().cases[:40]:
            answer = service.ask(PATH, dict(case), role=Role.CALLER)
            outcomes.add(answer.json()["recommendation"]["outcome"])
            answered.add(len(answer.content))
        log = service.parts.log
        recorded = {
            leaf.payload.length
            for leaf in (parse_leaf(row.leaf) for row in log.entries(0, log.size))
            if leaf.type == "recommendation" and leaf.payload is not None
        }
    assert len(outcomes) > 1
    assert len(answered) > 1
    assert len(recorded) == 1
