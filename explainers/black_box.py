"""Graphs of which nothing is known but how to run them: enumerated if affordable, else sampled.

Which of the two is decided once, when the background is known, from the most evaluations that a
case can need; the explainer's own method and reason say which it was.
"""

from __future__ import annotations

from functools import partial
from math import log2

import numpy as np

from explainers import exact, sampled
from explainers.ensemble import is_tree_ensemble
from explainers.errors import GameTooLargeError
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Plan, Question, Run, rows_of
from explainers.game import open_game
from explainers.graph import Graph, Node

METHOD = "black box"
MAX_ENUMERATED = 1 << 20
"""Evaluations of one enumeration at most: 1 to 8 seconds where case and rows differ in every field, and
often a twentieth, as rows of categories agree in some. Beyond it sampling is many times faster. Fixed, so
that the same bundle has the same method on every machine."""
MAX_STEPS = 2e9
"""Of one enumeration: 10 seconds at the 5 ns of one level of a tree. It leaves no answer beyond."""
STEPS_ALONE = 4000
"""To run one row by itself."""
STEPS_OF_NEIGHBOUR = 0.6
"""For each number of the stored rows that a row's distance is taken from."""
STEPS_OF_A_NUMBER = {
    "Conv": 0.02,
    "Gemm": 0.02,
    "GRU": 0.02,
    "LSTM": 0.02,
    "MatMul": 0.02,
    "SVMClassifier": 0.2,
    "SVMRegressor": 0.2,
}
"""For each weight of a layer, and each number of a support vector. Only large networks and machines are
slow by it: a million weights take a row as long as 20,000 steps."""
ATTENTION = 2
"""How many times as dear a weight is, for each field, where fields are tokens that attend to one another."""


def plan_black_box(question: Question) -> Plan:
    """Return the plan to explain the graph's scores by running it on hybrid rows."""
    fields = len(question.slots)
    opened = partial(
        open_game,
        slots=question.slots,
        targets=question.targets,
        gives_probabilities=question.gives_probabilities,
    )

    def build(background: Feeds, run: Run, settings: ExplainerSettings) -> Explainer:
        rows = rows_of(background)
        steps = _steps_of_a_row(question.graph, fields) + STEPS_ALONE * settings.rows_alone
        most = MAX_ENUMERATED if not steps else min(MAX_ENUMERATED, int(MAX_STEPS / steps))
        try:
            exact.check_affordable(
                fields=fields, rows=rows, max_evaluations=min(settings.max_evaluations, most)
            )
        except GameTooLargeError as too_large:
            kept, phrase = sampled.thinned(background, rows=rows)
            game = opened(kept, run, settings)
            slow = ", as a row takes long" if most < MAX_ENUMERATED else ""
            return sampled.build(game, f"{too_large}{slow}; sampled against {phrase}")
        game = opened(background, run, settings)
        return exact.build(
            game, f"{fields} fields against all {rows} background rows can be enumerated"
        )

    return Plan(
        method=METHOD,
        reason="the graph is run on hybrids of the case and the background: enumerated exactly if "
        "that is affordable, otherwise sampled",
        taps=(),
        unit="the graph's own score",
        build=build,
    )


def _steps_of_a_row(graph: Graph, fields: int) -> float:
    """Return roughly what a row costs beside arithmetic that hardly counts: from the file alone."""
    steps = 0.0
    times = ATTENTION * fields if any(_attends(node, graph) for node in graph.nodes) else 1
    for node in graph.nodes:
        if is_tree_ensemble(node):
            nodes, trees = len(node.sequence("nodes_featureids")), _trees(node)
            steps += trees * log2(1 + nodes / max(trees, 1))
        steps += STEPS_OF_A_NUMBER.get(node.op, 0.0) * times * _stored_numbers(node, graph)
    if any(node.op in ("TopK", "Scan") for node in graph.nodes):
        stored = sum(array.size for array in graph.constants.values() if array.dtype.kind == "f")
        steps += STEPS_OF_NEIGHBOUR * stored
    return steps


def _attends(node: Node, graph: Graph) -> bool:
    """Return whether what was computed of a row is multiplied by what was computed of it."""
    computed = [name for name in node.inputs if name not in graph.constants]
    return node.op == "Attention" or (node.op in ("MatMul", "Einsum") and len(computed) > 1)


def _stored_numbers(node: Node, graph: Graph) -> int:
    matrices = [graph.constants[name] for name in node.inputs if name in graph.constants]
    weights = sum(matrix.size for matrix in matrices if matrix.ndim > 1)
    return weights + len(node.sequence("support_vectors"))


def _trees(node: Node) -> int:
    if node.op == "TreeEnsemble":
        return len(node.sequence("tree_roots"))
    return len(np.unique(np.asarray(node.sequence("nodes_treeids"))))
