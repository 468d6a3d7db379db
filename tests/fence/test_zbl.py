"""nequip's ZBL pair potential in deployed files, alone and with a fence."""

import numpy as np
import pytest
import torch
from fenced_frames import assert_derivatives, frame_of
from lammps_run import forces, lammps_input, succeed, write_data
from models import CUTOFF

from nequip_legato.deploy.blocks import evaluate_in_blocks
from nequip_legato.deploy.check import reference_of
from nequip_legato.deploy.export import load_deployed
from nequip_legato.deploy.fence_reference import fence_sums, with_fence
from nequip_legato.trained.checkpoint import open_source

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)


def zbl_of(frame) -> torch.Tensor:
    """Energies of nequip's ZBL by the formula of LAMMPS' pair_style zbl and its cutoff."""
    charge = torch.tensor([1.0, 7.0], dtype=torch.float64)[frame.types]
    center, neighbor = frame.edge_index
    r = frame.edge_vectors().norm(dim=1)
    zi, zj = charge[center], charge[neighbor]
    x = r * (zi**0.23 + zj**0.23) / 0.46850
    weights, decays = (0.02817, 0.28022, 0.50986, 0.18175), (0.20162, 0.4029, 0.94229, 3.1998)
    psi = sum(w * torch.exp(-d * x) for w, d in zip(weights, decays, strict=True))
    u, p = r / CUTOFF, 6.0
    cut = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1)
    cut = cut - p * (p + 1) / 2 * u ** (p + 2)
    energy = 0.5 * 14.399645 * zi * zj / r * psi * cut
    return torch.zeros(frame.n_atoms, dtype=torch.float64).index_add_(0, center, energy)


@pytest.mark.slow
def test_it_is_there(checkpoint, squeezed, tmp_path):
    """Without it, the same model has an energy that is less by that of the formula."""
    frame = frame_of(squeezed, tmp_path)
    model = open_source(checkpoint(zbl=True), model_key="sole_model").model
    whole = reference_of(model, frame).sums.energies
    module = next(m for m in model.modules() if type(m).__name__ == "ZBL")
    module._qqr2exesquare.zero_()
    without = reference_of(model, frame).sums.energies
    torch.testing.assert_close(whole - without, zbl_of(frame), rtol=1e-9, atol=1e-9)


def check(plain, with_fence_too, source, atoms, folder) -> None:
    """Files against nequip's eager model, in blocks and in LAMMPS on two ranks."""
    frame = frame_of(atoms, folder)
    reference = reference_of(open_source(source, model_key="sole_model").model, frame)
    from nequip_legato.deploy import info

    fence = info(with_fence_too).fence
    assert float(fence_sums(fence, frame, ["H", "N"], CUTOFFS).energies.sum()) > 1.0
    wanted = {plain: reference, with_fence_too: with_fence(reference, fence, ["H", "N"], CUTOFFS)}
    for path, expected in wanted.items():
        found = evaluate_in_blocks(
            load_deployed(path, device="cpu"), frame, cutoffs=CUTOFFS, sizes=(1, 3)
        )
        for name in ("energies", "forces", "virial"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected.sums, name), rtol=1e-9, atol=1e-8
            )
        write_data(folder / "data.lammps", atoms, ["H", "N"])
        run = succeed(folder, lammps_input(path), ranks=2)
        np.testing.assert_allclose(forces(run), expected.sums.forces, rtol=1e-9, atol=1e-8)


@pytest.mark.slow
def test_torchscript(checkpoint, deployed, fenced, squeezed, tmp_path):
    check(deployed(zbl=True), fenced(zbl=True), checkpoint(zbl=True), squeezed, tmp_path)
    assert_derivatives(fenced(zbl=True), squeezed)


@pytest.mark.slow
def test_aotinductor(checkpoint, deployed, fenced, squeezed, tmp_path):
    suffix = ".nequip.pt2"
    paths = deployed(suffix, zbl=True), fenced(suffix, zbl=True)
    check(*paths, checkpoint(zbl=True), squeezed, tmp_path)
