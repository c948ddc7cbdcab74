"""What a call to the demonstration says around its case."""

from collections.abc import Mapping

PURPOSE: Mapping[str, str] = {
    "purpose": "housing-support",
    "legal_basis": "housing-act-1996-part-7",
}


def request_body(case: Mapping[str, object]) -> dict[str, object]:
    """Return the body of a call to the demonstration."""
    return {"case": dict(case), **PURPOSE}
