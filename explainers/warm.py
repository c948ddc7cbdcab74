"""Compiling everything that is compiled, or loading it from numba's cache, before anyone waits for it.

An image does this when it is built. A service does it for its own models when it starts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from explainers.ensemble import Ensemble, read_ensemble
from explainers.explanation import AFTER_FIELDS
from explainers.familiarity import familiarity_check
from explainers.graph import Node
from explainers.links import LINKS
from explainers.sum_kernel import add_linear, add_up_and_link
from explainers.tree_changes import changed_sums, reached, readers_of, trees_of
from explainers.tree_game import TreeGame, build_game, pack
from explainers.tree_kernel import explain_rows, finish_row


def warm_up() -> Iterator[str]:
    """Compile the kernels, or load them from the cache, saying what was done at each step.

    Without it the first bundle would pay: about 40 s compiling, about a second from the cache. The
    cache lies beside the package, or in ``NUMBA_CACHE_DIR`` where the file system is read-only.
    """
    yield from _trees()
    _sums()
    yield "sums"
    familiarity_check({"number": (0.0, 1.0), "text": ("a", "b")}).check(
        {"number": 0.5, "text": "a"}
    )
    yield "the nearest background row"


def _trees() -> Iterator[str]:
    tree = _two_splits()
    for kind in (np.float32, np.float64):
        game = build_game(
            tree,
            forms=np.eye(1),
            fields=(0, 1),
            n_fields=2,
            background=np.zeros((2, 2), dtype=kind),
            memory_budget_bytes=1 << 16,
        )
        yield f"tree tables for {np.dtype(kind).name}"
        walker = build_game(
            tree,
            forms=np.eye(1),
            fields=(0, 1),
            n_fields=2,
            background=np.zeros((2, 2), dtype=kind),
            memory_budget_bytes=0,
        )
        row = np.ones((1, 2), dtype=kind)
        walker.contributions(row)
        yield f"tree walks for {np.dtype(kind).name}"
        _changes(tree, game)
        lookup = pack(
            game.tables,
            game.cuts,
            columns=tree.used_columns().astype(np.int32),
            n_fields=2,
            n_sums=1,
            outputs=((0,), (0,), (0,)),
            n_scores=1,
            bases=np.stack([np.ones(1), game.base_values]),
            relative=1.0,
            scale=1.0,
        )
        for scores in (np.zeros(1, np.float32), np.zeros(1, np.float64)):
            out = np.empty((1, 2 + AFTER_FIELDS, 1))
            finish_row(game.found(row), lookup.ints, lookup.bases, scores, 1.0, 1.0, out[0])
            explain_rows(row, scores, out, *lookup)
        yield f"explanations for {np.dtype(kind).name}"


def _changes(tree: Ensemble, game: TreeGame) -> None:
    trees = trees_of(game, 0)
    ranks = np.zeros(2, dtype=np.int32)
    leaves, total = reached(ranks, *trees)
    none = np.zeros(0, dtype=np.int32)
    changed_sums(
        np.zeros(2, dtype=np.int32),
        none,
        none,
        ranks,
        leaves,
        total,
        *readers_of(tree, n_columns=2),
        *trees,
    )


def _sums() -> None:
    one = np.zeros(1)
    place = np.zeros(1, dtype=np.int64)
    contributions = np.zeros((1, 1))
    for kind in (np.float32, np.float64):
        add_linear(np.zeros(1, dtype=kind), place, np.zeros((1, 1)), place, one, contributions)
    add_up_and_link(contributions, one, LINKS.index("identity"), np.zeros(1), np.zeros(1))


def _two_splits() -> Ensemble:
    """Return the smallest ensemble that reaches every kernel."""
    return read_ensemble(
        Node(
            op="TreeEnsembleRegressor",
            domain="ai.onnx.ml",
            inputs=("X",),
            outputs=("Y",),
            attributes={
                "n_targets": 1,
                "nodes_treeids": (0, 0, 0, 0, 0),
                "nodes_nodeids": (0, 1, 2, 3, 4),
                "nodes_featureids": (0, 1, 0, 0, 0),
                "nodes_modes": ("BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF"),
                "nodes_values": (0.5, 0.5, 0.0, 0.0, 0.0),
                "nodes_truenodeids": (1, 3, 0, 0, 0),
                "nodes_falsenodeids": (2, 4, 0, 0, 0),
                "target_ids": (0, 0, 0),
                "target_nodeids": (2, 3, 4),
                "target_treeids": (0, 0, 0),
                "target_weights": (1.0, 2.0, 3.0),
            },
        )
    )
