"""What all tests of fences need."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "pair_style"))
pytest.register_assert_rewrite("lammps_run")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Results are compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
