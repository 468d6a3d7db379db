from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.lammpsdata import read_lammps_data
from matscipy.neighbours import neighbour_list

from nequip_legato.errors import LegatoError
from nequip_legato.stability.run.resolve import with_species
from nequip_legato.stability.run.settings import Settings, Size
from nequip_legato.stability.run.structures import read_start, replicated

CELLS = {
    "cube": np.eye(3) * 5.0,
    "triclinic": np.array([[5.0, 0.3, 0.2], [0.9, 5.5, -0.4], [-0.6, 0.8, 6.0]]),
}


def settings(path: Path, **more: object) -> Settings:
    given = {"types": ["H", "N"], "symbols": ["H", "N"]} | more
    return with_species(Settings(models=[], structure=str(path), **given))


def molecule(cell: np.ndarray) -> Atoms:
    atoms = Atoms("NH3", [[0, 0, 0.1], [1, 0, 0], [-0.5, 0.9, 0], [-0.5, -0.9, 0]], cell=cell)
    atoms.pbc = True
    atoms.positions += 0.3
    return atoms


def distances(atoms: Atoms) -> np.ndarray:
    i, j, d = neighbour_list("ijd", atoms, 4.0)
    pairs = np.sort(atoms.numbers[np.array([i, j])], axis=0)
    return np.sort(np.round(d + 100.0 * pairs[0] + 10000.0 * pairs[1], 6))


@pytest.mark.parametrize("cell", CELLS)
def test_replicated_data_hold_the_same_distances_as_ase_repeated(tmp_path, cell):
    path = tmp_path / "start.extxyz"
    ase.io.write(path, molecule(CELLS[cell]))
    chosen = settings(path)
    start = read_start(chosen)
    text = replicated(start, Size(replicate=[2, 1, 3]), chosen)
    back = read_lammps_data(StringIO(text), Z_of_type={1: 1, 2: 7}, atom_style="atomic")
    np.testing.assert_allclose(distances(back), distances(start.repeat((2, 1, 3))), atol=2e-6)
    assert (back.numbers == 7).sum() == 6


@pytest.mark.parametrize("labels", ["none", "energy", "not numbers", "magnetic moments too"])
def test_labels_of_a_start_do_not_matter(tmp_path, labels):
    """Nor whether it has them all: a start is positions, cell and species."""
    atoms = molecule(CELLS["cube"])
    known = {"energy": -1.0, "forces": np.zeros((4, 3)), "magmoms": np.ones(4)}
    if labels == "energy":
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    elif labels == "not numbers":
        nothing = {"energy": np.nan, "forces": np.full((4, 3), np.nan), "stress": [np.nan] * 6}
        atoms.calc = SinglePointCalculator(atoms, **nothing)
    elif labels == "magnetic moments too":
        atoms.calc = SinglePointCalculator(atoms, **known)
    ase.io.write(tmp_path / "start.extxyz", [Atoms("H"), atoms])
    found = read_start(settings(Path(f"{tmp_path / 'start.extxyz'}@1")))
    assert found.calc is None
    np.testing.assert_allclose(distances(found), distances(atoms), atol=2e-6)


def test_a_data_file_of_lammps_gives_the_same_start_as_another_file(tmp_path):
    atoms = molecule(CELLS["triclinic"])
    path = tmp_path / "start.extxyz"
    ase.io.write(path, atoms)
    chosen = settings(path)
    data = tmp_path / "start.data"
    data.write_text(replicated(read_start(chosen), Size(), chosen))
    again = read_start(settings(data))
    np.testing.assert_allclose(distances(again), distances(atoms), atol=2e-6)


def test_two_lammps_types_of_one_element_keep_their_masses(tmp_path):
    atoms = molecule(CELLS["cube"])
    path = tmp_path / "start.data"
    two = settings(
        path, types=["H", "H", "N"], symbols=["H", "H", "N"], masses=[1.008, 2.014, 14.0]
    )
    atoms.arrays["type"] = np.array([3, 1, 2, 2])
    path.write_text(replicated(atoms, Size(), two))
    start = read_start(two)
    assert sorted(start.arrays["type"]) == [1, 2, 2, 3]
    text = replicated(start, Size(replicate=[1, 1, 2]), two)
    masses = text.split("Masses")[1].split("Atoms")[0].split()
    assert masses == ["1", "1.008", "2", "2.014", "3", "14"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbols": ["H", "Xq"]}, "not a chemical element"),
        ({"types": ["H"], "symbols": ["H"]}, "holds N"),
    ],
)
def test_impossible_starts_are_refused_in_one_line(tmp_path, change, said):
    path = tmp_path / "start.extxyz"
    ase.io.write(path, molecule(CELLS["cube"]))
    with pytest.raises(LegatoError, match=said) as caught:
        read_start(settings(path, **change))
    assert "\n" not in str(caught.value)


def test_structures_without_three_periodic_directions_are_refused(tmp_path):
    atoms = molecule(CELLS["cube"])
    atoms.pbc = [True, True, False]
    path = tmp_path / "slab.extxyz"
    ase.io.write(path, atoms)
    with pytest.raises(LegatoError, match="not periodic"):
        read_start(settings(path))


def test_several_frames_need_a_choice(tmp_path):
    path = tmp_path / "many.extxyz"
    ase.io.write(path, [molecule(CELLS["cube"])] * 2)
    with pytest.raises(LegatoError, match="choose one"):
        read_start(settings(f"{path}@:"))
