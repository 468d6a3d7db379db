"""Deployed files with a fence: what it adds, and that it adds nothing on training frames."""

import json
import shutil

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from fenced_frames import assert_derivatives, frame_of
from models import CUTOFF, TYPE_NAMES, with_third_type

from nequip_legato import LegatoCalculator
from nequip_legato.cli import deploy_main
from nequip_legato.deploy import build, info
from nequip_legato.deploy import fencing as deployment
from nequip_legato.deploy.blocks import evaluate_in_blocks, make_blocks
from nequip_legato.deploy.export import load_deployed
from nequip_legato.deploy.fence_reference import fence_sums
from nequip_legato.errors import LegatoError
from nequip_legato.fence import FenceSettings
from nequip_legato.trained import dataset as training_data
from nequip_legato.trained.frames import read_frames

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)
BY_TYPE = {"H": {"H": 3.0, "N": 2.5}, "N": 4.0}


def assert_untouched(plain, fenced) -> None:
    """Both files give the same bits on all training frames."""
    path = plain.with_name("train.extxyz")
    frames = read_frames(path, type_of_symbol={"H": 0, "N": 1}, r_max=CUTOFF)
    models = [load_deployed(p, device="cpu") for p in (plain, fenced)]
    with torch.jit.optimized_execution(False):  # as LAMMPS does: blocks differ in size
        for frame in frames:
            for block in make_blocks(frame, cutoffs=CUTOFFS, sizes=(1, 30)):
                results = [model(block.inputs()) for model in models]
                for key in ("atomic_energy", "edge_forces"):
                    assert torch.equal(results[0][key], results[1][key])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_frames_do_not_feel_it(deployed, fenced, dtype):
    assert_untouched(deployed(dtype=dtype), fenced(dtype=dtype))


@pytest.mark.slow
def test_aotinductor(deployed, fenced, squeezed, tmp_path):
    """The same on training frames as without, and where the fence acts as TorchScript."""
    path = fenced(".nequip.pt2")
    assert_untouched(deployed(".nequip.pt2"), path)
    frame = frame_of(squeezed, tmp_path)
    results = [
        evaluate_in_blocks(load_deployed(p, device="cpu"), frame, cutoffs=CUTOFFS, sizes=(3,))
        for p in (path, fenced())
    ]
    torch.testing.assert_close(results[0].forces, results[1].forces, rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0].energies, results[1].energies, rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0].virial, results[1].virial, rtol=0, atol=1e-9)
    assert info(path).fence == info(fenced()).fence
    # its second model, of energies alone
    assert info(path).entries["legato_energy_model"] == "1"
    atoms = squeezed.copy()
    atoms.calc = LegatoCalculator(path)
    whole = float(results[0].energies.sum())
    assert atoms.get_potential_energy() == pytest.approx(whole, rel=1e-12)
    assert "forces" not in atoms.calc.results


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_it_adds(deployed, fenced, squeezed, tmp_path, dtype):
    """Energies of atoms, forces and virial of the formulas, and what the calculator tells."""
    frame = frame_of(squeezed, tmp_path)
    with_it, without = [
        evaluate_in_blocks(load_deployed(p, device="cpu"), frame, cutoffs=CUTOFFS, sizes=(3,))
        for p in (fenced(dtype=dtype), deployed(dtype=dtype))
    ]
    own = fence_sums(info(fenced(dtype=dtype)).fence, frame, TYPE_NAMES, CUTOFFS)
    assert float(own.energies.sum()) > 1.0
    near = {"float64": 1e-9, "float32": 1e-5}[dtype]  # the fence has the model's precision
    for name in ("energies", "forces", "virial"):
        added = getattr(with_it, name) - getattr(without, name)
        torch.testing.assert_close(added, getattr(own, name), rtol=near, atol=near)

    atoms = squeezed.copy()
    atoms.calc = LegatoCalculator(fenced(dtype=dtype))
    atoms.get_forces()
    assert atoms.calc.results["fence_energy"] == pytest.approx(float(own.energies.sum()))
    # an N-H bond in the wall, one in the gap, the two nitrogens; each pair is two edges
    assert atoms.calc.results["fence_edges"] % 2 == 0
    assert atoms.calc.results["fence_edges"] >= 6
    atoms.calc = LegatoCalculator(deployed(dtype=dtype))
    atoms.get_forces()
    assert atoms.calc.results["fence_edges"] == atoms.calc.results["fence_energy"] == 0


