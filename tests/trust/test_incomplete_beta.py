"""The beta distribution, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betainc, betaincinv

from medmeta.trust.incomplete_beta import beta_quantile, incomplete_beta


def test_quantiles_and_shares_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        a, b = np.exp(random.uniform(-1, 9.5, 2))
        for share in (0.025, 0.5, 0.975):
            found = beta_quantile(a, b, share)
            assert found == pytest.approx(betaincinv(a, b, share), rel=1e-9)
            assert incomplete_beta(a, b, found) == pytest.approx(betainc(a, b, found), rel=1e-7)
            assert incomplete_beta(a, b, found) == pytest.approx(share, rel=1e-8)
