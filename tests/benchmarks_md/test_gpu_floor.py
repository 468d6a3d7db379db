"""benchmarks/gpu: what the counter of operations and bytes counts, and tables of the measured."""

import json
from pathlib import Path

import pytest
import torch

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def floor(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    import floor

    return floor


def test_counts_of_known_operations(floor):
    """A product of (4, 3) and (3, 5) with its gradients, a view, and a sum."""
    a, b = (
        torch.ones(shape, dtype=torch.float32, requires_grad=True) for shape in ((4, 3), (3, 5))
    )
    with floor.Traffic() as traffic:
        product = torch.mm(a, b)
        (product.view(20).expand(2, 20) * 2.0).sum().backward()
    assert traffic.flops == 3 * 2 * 4 * 3 * 5  # forward, and one for each gradient
    numbers = 12 + 15 + 20  # operands and result; each product has the same three sizes
    assert traffic.products == 3 * 4 * numbers
    # 40 products by two and their sum; backwards at least those of the 40, and their sum to 20
    assert 40 + 1 + 40 + 20 <= traffic.others <= 4 * 40


def test_table_holds_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    from gpu_tables import tables

    content = json.loads((GPU / "h200.json").read_text())
    text = tables(content)
    assert text == (GPU / "tables.md").read_text(), "run benchmarks/gpu/gpu_tables.py"
    assert "| medium | 93,312 | 412 | 94 | 4.39 |" in text
    assert "| small | 3,456,000 | 2,482 | out of memory |  |" in text


def test_table_of_today_holds_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    from gpu_tables import lammps_tables

    text = lammps_tables(json.loads((GPU / "h100_lammps.json").read_text()))
    assert text == (GPU / "h100.md").read_text(), "run benchmarks/gpu/gpu_tables.py"
    assert "| small | 93,312 | 3,172, 3,179 | 1,483, 1,473 | 2.15 |" in text
    assert "| medium | 93,312 | 479, 480 | failed |  |" in text


def test_table_of_kernels_holds_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    from gpu_tables import kernel_tables

    text = kernel_tables(json.loads((GPU / "h100.json").read_text()))
    assert text == (GPU / "kernels.md").read_text(), "run benchmarks/gpu/gpu_tables.py"
    assert "| small, 27,648 atoms | sums, products and all networks by our kernels | 8.6 |" in text
