"""What ONNX lacks, beside torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medmeta.learners.heads._class_blocks import solve_class_blocks
from medmeta.learners.heads.logistic import logistic_weights

ort = pytest.importorskip("onnxruntime", reason="the extra onnx")
onnxscript = pytest.importorskip("onnxscript", reason="the extra onnx")


def run(function: Any, *inputs: Any, out_rank: int) -> torch.Tensor:
    """The answer of ONNX Runtime to one function of double precision."""
    types = [onnxscript.DOUBLE[*x.shape] if x.ndim else onnxscript.INT64 for x in inputs]
    proto = function.to_model_proto(
        input_types=types, output_types=[onnxscript.DOUBLE[*["a", "b", "c", "d"][:out_rank]]]
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, inputs, strict=True)))
    return torch.from_numpy(found)


def positive(*shape: int, seed: int = 0) -> torch.Tensor:
    matrix = torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed)).double()
    return matrix @ matrix.mT + torch.eye(shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("n", [1, 5])
def test_factors_are_those_of_torch(lead: tuple[int, ...], n: int) -> None:
    from medmeta.app.onnx_operators import cholesky

    matrix = positive(*lead, n)
    found = run(cholesky, matrix.numpy(), out_rank=matrix.ndim)
    torch.testing.assert_close(found, torch.linalg.cholesky(matrix))


@pytest.mark.parametrize("turned", [False, True])
def test_triangular_systems_are_solved(turned: bool) -> None:
    from medmeta.app.onnx_operators import solve_lower, solve_lower_turned

    factor = torch.linalg.cholesky(positive(2, 4))
    right = torch.arange(24.0).double().reshape(2, 4, 3)
    solve = solve_lower_turned if turned else solve_lower
    found = run(solve, factor.numpy(), right.numpy(), out_rank=3)
    torch.testing.assert_close((factor.mT if turned else factor) @ found, right)


def test_blocks_are_solved_as_by_torch() -> None:
    from medmeta.app.onnx_operators import class_blocks

    kernel, chance = positive(2, 4, seed=1), torch.Generator().manual_seed(2)
    root, right = torch.rand(2, 2, 4, 3, generator=chance).double()
    found = run(class_blocks, kernel.numpy(), root.numpy(), right.numpy(), out_rank=3)
    wanted = solve_class_blocks(kernel, root, torch.ones_like(root), right)
    torch.testing.assert_close(found, wanted)


def test_newton_finds_where_the_gradient_is_zero() -> None:
    from medmeta.app.onnx_operators import newton

    design = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(3)).double()
    wanted = torch.eye(3).repeat(2, 1)[None].double()
    strength = torch.tensor([0.1], dtype=torch.float64)
    kernel = design / strength @ design.mT
    coefficients = run(newton, kernel.numpy(), wanted.numpy(), np.array(10), out_rank=3)
    weights = (design / strength).mT @ coefficients
    gradient = design.mT @ ((design @ weights).softmax(-1) - wanted) + strength * weights
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-8)
    torch.testing.assert_close(weights, logistic_weights(design, wanted, strength, steps=10))
