"""Structures: told apart, cut without harm, and chosen so that they differ."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from improve_cases import liquid
from matscipy.neighbours import neighbour_list

from nequip_legato.errors import LegatoError
from nequip_legato.improve.choose import choose, descriptors
from nequip_legato.improve.settings import Choose
from nequip_legato.improve.structures import cut, id_of, read_structures, write_structures
from nequip_legato.stability.run.settings import Bonds

BONDS = [Bonds(center="N", neighbor="H", count=3, max=1.3)]
CUTOFF = 4.0


def surroundings(atoms: Atoms, center: int) -> np.ndarray:
    """Sorted (element, distance) of all neighbors within the cutoff."""
    i, j, d = neighbour_list("ijd", atoms, CUTOFF)
    rows = [
        (int(atoms.numbers[b]), round(float(x), 6))
        for a, b, x in zip(i, j, d, strict=True)
        if a == center
    ]
    return np.array(sorted(rows))


def test_an_id_survives_files_and_labels_and_nothing_else(tmp_path):
    atoms = liquid(8)  # positions with more decimals than files have
    write_structures(tmp_path / "a.extxyz", [atoms])
    (again,) = read_structures(tmp_path / "a.extxyz", "test")
    again.info["temperature"] = 300
    assert id_of(again) == id_of(atoms)
    others = [atoms.copy() for _ in range(4)]
    others[0].positions[3, 1] += 2e-6
    others[1].numbers[0], others[1].numbers[1] = others[1].numbers[1], others[1].numbers[0]
    others[2].set_cell(atoms.cell.array * 1.001)
    others[3].pbc = False
    assert len({id_of(x) for x in [atoms, *others]}) == 5


def test_a_small_cell_is_kept_whole():
    atoms = liquid(8)
    kept = cut(atoms, Choose(whole=32), cutoff=CUTOFF)
    np.testing.assert_allclose(kept.positions, atoms.positions, atol=1e-8)
    np.testing.assert_array_equal(kept.arrays["flagged"], atoms.arrays["flagged"])


@pytest.mark.parametrize("flagged", [0, 100, 255])
def test_a_ball_keeps_surroundings_and_whole_molecules(flagged):
    atoms = liquid(64)
    atoms.arrays["flagged"] = np.arange(len(atoms)) == flagged
    kept = cut(atoms, Choose(whole=50, radius=5.0), cutoff=CUTOFF, bonds=BONDS)
    assert 20 < len(kept) < len(atoms)
    center = int(np.flatnonzero(kept.arrays["flagged"])[0])
    np.testing.assert_array_equal(surroundings(kept, center), surroundings(atoms, flagged))
    # every molecule has its three hydrogens at the distances that they had
    names = kept.arrays["names"]
    i, j, d = neighbour_list("ijd", kept, 1.3)
    bonded = (names[i] == "N") & (names[j] == "H")
    counts = np.bincount(i[bonded], minlength=len(kept))
    assert (counts[names == "N"] == 3).all()
    assert np.bincount(j[bonded], minlength=len(kept))[names == "H"].tolist() == [1] * sum(
        names == "H"
    )
    assert d[bonded].max() < 1.1
    # vacuum on all sides: nothing sees its own image
    assert not neighbour_list("S", kept, CUTOFF).any()


def test_without_bonds_a_ball_is_a_ball():
    atoms = liquid(64)
    kept = cut(atoms, Choose(whole=50, radius=5.0), cutoff=CUTOFF)
    center = int(np.flatnonzero(kept.arrays["flagged"])[0])
    assert kept.get_distances(center, range(len(kept))).max() <= 5.0 + 1e-6


def test_a_narrow_cell_is_never_cut():
    atoms = liquid(8)
    assert len(cut(atoms, Choose(whole=1, radius=5.0), cutoff=CUTOFF)) == len(atoms)


def test_no_flagged_atom_is_an_error():
    atoms = liquid(8)
    atoms.arrays["flagged"][:] = False
    with pytest.raises(LegatoError, match="without flagged atoms"):
        cut(atoms, Choose(), cutoff=CUTOFF)


def dimers(distances: list[float]) -> list[Atoms]:
    """Two molecules with one hydrogen at each distance of another's nitrogen."""
    result = []
    for distance in distances:
        one, two = molecule("NH3"), molecule("NH3")
        two.positions += one.positions[1] - two.positions[0] + [distance, 0.0, 0.0]
        both = one + two
        both.set_cell([20.0] * 3)
        both.pbc = True
        both.arrays["flagged"] = np.isin(np.arange(8), [1, 4])
        result.append(both)
    return result


def test_descriptors_do_not_depend_on_orientation_and_order():
    atoms = dimers([1.6])[0]
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), center="COP")
    order = np.random.default_rng(0).permutation(len(turned))
    found = descriptors([atoms, turned[order], dimers([1.9])[0]], cutoff=CUTOFF)
    np.testing.assert_allclose(found[0], found[1], atol=1e-8)
    assert np.linalg.norm(found[0] - found[2]) > 0.05


def test_far_away_atoms_do_not_count():
    atoms = dimers([1.6])[0]
    more = atoms + Atoms("NH", [[10.0, 10.0, 10.0], [11.0, 10.0, 10.0]])
    more.arrays["flagged"] = np.append(atoms.arrays["flagged"], [False, False])
    found = descriptors([atoms, more], cutoff=CUTOFF)
    np.testing.assert_allclose(found[0], found[1], atol=1e-8)


def test_chosen_structures_are_far_apart():
    near = [1.5, 1.501, 1.502, 1.503]
    structures = dimers([*near, 2.2, 3.2])
    places = choose(structures, number=3, cutoff=CUTOFF)
    assert places[0] == 0
    assert sorted(places[1:]) == [4, 5]
    # what is known is not taken again, nor what is like it
    places = choose(structures, number=2, cutoff=CUTOFF, known=[structures[4], structures[0]])
    assert 5 in places
    assert not {0, 4} & set(places)


def test_few_structures_are_all_taken_but_none_twice():
    structures = dimers([1.5, 1.5, 2.0])
    assert choose(structures, number=5, cutoff=CUTOFF) == [0, 2]
    assert choose(structures, number=5, cutoff=CUTOFF, known=structures[:1]) == [2]
    assert choose([], number=5, cutoff=CUTOFF) == []


def test_a_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "x.extxyz"
    path.write_text("nonsense\n")
    with pytest.raises(LegatoError, match=r"labels: ASE cannot read .*x\.extxyz"):
        read_structures(path, "labels")
    ase.io.write(path, molecule("NH3"))
    assert len(read_structures(path, "labels")) == 1
