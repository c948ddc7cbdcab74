"""What the bits of an answer depend on besides the bundle, the policy and the case."""

from importlib.metadata import version

from app import __version__
from app.settings import Settings
from models.session import runtime_facts


def environment(settings: Settings) -> dict[str, str]:
    """Return the versions and settings that decide how an answer is computed and worded.

    They are in every record, so that a replay that differs can say what to suspect. The memory for
    tables decides in which order an explanation is summed.
    """
    return {
        **runtime_facts(),
        "grounds": __version__,
        "numba": version("numba"),
        "table_memory_bytes": str(settings.table_memory_bytes),
    }
