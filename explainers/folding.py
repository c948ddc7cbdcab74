"""What simple operators make of constants alone: weights are stored transposed, or as logarithms.

In numpy, which may differ from onnxruntime in the last bits. What is made of them is compared with
the served graph on the background, as everything that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Attributes: TypeAlias = Mapping[str, Any]

MAX_SIZE = 1 << 24
"""Values that folding may make of one node; a file of few bytes can ask for any number."""


def fold(op: str, attributes: Attributes, inputs: list[Array]) -> Array | None:
    """Return what ``op``, one of FOLDED, makes of ``inputs``; None when numpy cannot say."""
    numbers = inputs and all(array.dtype.kind in "fiub" for array in inputs)
    try:
        if not numbers or np.broadcast(*_shapes(op, inputs)).size > MAX_SIZE:
            return None
        with np.errstate(all="ignore"):
            made = np.asarray(FOLDED[op](attributes, *inputs))
    except (IndexError, TypeError, ValueError):
        return None
    made.setflags(write=False)
    return made


def _shapes(op: str, inputs: list[Array]) -> list[Array]:
    """Return the arrays that ``op`` stretches to one shape."""
    return inputs if op in ("Add", "Sub", "Mul", "Div") else inputs[:1]


def _divided(_attributes: Attributes, a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        raise TypeError  # whole numbers are divided otherwise
    return np.divide(a, b)


def _summed(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
    over = attributes.get("axes") if axes is None else tuple(axes.ravel().tolist())
    keepdims = bool(attributes.get("keepdims", 1))
    return np.asarray(x.sum(axis=over or None, keepdims=keepdims, dtype=x.dtype))


FOLDED: Mapping[str, Callable[..., Array]] = {
    "Add": lambda _, a, b: np.add(a, b),
    "Div": _divided,
    "Exp": lambda _, x: np.exp(x),
    "Identity": lambda _, x: x,
    "Log": lambda _, x: np.log(x),
    "Mul": lambda _, a, b: np.multiply(a, b),
    "Neg": lambda _, x: np.negative(x),
    "ReduceSum": _summed,
    "Sub": lambda _, a, b: np.subtract(a, b),
    "Transpose": lambda attributes, x: np.transpose(x, attributes.get("perm")),
}
