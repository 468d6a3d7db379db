"""Sixteen ranks give what one gives, however few cores there are."""

from pathlib import Path

import numpy as np
import pytest

MD = Path(__file__).parents[2] / "benchmarks" / "md"


@pytest.mark.slow
def test_sixteen_ranks_are_right(monkeypatch, deployed):
    monkeypatch.syspath_prepend(str(MD))
    from weak_scaling import weak_scaling

    one, sixteen = weak_scaling(deployed(dtype="float64"), ranks=[1, 16], steps=3)
    assert sixteen["atoms"] == 16 * one["atoms"] == 6912
    # replicas of one box: the energy per atom does not depend on how many there are
    np.testing.assert_allclose(sixteen["energy"], one["energy"], rtol=1e-10)
    assert sixteen["force"] < 1e-8
    assert sixteen["position"] < 1e-9
