"""What ``grounds bundle lint`` says of a bundle: coverage by obligation, proxies, names to look at."""

from dataclasses import dataclass
from datetime import date

from models.bundle import BundleFiles
from models.coverage import Coverage, coverage
from models.forbidden import check_fields, resembling
from models.profile import Profile


@dataclass(frozen=True, slots=True)
class LintReport:
    """What is covered of a country's rules, and what its owner should look at."""

    coverage: Coverage
    warnings: tuple[str, ...]


def lint_report(files: BundleFiles, profile: Profile, *, on: date) -> LintReport:
    """Return what the profile's rules find in a bundle on a day.

    Raises CardRefusedError when a field is a protected attribute: then it cannot be served at all.
    """
    check_fields(files.card, profile)
    return LintReport(
        coverage(files, profile, on=on),
        (*_names(files, profile), *_groups(files), *_proxies(files, profile)),
    )


def _names(files: BundleFiles, profile: Profile) -> list[str]:
    return [
        f"{field.name} is named like {attribute.title}: make sure that it is something else"
        for field, attribute in resembling(files.card, profile)
    ]


def _groups(files: BundleFiles) -> list[str]:
    return [
        f"{field.name} is about a group and not about the case: what others did is held against "
        "this one"
        for field in files.card.fields
        if field.about == "group"
    ]


def _proxies(files: BundleFiles, profile: Profile) -> list[str]:
    found = []
    limits = profile.proxies
    for attribute in () if files.proxies is None else files.proxies.attributes:
        if attribute.auc is None:
            found.append(f"{attribute.attribute}: too few cases to say how well the fields tell it")
        elif attribute.auc >= limits.auc:
            found.append(
                f"the fields together tell {attribute.attribute} with an area of "
                f"{attribute.auc:.2f} (limit {limits.auc:g}; 0.5 is nothing)"
            )
        found += [
            f"{strength.field} tells {strength.association:.0%} of {attribute.attribute} by itself "
            f"(limit {limits.association:.0%})"
            for strength in attribute.fields
            if strength.association >= limits.association
        ]
    return found