@pytest.mark.slow
def test_energy_alone_has_it(fenced, squeezed):
    atoms, other = squeezed.copy(), squeezed.copy()
    atoms.calc, other.calc = (LegatoCalculator(fenced()) for _ in range(2))
    other.get_forces()
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), rel=1e-12)
    assert "forces" not in atoms.calc.results


def test_derivatives(fenced, squeezed):
    assert_derivatives(fenced(), squeezed)


@pytest.mark.slow
def test_cutoffs_by_pair_of_types(fenced, squeezed):
    assert_derivatives(fenced(per_edge_type_cutoff=BY_TYPE), squeezed)


@pytest.mark.slow
def test_three_types(fenced, squeezed):
    path = fenced(third_type=True)
    atoms = squeezed.copy()
    atoms.symbols[1] = "O"
    names = {wall.types for wall in info(path).fence.walls}
    assert {("H", "O"), ("N", "O")} <= names
    assert_derivatives(path, atoms)


def test_rotation_and_permutation(fenced, squeezed):
    rng = np.random.default_rng(2)
    atoms = squeezed.copy()
    atoms.set_pbc(False)
    atoms.calc = LegatoCalculator(fenced())
    energies, force = atoms.get_potential_energies(), atoms.get_forces()
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions = moved.positions @ rotation.T + [11.0, -3.0, 0.7]
    moved.calc = LegatoCalculator(fenced(), block=3)
    np.testing.assert_allclose(moved.get_potential_energies(), energies[order], atol=1e-9)
    np.testing.assert_allclose(moved.get_forces(), force[order] @ rotation.T, atol=1e-8)
    for key in ("fence_energy", "fence_edges"):
        assert moved.calc.results[key] == pytest.approx(atoms.calc.results[key])


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["HH", "NN", "HN"])
def test_dimers_are_pushed_apart_however_close(fenced, pair):
    calculator = LegatoCalculator(fenced(kind="wall"))
    (wall,) = [w for w in info(fenced(kind="wall")).fence.walls if "".join(w.types) == pair]
    found = []
    for distance in np.geomspace(0.02, 0.9 * wall.begin, 30):
        atoms = Atoms(pair, [[0, 0, 0], [distance, 0, 0]], calculator=calculator)
        found.append((atoms.get_potential_energy(), atoms.get_forces()[1, 0]))
    energies, pushes = np.array(found).T
    assert (pushes > 1.0).all()
    assert (np.diff(energies) < 0).all()


@pytest.mark.slow
def test_all_frames_are_read(checkpoint, tmp_path, monkeypatch):
    """Also where the domain alone would be taken from some."""
    path = checkpoint()
    frames = ase.io.read(path.with_name("train.extxyz"), ":")
    monkeypatch.setattr(training_data, "MAX_FRAMES", 3)
    plain = build(path, tmp_path / "plain.nequip.pth").info
    close = frames[4].copy()
    vector = close.get_distance(0, 1, mic=True, vector=True)
    close.positions[1] -= (1.0 - 0.8 / np.linalg.norm(vector)) * vector
    shortest = close.get_distance(0, 1, mic=True)
    ase.io.write(tmp_path / "frames.extxyz", [*frames[:4], close, *frames[5:]])
    found = build(
        path, tmp_path / "model.nequip.pth", frames=tmp_path / "frames.extxyz", fence="wall"
    ).info
    assert (plain.domain_frames, found.domain_frames, found.fence.n_frames) == (3, 8, 8)
    types = tuple(sorted(close.symbols[:2]))
    (wall,) = [wall for wall in found.fence.walls if wall.types == types]
    assert wall.shortest == pytest.approx(min(shortest, wall.shortest), abs=1e-9)
    assert wall.shortest == pytest.approx(0.8, abs=1e-6)


