"""The application: joins models, explainers and the log into one explained, recorded decision."""

from importlib.metadata import version

__version__ = version("grounds-decision-support")
