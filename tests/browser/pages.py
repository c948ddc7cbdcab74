"""Every page that people can open: the one list that all browser tests and screenshots go through.

Add a page here and it is checked: by axe at 1,000 and 320 pixels and at 200 % zoom, as HTML, without
JavaScript, by keyboard, for what it fetches and what its address tells. ``path`` may hold what
``World.places`` has in ``tests/browser/world.py``: ``{decision}``, ``{model}`` and more.
"""

from dataclasses import dataclass

from app.domain import Role

SIGNED_OUT = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page as one kind of reader sees it."""

    name: str
    """What the tests and the screenshot's file call it."""
    path: str
    role: Role | None = SIGNED_OUT
    """The role it is looked at in."""
    status: int = 200
    heading: str | None = None
    """The start of its heading, where it is always the same."""
    is_light: bool = True
    """Whether a first visit stays within 100 kB."""


PAGES: tuple[Page, ...] = (
    Page("home", "/", heading="Advice that shows its reasons"),
    Page("home-caseworker", "/", Role.CASEWORKER),
    Page("home-auditor", "/", Role.AUDITOR),
    Page("home-admin", "/", Role.ADMIN),
    Page("public-models", "/transparency", heading="Models in use"),
    Page(
        "public-model",
        "/transparency/{model}",
        heading="Priority for discretionary housing support",
    ),
    Page("public-stopped", "/transparency/{wide}"),
    Page("public-no-model", "/transparency/none", status=404, heading="There is no such model"),
    Page("sign-in", "/sign-in", heading="Sign in"),
    Page("role", "/sign-in/role", Role.CASEWORKER, heading="Choose your role"),
    Page("signed-out", "/signed-out", heading="You have signed out"),
    Page("reference", "/docs", heading="API reference", is_light=False),
    Page("problem", "/problems/erased", heading="The content of this decision was erased"),
    Page("cases", "/cases", Role.CASEWORKER, heading="Cases nobody has taken"),
    Page("cases-mine", "/cases?which=mine", Role.CASEWORKER, heading="My cases"),
    Page("cases-all", "/cases?which=all&status=contested", Role.REVIEWER, heading="All cases"),
    Page("cases-none", "/cases?which=all&status=reviewed", Role.CASEWORKER, heading="All cases"),
    Page(
        "cases-order",
        "/cases?order=sideways",
        Role.CASEWORKER,
        422,
        "Something in what you sent has to be corrected",
    ),
    Page(
        "cases-method",
        "/cases/search",
        Role.CASEWORKER,
        405,
        "This page cannot be used in that way",
    ),
    Page("decision", "/decisions/{decision}", Role.CASEWORKER),
    Page("decision-withheld", "/decisions/{withheld}", Role.CASEWORKER),
    Page("decision-forty", "/decisions/{forty_facts}", Role.CASEWORKER),
    Page(
        "decision-erased",
        "/decisions/{erased}",
        Role.CASEWORKER,
        410,
        "What this page showed was erased",
    ),
    Page("decision-contested", "/decisions/{large_household_adapted_home}", Role.REVIEWER),
    Page(
        "correct",
        "/decisions/{close_call}/correct?field=savings",
        Role.CASEWORKER,
        heading="Correct a fact",
    ),
    Page("correct-choice", "/decisions/{close_call}/correct?field=tenure", Role.CASEWORKER),
    Page(
        "letter",
        "/decisions/{savings_and_steady_wages}/letter",
        Role.CASEWORKER,
        heading="Letter to the person",
    ),
    Page(
        "letter-withheld",
        "/decisions/{withheld}/letter",
        Role.CASEWORKER,
        409,
        "The advice is not shown yet",
    ),
    Page("letter-forty", "/decisions/{forty_facts}/letter", Role.CASEWORKER),
    Page(
        "contest",
        "/decisions/{large_household_adapted_home}/contest",
        Role.REVIEWER,
        heading="If the person disagrees",
    ),
    Page(
        "contest-early",
        "/decisions/{decision}/contest",
        Role.REVIEWER,
        409,
        "This cannot be done now",
    ),
    Page("reviews", "/reviews", Role.REVIEWER, heading="Decisions to review"),
    Page(
        "reviews-none",
        "/reviews?cursor=WyJkdWUiLCI5OTk5LTEyLTMxIiwwXQ",
        Role.REVIEWER,
        heading="Decisions to review",
    ),
    Page("practice", "/practice", Role.CASEWORKER, heading="Practice"),
    Page("practice-case", "/practice/{model}/1", Role.CASEWORKER, heading="Practice case 1 of"),
    Page("reliance", "/reliance", Role.REVIEWER, heading="How people rely on the advice"),
    Page("decision-close", "/decisions/{close_call}", Role.CASEWORKER),
    Page("decision-missing", "/decisions/{figures_missing}", Role.CASEWORKER),
    Page(
        "forbidden", "/decisions/{decision}", Role.EQUALITY, 403, "You cannot do this in your role"
    ),
    Page("no-decision", "/decisions/{nobody}", Role.CASEWORKER, 404, "There is no such case"),
    Page("audit-decisions", "/audit/decisions", Role.AUDITOR, heading="Find decisions"),
    Page("audit-decision", "/audit/decisions/{decision}", Role.AUDITOR, heading="What happened"),
    Page("audit-none", "/audit/decisions?status=reviewed", Role.AUDITOR),
    Page("audit-contested", "/audit/decisions/{large_household_adapted_home}", Role.AUDITOR),
    Page("audit-erased", "/audit/decisions/{erased}", Role.AUDITOR, heading="What happened"),
    Page("audit-log", "/audit/log", Role.AUDITOR, heading="State of the log"),
    Page("audit-replays", "/audit/replays", Role.AUDITOR, heading="Recomputed decisions"),
    Page("audit-verification", "/audit/verifications/{verification}", Role.AUDITOR),
    Page("audit-replay", "/audit/replays/{replay}", Role.AUDITOR),
    Page("audit-impact", "/audit/replays/{impact}", Role.AUDITOR),
    Page("owner-models", "/models", Role.MODEL_OWNER, heading="Models"),
    Page("owner-model", "/models/{model}", Role.MODEL_OWNER),
    Page(
        "model-reset",
        "/models/{model}/monitoring/reset",
        Role.MODEL_OWNER,
        heading="Begin the tests anew",
    ),
    Page("model-stop", "/models/{model}/stop", Role.MODEL_OWNER, heading="Stop this model"),
    # Stopped, with a canary on trial, and groups of which there are too few to say anything.
    Page("owner-stopped", "/models/{wide}", Role.MODEL_OWNER),
    Page(
        "model-resume",
        "/models/{wide}/stops/{stop}/resume",
        Role.MODEL_OWNER,
        heading="Let advice go on",
    ),
    Page("not-found", "/nowhere", status=404, heading="Page not found"),
)

NOT_LOOKED_AT = {
    "/language/{code}": "keeps a language and leads back",
    "/sign-in/start": "leads to the provider: tests/app/test_oidc.py",
    "/sign-in/return": "takes the provider's answer: tests/app/test_oidc.py",
    "/transparency/{model}/record.json": "for machines",
    "/audit/decisions/{decision_id}/evidence": "a file to keep",
}
"""Addresses of pages that have nothing to look at, and why."""
