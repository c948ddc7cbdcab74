"""The request path: from encoded rows to contributions, in table lookups.

Compiled, without the interpreter lock, in one fixed order of additions, so that the same row has
the same bits on any thread, alone or in a batch. Indexes are unsigned, which spares compiled code
the test for negative ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.explanation import ALLOWED, LINKED, MARGIN, OUTPUT, RESIDUAL
from explainers.links import link_row
from explainers.prefetch import prefetch

CHECKPOINT = 64
"""Changes of code between two stored code vectors: a vector is G x 2 bytes, a change 6."""
AHEAD = 12
"""How many groups ahead a table row is asked for."""

# Where ``ints`` keeps its parts: the header says where each begins.
(
    COLUMNS, CUT_STARTS, RANK_STARTS, CHANGE_STARTS, CHECKPOINT_STARTS, CHANGE_OF_RANK,
    CHANGE_GROUP, FIELD_STARTS, GROUP_FIELDS, SUM_OF_OUTPUT, EXPLAINED, TARGETS, HEADER,
) = range(13)  # fmt: skip
N_FIELDS, N_SUMS, LINK, N_SCORES = HEADER + 1, HEADER + 2, HEADER + 3, HEADER + 4
HEADER_SIZE = HEADER + 5


@njit(cache=True, nogil=True)
def _part(ints: Any, which: int) -> Any:
    return ints[ints[which] : ints[which + 1]]


@njit(cache=True, nogil=True)
def rank_row(row: Any, ints: Any, cuts: Any, ranks: Any) -> None:
    """Write into ``ranks`` the number of cuts below each value of ``row`` that some tree reads."""
    cut_starts = _part(ints, CUT_STARTS)
    for c in _part(ints, COLUMNS):
        begin, end = np.int64(cut_starts[c]), np.int64(cut_starts[c + 1])
        value = np.float64(row[c])
        if value != value:
            ranks[c] = end - begin + 1
            continue
        size, base = end - begin, begin
        while size > 0:
            half = (size + 1) >> 1
            # No branch to predict: the next half depends on the comparison as a number.
            base += half if cuts[base + half - 1] < value else 0
            size -= half
        ranks[c] = base - begin


@njit(cache=True, nogil=True)
def add_tables(
    ranks: Any, ints: Any, shorts: Any, offsets: Any, table: Any, codes: Any, found: Any
) -> None:
    """Add the tables' rows for ``ranks`` to ``found``, shape (fields x sums,).

    ``codes``, shape (G + AHEAD,) of uint16, is scratch.
    """
    n_groups = len(offsets) - 1
    if n_groups == 0:
        return
    rank_starts = _part(ints, RANK_STARTS)
    change_starts = _part(ints, CHANGE_STARTS)
    checkpoint_starts = _part(ints, CHECKPOINT_STARTS)
    change_of_rank = _part(ints, CHANGE_OF_RANK)
    change_group = _part(ints, CHANGE_GROUP)
    change_code = shorts[: len(change_group)]
    codes[:] = 0
    for c in _part(ints, COLUMNS):
        due = np.int64(change_of_rank[rank_starts[c] + np.uint32(ranks[c])])
        have = np.int64(checkpoint_starts[c + 1]) - np.int64(checkpoint_starts[c])
        nearest = min((due + CHECKPOINT // 2) // CHECKPOINT, have)
        if nearest > 0:
            at = len(change_group) + (np.int64(checkpoint_starts[c]) + nearest - 1) * n_groups
            stored = shorts[at : at + n_groups]
            for g in range(n_groups):
                codes[g] += stored[g]
        begin = np.int64(change_starts[c])
        for i in range(np.uint64(begin + nearest * CHECKPOINT), np.uint64(begin + due)):
            codes[change_group[i]] += change_code[i]
        for i in range(np.uint64(begin + due), np.uint64(begin + nearest * CHECKPOINT)):
            codes[change_group[i]] -= change_code[i]
    _scatter(
        codes,
        _part(ints, FIELD_STARTS),
        _part(ints, GROUP_FIELDS),
        np.uint64(ints[N_SUMS]),
        offsets,
        table,
        found,
    )


@njit(cache=True, nogil=True)
def _scatter(
    codes: Any,
    field_starts: Any,
    group_fields: Any,
    sums: Any,
    offsets: Any,
    table: Any,
    found: Any,
) -> None:
    """Add row ``codes[g]`` of every table, in the order of groups."""
    n_groups = np.uint64(len(offsets) - 1)
    ahead = np.uint64(AHEAD)
    one = np.uint64(1)
    for g in range(n_groups):
        h = g + ahead
        if h < n_groups:
            width = np.uint64(field_starts[h + one] - field_starts[h]) * sums
            row = offsets[h] + np.uint64(codes[h]) * width
            prefetch(table, row)  # type: ignore[call-arg]
            prefetch(table, row + width - one)
        first = np.uint64(field_starts[g])
        n_fields = np.uint64(field_starts[g + one]) - first
        row = offsets[g] + np.uint64(codes[g]) * n_fields * sums
        if sums == one:
            for j in range(n_fields):
                found[group_fields[first + j]] += table[row + j]
        else:
            for j in range(n_fields):
                at = np.uint64(group_fields[first + j]) * sums
                for s in range(sums):
                    found[at + s] += table[row + j * sums + s]


@njit(cache=True, nogil=True)
def finish_row(
    found: Any, ints: Any, bases: Any, scores: Any, relative: float, scale: float, out: Any
) -> bool:
    """Write one row's explanation into ``out``, shape (F + 5, T); return whether it adds up.

    ``bases``, shape (2, O): the signs and base values of the O linked margins. ``scores``: what
    the graph returned. ``out`` has the contributions, a row for each field, then MARGIN, OUTPUT and
    LINKED margin, then the RESIDUAL over all targets and what is ALLOWED: ``relative`` times
    ``scale``, or times the outputs' own (see ``allowed_residual``). Fields come first because taking
    a row of an array costs half of taking a column.
    """
    n_fields, sums = np.int64(ints[N_FIELDS]), np.int64(ints[N_SUMS])
    sum_of_output = _part(ints, SUM_OF_OUTPUT)
    explained, targets = _part(ints, EXPLAINED), _part(ints, TARGETS)
    n_outputs = len(sum_of_output)
    margins = np.empty(n_outputs)
    linked = np.empty(n_outputs)
    for o in range(n_outputs):
        s = np.int64(sum_of_output[o])
        margin = bases[1, o]
        for f in range(n_fields):
            margin += bases[0, o] * found[f * sums + s]
        margins[o] = margin
    link_row(ints[LINK], margins, linked)
    residual = 0.0
    for t in range(len(targets)):
        o = explained[t]
        s = np.int64(sum_of_output[o])
        for f in range(n_fields):
            out[f, t] = bases[0, o] * found[f * sums + s]
        output = np.float64(scores[targets[t]])
        difference = abs(linked[o] - output)
        # Written so that NaN wins: it must never look like a small residual.
        residual = residual if difference <= residual else difference
        scale = max(scale, abs(output))
        out[MARGIN, t], out[OUTPUT, t], out[LINKED, t] = margins[o], output, linked[o]
    for t in range(len(targets)):
        out[RESIDUAL, t], out[ALLOWED, t] = residual, relative * scale
    return residual <= relative * scale


@njit(cache=True, nogil=True)
def look_up(
    encoded: Any,
    ranks: Any,
    found: Any,
    ints: Any,
    shorts: Any,
    offsets: Any,
    cuts: Any,
    table: Any,
) -> None:
    """Write the ranks of one row, shape (1, columns), and add its table rows to ``found``."""
    codes = np.empty(len(offsets) - 1 + AHEAD, np.uint16)
    rank_row(encoded[0], ints, cuts, ranks)
    add_tables(ranks, ints, shorts, offsets, table, codes, found)


@njit(cache=True, nogil=True)
def explain_rows(
    encoded: Any,
    scores: Any,
    out: Any,
    ints: Any,
    shorts: Any,
    offsets: Any,
    cuts: Any,
    table: Any,
    bases: Any,
    relative: float,
    scale: float,
) -> bool:
    """Write the explanation of each row of ``encoded``, shape (N, columns).

    Return whether all of them add up.

    ``scores`` holds the rows' scores one after the other; ``out``, shape (N, F + 5, T), is filled
    as ``finish_row`` says.
    """
    ranks = np.empty(encoded.shape[1], np.int32)
    codes = np.empty(len(offsets) - 1 + AHEAD, np.uint16)
    found = np.empty(np.int64(ints[N_FIELDS]) * np.int64(ints[N_SUMS]))
    n_scores = np.int64(ints[N_SCORES])
    sound = True
    for n in range(len(encoded)):
        found[:] = 0.0
        rank_row(encoded[n], ints, cuts, ranks)
        add_tables(ranks, ints, shorts, offsets, table, codes, found)
        own = scores[n * n_scores : (n + 1) * n_scores]
        sound &= finish_row(found, ints, bases, own, relative, scale, out[n])
    return sound