@pytest.mark.slow
def test_command_and_info(checkpoint, tmp_path, capsys):
    path = tmp_path / "model.nequip.pth"
    arguments = ["build", checkpoint(), path, "--fence", "gaps", "--fence-temperature", "1500"]
    assert deploy_main([str(a) for a in arguments]) == 0
    assert "note: a bump of" in capsys.readouterr().out
    found = info(path)
    assert found.fence.settings == FenceSettings(kind="gaps", temperature=1500.0)
    assert json.loads(found.entries["legato_fence"])["walls"][0]["types"] == ["H", "H"]
    shown = str(found)
    assert "to resist 1500 K" in shown
    assert "wall N-N" in shown
    assert "do not react" in shown
    content = json.loads(found.to_json())["fence"]
    assert content["gaps"][0]["types"] == ["H", "N"]
    assert deploy_main(["build", str(checkpoint()), str(path), "--fence"]) == 0
    assert info(path).fence.settings == FenceSettings()


def test_options_without_a_fence(checkpoint, tmp_path, capsys):
    arguments = ["build", checkpoint(), tmp_path / "m.nequip.pth", "--fence-gap-width", "0.3"]
    assert deploy_main([str(a) for a in arguments]) == 1
    assert "--fence-gap-width has no effect without --fence" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_structure_is_no_training_set(checkpoint, tmp_path):
    frames = ase.io.read(checkpoint().with_name("train.extxyz"), ":")
    ase.io.write(tmp_path / "one.extxyz", frames[0])
    with pytest.raises(LegatoError, match="a fence needs the training frames"):
        build(
            checkpoint(),
            tmp_path / "m.nequip.pth",
            frames=tmp_path / "one.extxyz",
            fence="wall",
        )


@pytest.mark.slow
def test_frames_without_forces(checkpoint, tmp_path):
    """The model's own forces stand in for labels."""
    frames = [a.copy() for a in ase.io.read(checkpoint().with_name("train.extxyz"), ":")]
    ase.io.write(tmp_path / "frames.extxyz", frames)
    found = build(
        checkpoint(),
        tmp_path / "m.nequip.pth",
        frames=tmp_path / "frames.extxyz",
        fence="wall",
    ).info
    assert all(0.0 < wall.force < 100.0 for wall in found.fence.walls)


@pytest.mark.slow
def test_a_wrong_fence_is_found(checkpoint, tmp_path, monkeypatch):
    add = deployment.add_fence

    def wrong(model, table, num_types):
        add(model, [[row[0], 1.001 * row[1], *row[2:]] for row in table], num_types)

    monkeypatch.setattr(deployment, "add_fence", wrong)
    with pytest.raises(
        LegatoError, match="energies alone of the deployed file differ from nequip's eager model"
    ):
        build(checkpoint(), tmp_path / "model.nequip.pth", fence="wall")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"settings": {"kind": "moat"}}'])
def test_damaged_record(fenced, tmp_path, content):
    import zipfile

    path = tmp_path / "m.nequip.pth"
    shutil.copy(fenced(), path)
    with zipfile.ZipFile(fenced()) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, content if name.endswith("/legato_fence") else data)
    with pytest.raises(LegatoError, match=r"damaged|unknown fence"):
        info(path)


def test_with_third_type_keeps_labels(checkpoint):
    frames = ase.io.read(checkpoint().with_name("train.extxyz"), ":")
    changed = with_third_type(frames[0])
    assert set(changed.symbols) == {"H", "N", "O"}
    np.testing.assert_array_equal(changed.get_forces(), frames[0].get_forces())
