"""A block that does not fit into the memory becomes smaller ones, with a warning, and no more."""

import re

import numpy as np
import pytest
import torch
from lammps_run import dumped, forces, lammps_input, run_lammps, succeed
from out_of_memory import limited

pytestmark = pytest.mark.usefixtures("lammps")

STEPS = 3
FITS = 9  # atoms
WARNING = re.compile(r"^WARNING: .*did not fit into the memory.*blocks of up to (\d+) atoms", re.M)
HEAT_FLUX = [f"c_catom[{k}]" for k in range(1, 10)]


@pytest.fixture(scope="module")
def small_model(deployed, tmp_path_factory):
    return limited(deployed(), tmp_path_factory.mktemp("limited") / "m.nequip.pth", centers=FITS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "style"), [(1, ""), (2, ""), (1, "threads 2"), (1, "block 50"), (1, "block 12")]
)
def test_the_run_goes_on(ranks, style, tmp_path, data_file, deployed, small_model):
    """The same forces, energies and virials, nothing twice."""
    whole = succeed(tmp_path, lammps_input(deployed(), steps=STEPS), ranks=ranks)
    run = succeed(tmp_path, lammps_input(small_model, steps=STEPS, style=style), ranks=ranks)
    np.testing.assert_allclose(forces(run), forces(whole), atol=1e-9)
    for names in (["c_eatom"], HEAT_FLUX):
        np.testing.assert_allclose(dumped(run, *names), dumped(whole, *names), atol=1e-9)
    for name in ("PotEng", "Pxx", "Pxy"):
        np.testing.assert_allclose(run.thermo[name], whole.thermo[name], rtol=1e-9, atol=1e-6)
    warned = WARNING.findall(run.text)
    assert len(warned) == 1, run.text[-3000:]
    assert FITS / 2 < int(warned[0]) <= FITS
    assert f"'block {warned[0]}' avoids this warning" in run.text


@pytest.mark.slow
def test_no_warning_where_the_user_knows(tmp_path, data_file, small_model):
    run = succeed(tmp_path, lammps_input(small_model, steps=STEPS, style=f"block {FITS}"))
    assert "WARNING: Pair style" not in run.text


class _Hungry(torch.nn.Module):
    """Takes more memory than there is when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    @torch.jit.export
    def __getstate__(self) -> bool:
        return self.training

    @torch.jit.export
    def __setstate__(self, training: bool) -> None:
        self.training = training
        self.numbers = torch.zeros(1 << 50).numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_model_itself_does_not_fit(tmp_path, data_file):
    """A lack of memory is not said to be a damaged file."""
    path = tmp_path / "hungry.nequip.pth"
    torch.jit.script(_Hungry()).save(path)
    run = run_lammps(tmp_path, lammps_input(path))
    assert run.returncode != 0
    assert "there is too little memory for it" in run.error
    assert "damaged" not in run.error


def test_not_even_one_atom_fits(tmp_path, data_file, deployed):
    model = limited(deployed(), tmp_path / "none.nequip.pth", centers=0)
    run = run_lammps(tmp_path, lammps_input(model))
    assert run.returncode != 0
    assert "not even one atom fits into the memory" in run.error
    assert "can't allocate memory" in run.error
