"""The made-up people that anybody may sign in as in the demonstration."""

from app.domain import Role

PEOPLE: dict[str, Role] = {
    "demo-caseworker": Role.CASEWORKER,
    "demo-caseworker-2": Role.CASEWORKER,
    "demo-reviewer": Role.REVIEWER,
    "demo-auditor": Role.AUDITOR,
    "demo-model-owner": Role.MODEL_OWNER,
    "demo-equality": Role.EQUALITY,
    "demo-admin": Role.ADMIN,
}
"""Their names in the log, and what each may do. Two caseworkers, because some cases need two."""
