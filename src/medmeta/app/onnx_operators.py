"""In ONNX: Cholesky factors, triangular systems, and logistic regression by Newton's method.

The bodies of the functions marked ``script`` are read as ONNX, whose loops they become; nothing of
them runs as Python. Importing this needs the extra ``onnx``; ``onnx_export`` is its only user.
"""

from typing import TYPE_CHECKING, Any

import torch
from onnxscript import DOUBLE, INT64, script
from onnxscript.onnx_opset import opset18 as op
from onnxscript.values import Opset

from medmeta.learners.heads.logistic import STEP_LENGTHS, newton_weights

HERE = Opset("medmeta", 1)
if TYPE_CHECKING:
    Numbers = Any
else:
    Numbers = DOUBLE[...]  # the types of what goes in and out of an ONNX function
TO_DOUBLE = 11  # ONNX's number of the type
LENGTHS = list(STEP_LENGTHS)


@script(HERE, default_opset=op)
def cholesky(matrix: Numbers) -> Numbers:
    """The lower factor of ``(..., n, n)``, column by column, each taken off what is left."""
    n = op.Squeeze(op.Shape(matrix, start=-1))
    rows = op.Range(0, n, 1)
    left = op.Identity(matrix)
    factor = op.Mul(matrix, op.CastLike(0.0, matrix))
    for j in range(n):
        at = op.Unsqueeze(j, [0])
        column = op.Gather(left, at, axis=-1)
        pivot = op.Gather(column, at, axis=-2)
        below = op.CastLike(op.Unsqueeze(op.GreaterOrEqual(rows, j), [1]), matrix)
        column = op.Mul(op.Div(column, op.Sqrt(pivot)), below)
        left = op.Sub(left, op.MatMul(column, op.Einsum(column, equation="...ij->...ji")))
        here = op.CastLike(op.Unsqueeze(op.Equal(rows, j), [0]), matrix)
        factor = op.Add(factor, op.Mul(column, here))
    return factor


@script(HERE, default_opset=op)
def solve_lower(factor: Numbers, right: Numbers) -> Numbers:
    """``L x = b`` row by row: ``(..., n, n)`` and ``(..., n, k)``."""
    n = op.Squeeze(op.Shape(factor, start=-1))
    rows = op.Range(0, n, 1)
    found = op.Mul(right, op.CastLike(0.0, right))
    for j in range(n):
        at = op.Unsqueeze(j, [0])
        row = op.Gather(factor, at, axis=-2)
        rest = op.Sub(op.Gather(right, at, axis=-2), op.MatMul(row, found))
        here = op.CastLike(op.Unsqueeze(op.Equal(rows, j), [1]), right)
        found = op.Add(found, op.Mul(here, op.Div(rest, op.Gather(row, at, axis=-1))))
    return found


@script(HERE, default_opset=op)
def solve_lower_turned(factor: Numbers, right: Numbers) -> Numbers:
    """``L' x = b``, from the last row up."""
    n = op.Squeeze(op.Shape(factor, start=-1))
    rows = op.Range(0, n, 1)
    found = op.Mul(right, op.CastLike(0.0, right))
    for i in range(n):
        j = op.Sub(op.Sub(n, 1), i)
        at = op.Unsqueeze(j, [0])
        row = op.Einsum(op.Gather(factor, at, axis=-1), equation="...ij->...ji")
        rest = op.Sub(op.Gather(right, at, axis=-2), op.MatMul(row, found))
        here = op.CastLike(op.Unsqueeze(op.Equal(rows, j), [1]), right)
        found = op.Add(found, op.Mul(here, op.Div(rest, op.Gather(row, at, axis=-1))))
    return found


