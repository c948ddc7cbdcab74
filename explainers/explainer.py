"""What every method is given and what it gives: the types that ``choose`` and the methods share.

A method module has one entry, ``plan(question) -> Plan``; it raises ``MethodRefusedError`` with
the true reason when the graph is not of its kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.explanation import Explanation, Terms, Vector
from explainers.graph import Graph

Feeds: TypeAlias = Mapping[str, NDArray[Any]]
"""Graph input name -> array of shape (N, width), or (N,) where the graph declares rank 1."""

Run: TypeAlias = Callable[[Feeds], tuple[NDArray[Any], tuple[NDArray[Any], ...]]]
"""Runs the served graph on N rows: scores (N, n_scores) and the taps, each (N, width)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one field sits in the graph's inputs."""

    input: str
    column: int
    always_finite: bool = False
    """Whether no row, of a case or of the background, has NaN there; infinity none has in any case."""


@dataclass(frozen=True, slots=True)
class ExplainerSettings:
    """What the application may set; the defaults are those of the architecture."""

    tolerance: float = 1e-5
    """Largest residual, relative to the output's scale."""
    memory_budget_bytes: int = 256 * 1024 * 1024
    """Most memory the tables of one bundle may take."""
    standard_error: float = 0.002
    """Sampled methods: largest standard error, relative to the output's scale."""
    max_evaluations: int = 2_000_000
    """Black boxes: most model evaluations for one explanation."""
    time_budget_seconds: float = 10.0
    """Black boxes: most time for one explanation."""
    rows_alone: bool = False
    """Black boxes: whether the graph is run row by row."""


class InTerms:
    """Says of an explainer with ``terms`` what they are."""

    __slots__ = ()
    terms: Terms

    @property
    def method(self) -> str:
        """As in ``Terms``."""
        return self.terms.method

    @property
    def unit(self) -> str:
        """As in ``Terms``."""
        return self.terms.unit

    @property
    def link(self) -> str:
        """As in ``Terms``."""
        return self.terms.link

    @property
    def base_values(self) -> Vector:
        """As in ``Terms``."""
        return self.terms.base_values


class Explainer(Protocol):
    """A built method: explains one row at a time, the same bits for the same row always."""

    @property
    def method(self) -> str:
        """The name of the method."""
        ...

    @property
    def reason(self) -> str:
        """Why this method, in a sentence."""
        ...

    @property
    def unit(self) -> str:
        """The unit of the contributions."""
        ...

    @property
    def link(self) -> str:
        """The function from margins to outputs: identity, logistic, softmax, ..."""
        ...

    @property
    def base_values(self) -> Vector:
        """Shape (T,): the mean margin over the background."""
        ...

    @property
    def background_rows(self) -> int:
        """How many rows the background has."""
        ...

    @property
    def background_digest(self) -> str:
        """``digest_of`` the background."""
        ...

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        """Return the explanation of the one row in ``feeds``.

        ``scores``, shape (n_scores,), and ``taps``, each (1, width), are what the graph returned
        for it. ``seed`` decides the draws of sampled methods; exact ones ignore it.
        Raises AdditivityError when the explanation does not add up to ``scores``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained: one graph, its fields and the scores of interest."""

    graph: Graph
    slots: tuple[Slot, ...]
    """One per field, in field order."""
    score_outputs: tuple[str, ...]
    """The graph outputs that hold the scores: one tensor or ZipMap output, or one per class."""
    targets: tuple[int, ...]
    """Indexes into the scores to explain."""
    n_scores: int
    """How many scores the graph returns."""
    score_columns: tuple[int, ...]
    """score index -> column of the graph's own score output (or of ``score_outputs``)."""
    gives_probabilities: bool = False
    """Whether the scores are known to be probabilities, as a classifier's are: one alone does not show it."""


Build: TypeAlias = Callable[[Feeds, Run, ExplainerSettings], Explainer]
"""Makes the explainer from the background, the served graph and the settings."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A method chosen for a graph, before there is a background."""

    method: str
    reason: str
    taps: tuple[str, ...]
    """Names of the tensors that ``explain`` wants beside the scores, in this order."""
    unit: str
    build: Build


def rows_of(feeds: Feeds) -> int:
    """Return the number of rows in ``feeds``."""
    return next((len(column) for column in feeds.values()), 0)


def digest_of(feeds: Feeds) -> str:
    """Return ``sha256:<hex>`` over names, types, shapes and values of ``feeds``."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        column = feeds[name]
        digest.update(f"{name}\0{column.dtype.kind}{column.shape}\0".encode())
        if column.dtype.kind in "OUS":
            for value in column.ravel():
                encoded = str(value).encode()
                digest.update(len(encoded).to_bytes(8, "big"))
                digest.update(encoded)
        else:
            digest.update(np.ascontiguousarray(column).tobytes())
    return f"sha256:{digest.hexdigest()}"
