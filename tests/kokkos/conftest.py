"""What concerns a LAMMPS with Kokkos alone; it runs the pair style's tests too (``-m kokkos``)."""

from dataclasses import replace

import pytest
from lammps_programs import KOKKOS
from lammps_run import Program


def pytest_itemcollected(item: pytest.Item) -> None:
    """All tests of this folder."""
    item.add_marker("kokkos")


@pytest.fixture(scope="module", params=KOKKOS)
def kokkos_program(request: pytest.FixtureRequest, plain_program: Program) -> Program:
    """LAMMPS with ``-k on t 1`` and ``t 2``, ``-sf kk``."""
    program = replace(plain_program, kokkos_threads=request.param)
    if program.on_gpu and request.param > 1:
        pytest.skip("on a GPU threads make no difference")
    return program
