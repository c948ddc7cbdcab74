"""Which leaves share a table: greedy merging that buys speed with memory at one exchange rate.

A group's *code* says, for each of its columns, how the row's rank looks to the group's leaves: two
ranks that let the same leaves through have the same *label*. The group's table has one row for
each combination of labels (a *cell*), so that one lookup answers for all its leaves, of any tree.
Merging two groups saves a lookup and multiplies cells; the pairs that save most time per byte are
merged first. Labels are told apart here by hashes, which only steers the choice: the tables
themselves are built from exact comparisons.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.cuts import Cuts, Ints
from explainers.tree_paths import LeafPaths

MAX_CELLS = 1 << 15
"""Codes are 16 bits wide."""
PAIRS = 15_000
"""How many pairs of groups are compared at each rate; bounds the time of the choice. Six times as
many take three times as long to find 3 % fewer groups."""
LEAST_RATE = 5e-5
"""The fewest nanoseconds that a byte must save: memory is not spent on less."""
LOOKUP_NS = 6.0
"""Measured cost of one more group: code, offset and one cache line."""
FIELD_NS = 1.2
"""Measured cost of one more field in a row: load, add, store."""


def group_leaves(
    paths: LeafPaths,
    cuts: Cuts,
    fields: Ints,
    leaves: Ints,
    *,
    sums: int,
    target_bytes: int,
) -> Ints:
    """Return the group of each leaf in ``leaves``, numbered from 0 in order of first leaf.

    ``fields[c]`` is the field of column c. Groups take about ``target_bytes`` together.
    """
    group: Ints = _greedy(
        leaves,
        paths.entry_starts,
        paths.column,
        paths.segment_starts,
        paths.low,
        paths.high,
        fields,
        np.diff(cuts.starts).astype(np.int32),
        sums,
        float(target_bytes),
        PAIRS,
        LEAST_RATE,
        LOOKUP_NS,
        FIELD_NS,
    )
    return np.unique(group, return_inverse=True)[1].astype(np.int32)


@njit(cache=True, nogil=True)
def _mix(value: Any) -> Any:
    """Return 64 well-mixed bits (splitmix64)."""
    z = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _longer(values: Any, size: int) -> Any:
    if size <= len(values):
        return values
    grown = np.empty(max(size, 2 * len(values)), values.dtype)
    grown[: len(values)] = values
    return grown


@njit(cache=True, nogil=True)
def _distinct(hashes: Any, size: int) -> int:
    """Return how many different values the first ``size`` hashes have."""
    found = 0
    for i in range(size):
        fresh = 1
        for j in range(i):
            if hashes[j] == hashes[i]:
                fresh = 0
                break
        found += fresh
    return found


@njit(cache=True, nogil=True)
def _joined_labels(
    a: int, a_end: int, b: int, b_end: int, rank: Any, seen: Any, out_rank: Any, out_seen: Any
) -> int:
    """Merge two step functions of rank into ``out``; return the number of steps."""
    size = 0
    hash_a = hash_b = np.uint64(0)
    while a < a_end or b < b_end:
        at = np.int32(2147483647)
        if a < a_end:
            at = rank[a]
        if b < b_end and rank[b] < at:
            at = rank[b]
        if a < a_end and rank[a] == at:
            hash_a = seen[a]
            a += 1
        if b < b_end and rank[b] == at:
            hash_b = seen[b]
            b += 1
        both = hash_a ^ hash_b
        if size > 0 and out_seen[size - 1] == both:
            continue
        out_rank[size], out_seen[size] = at, both
        size += 1
    return size


@njit(cache=True, nogil=True)
def _leaf_steps(
    entry: int,
    leaf: int,
    last: int,
    segment_starts: Any,
    low: Any,
    high: Any,
    rank: Any,
    seen: Any,
    at: int,
) -> int:
    """Write the step function of one leaf's column; return where it ends."""
    inside = _mix(leaf + 1)
    if segment_starts[entry] == segment_starts[entry + 1] or low[segment_starts[entry]] > 0:
        rank[at], seen[at] = 0, np.uint64(0)
        at += 1
    for s in range(segment_starts[entry], segment_starts[entry + 1]):
        rank[at], seen[at] = low[s], inside
        at += 1
        if high[s] < last:
            rank[at], seen[at] = high[s] + 1, np.uint64(0)
            at += 1
    return at


