"""What a call must say before its case is looked at: for what, on what ground, from where.

The purpose must be one of the model's, and inside the agreement that the caller's key was made
under. Refused calls are neither scored nor recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from app.agreements import Agreement
from app.domain import Caller, Circumstances, Kind, Origin
from app.refusals import OutsideAgreementError, ProvenanceError, PurposeError
from app.served import ServedModel
from models.card import Value


class Said(Protocol):
    """What a request says around its case."""

    @property
    def purpose(self) -> str | None: ...  # noqa: D102
    @property
    def legal_basis(self) -> str | None: ...  # noqa: D102
    @property
    def origins(self) -> Mapping[str, Origin]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Admission:
    """The agreements in force; None where the body has no file of them."""

    agreements: Mapping[str, Agreement] | None

    def admit(
        self,
        served: ServedModel,
        said: Said,
        case: Mapping[str, Value],
        *,
        caller: Caller,
        on: date,
    ) -> Circumstances:
        """Return the circumstances of an admitted call.

        Raises PurposeError, ProvenanceError or OutsideAgreementError, each with what is wanted.
        """
        _check_purpose(served, said)
        origins = said.origins
        _check_provenance(served, origins, case, on=on)
        self._check_agreement(served, said, case, caller=caller, on=on)
        return Circumstances(
            purpose=said.purpose,
            legal_basis=said.legal_basis,
            agreement=caller.agreement,
            provenance=origins,
        )

    def _check_agreement(
        self,
        served: ServedModel,
        said: Said,
        case: Mapping[str, Value],
        *,
        caller: Caller,
        on: date,
    ) -> None:
        if caller.agreement is None:
            if self.agreements is None or caller.kind is Kind.HUMAN:
                return
            raise OutsideAgreementError("this key names no data-sharing agreement")
        agreement = (self.agreements or {}).get(caller.agreement)
        if agreement is None:
            raise OutsideAgreementError(f"there is no agreement {caller.agreement} here")
        sent = [name for name, value in case.items() if value is not None]
        objection = agreement.objection(model=served.name, purpose=said.purpose, fields=sent, on=on)
        if objection is not None:
            raise OutsideAgreementError(objection)


def _check_purpose(served: ServedModel, said: Said) -> None:
    purposes = served.policy.purposes
    if not purposes:
        if said.purpose is not None or said.legal_basis is not None:
            raise PurposeError("the policy of this model declares no purposes: send none")
        return
    purpose = None if said.purpose is None else served.policy.purpose(said.purpose)
    if purpose is None:
        got = "purpose is missing" if said.purpose is None else "this model is not for that purpose"
        known = ", ".join(each.purpose for each in purposes)
        raise PurposeError(f"{got}, want one of: {known}")
    if said.legal_basis not in purpose.legal_bases:
        got = "missing" if said.legal_basis is None else "not one of the purpose's"
        raise PurposeError(f"legal_basis is {got}, want one of: {', '.join(purpose.legal_bases)}")


def _check_provenance(
    served: ServedModel, origins: Mapping[str, Origin], case: Mapping[str, Value], *, on: date
) -> None:
    strange = [name for name in origins if name not in case]
    if strange:
        raise ProvenanceError("provenance names a field that the model does not have")
    ahead = [
        name for name, origin in origins.items() if origin.date is not None and origin.date > on
    ]
    if ahead:
        raise ProvenanceError(f"provenance of {', '.join(ahead)} is of a day that is yet to come")
    if served.policy.provenance.required:
        silent = [name for name, value in case.items() if value is not None and name not in origins]
        if silent:
            raise ProvenanceError(f"provenance is missing for {', '.join(silent)}")
