"""What has to be true before a version may advise: a country's rules, dates, the impact level's table.

Looked at for every way of going live: a change of stage, a canary, a rollback, a new policy, and the
first start with a directory of models. Each finding names the obligation and what would satisfy it.
With the profile ``none`` no rule is applied, and every answer says so.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from app.lifecycle import VersionId
from app.lifecycle_refusals import ObligationsUnmetError, Unmet
from app.policy import Policy
from app.settings import Settings
from app.supplied.report import Report, verify_report
from models.aia import ROMAN, requirements
from models.bundle import BundleFiles
from models.card import Card
from models.card_sections import AssessmentKind
from models.coverage import coverage
from models.errors import CardRefusedError, SigningError
from models.forbidden import check_fields
from models.profile import Profile, load_profile

AGAIN: tuple[AssessmentKind, ...] = (
    "data_protection", "algorithmic_impact", "equality", "fundamental_rights", "oversight_test",
)  # fmt: skip
"""What is looked at again for every new model. A review by experts stands until they make another."""
_OVERSIGHT = "Green (2022), The flaws of policies requiring human oversight"
_AIA = "Canada's algorithmic impact assessment, level {}"


def check_may_advise(
    files: BundleFiles, policy: Policy, settings: Settings, *, on: date, earlier: Card | None
) -> None:
    """Raise ObligationsUnmetError unless the version may advise on this day.

    ``earlier`` is the card of another bundle whose place it takes; None where it takes none.
    """
    if settings.profile == "none":
        return
    unmet = tuple(_unmet(files, policy, load_profile(settings.profile), on=on, earlier=earlier))
    if unmet:
        raise ObligationsUnmetError(unmet)


def check_accepted(envelope: bytes | None, id_: VersionId, settings: Settings) -> str | None:
    """Return the name of whose signed report says that this very version passed every check.

    Raises ObligationsUnmetError. None without a report under the profile ``none``, where it is not
    asked for.
    """
    if envelope is None and settings.profile == "none":
        return None
    signer, unmet = _acceptance(envelope, id_, settings.acceptors_dir)
    if unmet is not None:
        raise ObligationsUnmetError((unmet,))
    return signer


def _unmet(
    files: BundleFiles, policy: Policy, profile: Profile, *, on: date, earlier: Card | None
) -> Iterator[Unmet]:
    try:
        check_fields(files.card, profile)
    except CardRefusedError as err:
        yield Unmet("protected-attributes", profile.protected.source, f"{err.what}: {err.got}",
                    err.want)  # fmt: skip
    yield from _coverage(files, profile, on=on)
    yield from _dates(files, profile, on=on)
    if earlier is not None:
        yield from _anew(files.card, earlier, profile)
    yield from _proxies(files, profile)
    yield from _level(files, policy)


def _coverage(files: BundleFiles, profile: Profile, *, on: date) -> Iterator[Unmet]:
    found = coverage(files, profile, on=on)
    if found.suffices:
        return
    below = found.share < found.threshold
    for item in found.items:
        if not item.is_covered and (below or item.obligation.essential):
            asked = f"{item.obligation.title}: nothing shows it"
            if not item.obligation.essential:
                asked += f" (covered are {found.share:.0%}, want {found.threshold:.0%})"
            yield Unmet(item.obligation.id, item.obligation.source, asked, "; ".join(item.gaps))


def _dates(files: BundleFiles, profile: Profile, *, on: date) -> Iterator[Unmet]:
    """Yield assessments that were not complete, or not looked at again in time, on the day."""
    for each in files.card.assessments:
        if each.date > on:
            yield Unmet("assessed-before-use", profile.title,
                        f"{each.title} is dated {each.date}, after the day of going live, {on}",
                        f"an assessment completed by {on}, or going live from {each.date}")  # fmt: skip
        if each.review_by is not None and each.review_by < on:
            yield Unmet("assessed-again-in-time", profile.title,
                        f"{each.title} had to be looked at again by {each.review_by}",
                        "the assessment looked at again, with a later review_by")  # fmt: skip


def _anew(card: Card, earlier: Card, profile: Profile) -> Iterator[Unmet]:
    """Yield assessments that nobody has looked at again since they were of another model.

    Which there have to be is said by the country's rules and the level's table.
    """
    for kind in AGAIN:
        then = max((each.date for each in earlier.assessments if each.kind == kind), default=None)
        now = max((each.date for each in card.assessments if each.kind == kind), default=None)
        if then is not None and now is not None and now <= then:
            yield Unmet("assessed-anew", profile.title,
                        f"the assessment {kind} is dated {now}, and the one of the version before "
                        f"{then}",
                        "the assessment looked at again for this version, with the day of it")  # fmt: skip


def _proxies(files: BundleFiles, profile: Profile) -> Iterator[Unmet]:
    """Yield fields that tell a protected attribute by themselves and that no stated risk explains."""
    considerations = files.card.considerations
    risks = () if considerations is None else considerations.ethical_considerations
    told = " ".join(f"{risk.name} {risk.mitigation_strategy}" for risk in risks).casefold()
    for attribute in () if files.proxies is None else files.proxies.attributes:
        for strength in attribute.fields:
            label = next(f.label for f in files.card.fields if f.name == strength.field)
            named = strength.field.casefold() in told or label.casefold() in told
            if strength.association >= profile.proxies.association and not named:
                yield Unmet("proxies", profile.protected.source,
                            f"the field {strength.field} tells {strength.association:.0%} of "
                            f"{attribute.attribute} (limit {profile.proxies.association:.0%})",
                            "the field taken out, or considerations.ethical_considerations naming it "
                            "with what is done about it")  # fmt: skip


def _level(files: BundleFiles, policy: Policy) -> Iterator[Unmet]:
    if files.impact is None:
        return
    asked, source = requirements(files.impact.level), _AIA.format(ROMAN[files.impact.level])
    if asked.human_final_decision and policy.final_decision != "human":
        yield Unmet("human-final-decision", source,
                    f"the policy's final_decision is {policy.final_decision}", "human")  # fmt: skip
    reviews = sum(e.kind == "peer_review" and e.link is not None for e in files.card.assessments)
    if reviews < asked.peer_reviews:
        yield Unmet("peer-review", source, f"{reviews} published peer reviews",
                    f"{asked.peer_reviews} assessments of the kind peer_review, each with a "
                    "link")  # fmt: skip
    if asked.gender_analysis and not any(e.kind == "equality" for e in files.card.assessments):
        yield Unmet("gender-analysis", source, "no analysis by gender and group",
                    "an assessment of the kind equality")  # fmt: skip
    tests = any(e.kind == "oversight_test" and e.link is not None for e in files.card.assessments)
    if asked.human_final_decision and not tests:
        yield Unmet("oversight-test", _OVERSIGHT,
                    "no report of a test whether people notice advice that is wrong",
                    "an assessment of the kind oversight_test with a link")  # fmt: skip


def _acceptance(
    envelope: bytes | None, id_: VersionId, acceptors: Path
) -> tuple[str | None, Unmet | None]:
    def missing(found: str) -> tuple[None, Unmet]:
        want = "a report of `grounds bundle accept` on this bundle and policy, with every check "
        want += f"passed, signed with the key of a NAME.pem in {acceptors}"
        return None, Unmet("acceptance", "the buyer's acceptance (GROUNDS_ACCEPTORS_DIR)", found,
                           want)  # fmt: skip

    if envelope is None:
        return missing("no acceptance report")
    signer, report = _signed_by(envelope, acceptors)
    if signer is None or report is None:
        return missing("a report that nobody trusted has signed")
    if (report.digest, report.policy_digest) != (id_.bundle, id_.policy):
        return missing(f"a report on {report.digest} under the policy {report.policy_digest}")
    if not report.is_accepted:
        failed = [f"{c.name} {c.status.replace('_', ' ')}" for c in report.checks
                  if c.status != "passed"]  # fmt: skip
        return missing(f"a report with {', '.join(failed)}")
    return signer, None


def _signed_by(envelope: bytes, acceptors: Path) -> tuple[str | None, Report | None]:
    """Return whose key signed the report, and the report; twice None when nobody's did."""
    for path in sorted(acceptors.glob("*.pem")) if acceptors.is_dir() else ():
        try:
            return path.stem, verify_report(envelope, path.read_bytes())
        except (SigningError, OSError):
            continue  # another's key, or no key: then it vouches for nothing
    return None, None