@njit(cache=True, nogil=True)
def _greedy(  # noqa: C901 - one compiled loop over one pool of step functions
    leaves: Any,
    entry_starts: Any,
    column: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    fields: Any,
    counts: Any,
    sums: int,
    target_bytes: float,
    pairs: int,
    least_rate: float,
    lookup_ns: float,
    field_ns: float,
) -> Any:
    n = len(leaves)
    joined_to = np.arange(n).astype(np.int32)
    # Pools: a group is a run of columns and a run of fields; a column is a run of steps.
    column_begin = np.zeros(n, np.int64)
    column_end = np.zeros(n, np.int64)
    field_begin = np.zeros(n, np.int64)
    field_end = np.zeros(n, np.int64)
    cells = np.ones(n)
    pool_column = np.empty(1024, np.int32)
    pool_labels = np.empty(1024, np.int32)
    pool_begin = np.empty(1024, np.int64)
    pool_end = np.empty(1024, np.int64)
    pool_field = np.empty(1024, np.int32)
    rank = np.empty(4096, np.int32)
    seen = np.empty(4096, np.uint64)
    n_columns = n_fields = n_steps = 0
    total = 0.0
    for i in range(n):
        column_begin[i], field_begin[i] = n_columns, n_fields
        begin, end = entry_starts[leaves[i]], entry_starts[leaves[i] + 1]
        for entry in range(begin, end):
            segments = segment_starts[entry + 1] - segment_starts[entry]
            rank = _longer(rank, n_steps + 2 * segments + 2)
            seen = _longer(seen, n_steps + 2 * segments + 2)
            pool_column = _longer(pool_column, n_columns + 1)
            pool_labels = _longer(pool_labels, n_columns + 1)
            pool_begin = _longer(pool_begin, n_columns + 1)
            pool_end = _longer(pool_end, n_columns + 1)
            pool_column[n_columns], pool_begin[n_columns] = column[entry], n_steps
            n_steps = _leaf_steps(
                entry, i, counts[column[entry]] + 1, segment_starts, low, high, rank, seen, n_steps
            )
            pool_end[n_columns], pool_labels[n_columns] = n_steps, 2
            n_columns += 1
            cells[i] *= 2.0
        own = np.unique(fields[column[begin:end]])
        pool_field = _longer(pool_field, n_fields + len(own))
        pool_field[n_fields : n_fields + len(own)] = own
        n_fields += len(own)
        column_end[i], field_end[i] = n_columns, n_fields
        total += cells[i] * (field_end[i] - field_begin[i]) * sums * 8.0
    live = np.arange(n)
    out_rank = np.empty(4096, np.int32)
    out_seen = np.empty(4096, np.uint64)
    # The rate falls until the memory is spent: nanoseconds saved per byte.
    rate = 0.03
    while rate > least_rate:
        start = 0
        block = min(max(pairs // max(len(live), 1), 24), 512)
        while start < len(live):
            stop = min(start + block, len(live))
            m = stop - start
            best = np.full(m, -1.0)
            partner = np.full(m, -1)
            growth = np.zeros(m)
            stale = np.ones(m, np.bool_)
            gone = np.zeros(m, np.bool_)
            while True:
                for i in range(m):
                    if gone[i] or not stale[i]:
                        continue
                    best[i], partner[i], stale[i] = -1.0, -1, False
                    a = live[start + i]
                    for j in range(m):
                        if j == i or gone[j]:
                            continue
                        b = live[start + j]
                        both = 0
                        x, y = field_begin[a], field_begin[b]
                        while x < field_end[a] and y < field_end[b]:
                            if pool_field[x] == pool_field[y]:
                                both += 1
                                x += 1
                                y += 1
                            elif pool_field[x] < pool_field[y]:
                                x += 1
                            else:
                                y += 1
                        of_a, of_b = field_end[a] - field_begin[a], field_end[b] - field_begin[b]
                        union = of_a + of_b - both
                        saved = lookup_ns + field_ns * sums * both
                        # At best the union has as many cells as the larger part.
                        before = (cells[a] * of_a + cells[b] * of_b) * sums * 8.0
                        least = max(cells[a], cells[b]) * union * sums * 8.0 - before
                        if least > 0 and saved / least < max(rate, best[i]):
                            continue
                        product = 1.0
                        x, y = column_begin[a], column_begin[b]
                        while x < column_end[a] or y < column_end[b]:
                            if y >= column_end[b] or (
                                x < column_end[a] and pool_column[x] < pool_column[y]
                            ):
                                product *= pool_labels[x]
                                x += 1
                            elif x >= column_end[a] or pool_column[y] < pool_column[x]:
                                product *= pool_labels[y]
                                y += 1
                            else:
                                most = pool_end[x] - pool_begin[x] + pool_end[y] - pool_begin[y]
                                out_rank = _longer(out_rank, most)
                                out_seen = _longer(out_seen, most)
                                size = _joined_labels(
                                    pool_begin[x], pool_end[x], pool_begin[y], pool_end[y],
                                    rank, seen, out_rank, out_seen,
                                )  # fmt: skip
                                product *= _distinct(out_seen, size)
                                x += 1
                                y += 1
                            if product > 32768.0:
                                break
                        if product > 32768.0:
                            continue
                        more = product * union * sums * 8.0 - before
                        value = saved / max(more, 1e-3)
                        if value > best[i]:
                            best[i], partner[i], growth[i] = value, j, more
                i = int(np.argmax(best))
                if best[i] < rate:
                    break
                if growth[i] > 0 and total + growth[i] > target_bytes:
                    best[i] = -1.0
                    continue
                j = partner[i]
                a, b = live[start + i], live[start + j]
                total += growth[i]
                first_column = n_columns
                cells[a], product = 1.0, 1.0
                x, y = column_begin[a], column_begin[b]
                while x < column_end[a] or y < column_end[b]:
                    pool_column = _longer(pool_column, n_columns + 1)
                    pool_labels = _longer(pool_labels, n_columns + 1)
                    pool_begin = _longer(pool_begin, n_columns + 1)
                    pool_end = _longer(pool_end, n_columns + 1)
                    if y >= column_end[b] or (
                        x < column_end[a] and pool_column[x] < pool_column[y]
                    ):
                        pool_column[n_columns], pool_labels[n_columns] = (
                            pool_column[x],
                            pool_labels[x],
                        )
                        pool_begin[n_columns], pool_end[n_columns] = pool_begin[x], pool_end[x]
                        x += 1
                    elif x >= column_end[a] or pool_column[y] < pool_column[x]:
                        pool_column[n_columns], pool_labels[n_columns] = (
                            pool_column[y],
                            pool_labels[y],
                        )
                        pool_begin[n_columns], pool_end[n_columns] = pool_begin[y], pool_end[y]
                        y += 1
                    else:
                        most = pool_end[x] - pool_begin[x] + pool_end[y] - pool_begin[y]
                        out_rank = _longer(out_rank, most)
                        out_seen = _longer(out_seen, most)
                        size = _joined_labels(
                            pool_begin[x], pool_end[x], pool_begin[y], pool_end[y],
                            rank, seen, out_rank, out_seen,
                        )  # fmt: skip
                        rank = _longer(rank, n_steps + size)
                        seen = _longer(seen, n_steps + size)
                        rank[n_steps : n_steps + size] = out_rank[:size]
                        seen[n_steps : n_steps + size] = out_seen[:size]
                        pool_column[n_columns] = pool_column[x]
                        pool_labels[n_columns] = _distinct(out_seen, size)
                        pool_begin[n_columns], pool_end[n_columns] = n_steps, n_steps + size
                        n_steps += size
                        x += 1
                        y += 1
                    cells[a] *= pool_labels[n_columns]
                    n_columns += 1
                column_begin[a], column_end[a] = first_column, n_columns
                first_field = n_fields
                x, y = field_begin[a], field_begin[b]
                pool_field = _longer(pool_field, n_fields + field_end[a] - x + field_end[b] - y)
                while x < field_end[a] or y < field_end[b]:
                    if y >= field_end[b] or (x < field_end[a] and pool_field[x] <= pool_field[y]):
                        if y < field_end[b] and pool_field[x] == pool_field[y]:
                            y += 1
                        pool_field[n_fields] = pool_field[x]
                        x += 1
                    else:
                        pool_field[n_fields] = pool_field[y]
                        y += 1
                    n_fields += 1
                field_begin[a], field_end[a] = first_field, n_fields
                gone[j], best[j], best[i] = True, -1.0, -1.0
                joined_to[b] = a
                for k in range(m):
                    if not gone[k] and (k == i or partner[k] == i or partner[k] == j):
                        stale[k] = True
                        best[k] = -1.0
            kept = 0
            for k in range(m):
                if not gone[k]:
                    live[start + kept] = live[start + k]
                    kept += 1
            live = np.concatenate((live[: start + kept], live[stop:]))
            start += kept
        rate *= 0.3
    # Groups join lower and higher ones alike, so follow each to its end.
    for i in range(n):
        end = i
        while joined_to[end] != end:
            end = joined_to[end]
        joined_to[i] = end
    return joined_to