@script(HERE, default_opset=op)
def class_blocks(kernel: Numbers, root: Numbers, right: Numbers) -> Numbers:
    """``solve_class_blocks`` with a diagonal of ones: ``(T, S, S)``, else ``(T, S, N)``."""
    n = op.Squeeze(op.Shape(kernel, start=-1))
    rows = op.Range(0, n, 1)
    eye = op.CastLike(op.Equal(op.Unsqueeze(rows, [0]), op.Unsqueeze(rows, [1])), kernel)
    down = op.Unsqueeze(op.Transpose(root, perm=[0, 2, 1]), [3])
    across = op.Transpose(down, perm=[0, 1, 3, 2])
    blocks = op.Add(op.Mul(op.Mul(down, op.Unsqueeze(kernel, [1])), across), eye)
    half = solve_lower(cholesky(blocks), op.Mul(eye, down))
    inverses = op.MatMul(op.Transpose(half, perm=[0, 1, 3, 2]), half)
    answers = op.MatMul(inverses, op.Unsqueeze(op.Transpose(right, perm=[0, 2, 1]), [3]))
    common = cholesky(op.ReduceSum(inverses, [1], keepdims=0))
    half_multiplier = solve_lower(common, op.ReduceSum(answers, [1], keepdims=0))
    multiplier = op.Unsqueeze(solve_lower_turned(common, half_multiplier), [1])
    solved = op.Sub(answers, op.MatMul(inverses, multiplier))
    return op.Transpose(op.Squeeze(solved, [3]), perm=[0, 2, 1])


@script(HERE, default_opset=op)
def newton_step(kernel: Numbers, wanted: Numbers, logits: Numbers) -> Numbers:
    """Coefficients ``(T, S, N)`` after one step from these logits."""
    shares = op.Softmax(logits, axis=-1)
    mean = op.ReduceSum(op.Mul(shares, logits), [-1], keepdims=1)
    bent = op.Mul(shares, op.Sub(logits, mean))
    start = op.Sub(op.Add(bent, wanted), shares)
    return op.Sub(start, class_blocks(kernel, op.Sqrt(shares), op.MatMul(kernel, start)))


@script(HERE, default_opset=op)
def newton(kernel: Numbers, wanted: Numbers, steps: INT64) -> Numbers:
    """Coefficients ``(T, S, N)`` of the optimum, the best length of every step taken."""
    lengths = op.Reshape(op.CastLike(op.Constant(value_floats=LENGTHS), kernel), [-1, 1, 1, 1])
    known = op.Mul(wanted, op.CastLike(0.0, wanted))
    for _ in range(steps):
        step = op.Sub(newton_step(kernel, wanted, op.MatMul(kernel, known)), known)
        tried = op.Add(op.Unsqueeze(known, [0]), op.Mul(lengths, op.Unsqueeze(step, [0])))
        logits = op.MatMul(kernel, tried)
        penalty = op.Mul(op.CastLike(0.5, kernel), op.Mul(tried, logits))
        misfit = op.Mul(wanted, op.LogSoftmax(logits, axis=-1))
        losses = op.ReduceSum(op.Sub(penalty, misfit), [2, 3], keepdims=1)
        best = op.ArgMin(losses, axis=0, keepdims=1)
        numbers = op.Reshape(op.Range(0, op.Squeeze(op.Shape(lengths, end=1)), 1), [-1, 1, 1, 1])
        chosen = op.CastLike(op.Equal(numbers, best), kernel)
        known = op.ReduceSum(op.Mul(chosen, tried), [0], keepdims=0)
    return newton_step(kernel, wanted, op.MatMul(kernel, known))


def _double(tensor: Any) -> Any:
    return op.Cast(tensor, to=TO_DOUBLE)


def _cholesky(matrix: Any, upper: bool = False) -> Any:
    assert not upper
    return op.CastLike(cholesky(_double(matrix)), matrix)


def _cholesky_solve(right: Any, factor: Any, upper: bool = False) -> Any:
    assert not upper
    half = solve_lower(_double(factor), _double(right))
    return op.CastLike(solve_lower_turned(_double(factor), half), right)


def _newton_weights(kernel: Any, wanted: Any, steps: int) -> Any:
    return newton(kernel, wanted, op.Constant(value_int=steps))


_aten = torch.ops.aten
TRANSLATIONS = {
    _aten.linalg_cholesky.default: _cholesky,
    _aten.cholesky_solve.default: _cholesky_solve,
    newton_weights._opoverload: _newton_weights,
}
"""What torch's own exporter does not translate."""
FUNCTIONS = (cholesky, solve_lower, solve_lower_turned, class_blocks, newton_step, newton)
"""To be held by a model that calls them: the exporter leaves out what a loop calls."""
