"""From what LAMMPS leaves to candidates."""

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from improve_cases import liquid

from nequip_legato.improve.explore import EVENTS, STATES
from nequip_legato.improve.gather import (
    Candidate,
    Known,
    closest,
    committee_deviations,
    flag,
    gather,
    read_dump,
)
from nequip_legato.improve.settings import Observe
from nequip_legato.stability.records import Record
from nequip_legato.stability.run.inputs import END_DUMP
from nequip_legato.stability.run.settings import Bonds, Criteria, Settings

BONDS = [Bonds(center="N", neighbor="H", count=3, min=0.7, max=1.3)]
SETTINGS = Settings(
    models=[], structure="", types=["H", "N"], symbols=["H", "N"], criteria=Criteria(bonds=BONDS)
)
# molecules have H-H 1.63 and N-H 1.02; between molecules nothing is closer than 2
KNOWN = Known(
    ["H", "N"],
    np.array([[1.5, 0.95], [0.95, 2.5]]),
    {(1, 2): [(1.2, 1.8)]},
)


def text_of(atoms, step: int) -> str:
    """A state as LAMMPS dumps it."""
    lengths = atoms.cell.lengths()
    lines = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
    lines += ["ITEM: BOX BOUNDS pp pp pp", *(f"0.0 {x}" for x in lengths)]
    lines.append("ITEM: ATOMS id type x y z vx vy vz fx fy fz v_id")
    for k in range(len(atoms)):
        x = " ".join(f"{v:.9f}" for v in atoms.positions[k])
        number = atoms.arrays["id"][k]
        lines.append(f"{number} {atoms.arrays['type'][k]} {x} 0 0 0 {0.1 * k} 0 0 {number}")
    return "\n".join(lines) + "\n"


def contact(depth: float, *, seed: int = 1, pair=(1, 41)):
    """A state in which a hydrogen has come so much of 1.5 Angstrom close to another molecule's."""
    atoms = liquid(27, seed=seed, spacing=6.0)
    a, b = pair
    outwards = atoms.get_distance(a - a % 4, a, mic=True, vector=True)  # from its nitrogen
    atoms.positions[b] = atoms.positions[a] + 1.5 * depth * outwards / np.linalg.norm(outwards)
    atoms.wrap()
    return atoms


def record(run: str, *, failed: bool = False, atoms: int = 108) -> Record:
    return Record(
        run=run, model="m", group="g", training_seed="s", atoms=atoms, velocity_seed=1,
        ensemble="nvt", temperature=300.0, timestep=1.0, step_limit=100,
        outcome="failed" if failed else "censored", steps=100,
        criterion="largest_force" if failed else None, wall=1.0,
    )  # fmt: skip


def write(folder: Path, run: str, name: str, states) -> None:
    place = folder / "runs" / run
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text("".join(text_of(atoms, step) for step, atoms in states))


def gathered(folder: Path, records, **changes) -> list[Candidate]:
    observe = Observe(every=5, **changes)
    return gather(folder, records, SETTINGS, known=KNOWN, observe=observe, bonds=BONDS)


def test_quiet_states_are_not_flagged():
    assert flag(liquid(27), SETTINGS, KNOWN) is None


@pytest.mark.parametrize("depth", [0.7, 0.9, 0.99])
def test_a_contact_flags_its_two_atoms(depth):
    reason, mask, severity = flag(contact(depth), SETTINGS, KNOWN)
    assert reason == "contact"
    assert np.flatnonzero(mask).tolist() == [1, 41]
    assert severity == pytest.approx(1 - depth, abs=1e-6)


def test_wrong_bonds_and_gaps():
    atoms = liquid(27, spacing=6.0)
    away = atoms.get_distance(0, 1, mic=True, vector=True)
    atoms.positions[1] += 0.5 * away / np.linalg.norm(away)  # 1.5 Angstrom: in the gap, too
    reason, mask, severity = flag(atoms, SETTINGS, KNOWN)
    assert (reason, np.flatnonzero(mask).tolist(), severity) == ("bonds", [0], 1.0)
    free = Settings(models=[], structure="", types=["H", "N"], symbols=["H", "N"])
    reason, mask, severity = flag(atoms, free, KNOWN)
    assert (reason, np.flatnonzero(mask).tolist()) == ("gap", [0, 1])
    distance = atoms.get_distance(0, 1, mic=True)
    assert severity == pytest.approx(min(distance - 1.2, 1.8 - distance), abs=1e-6)


def test_an_episode_is_its_first_and_its_worst_state(tmp_path):
    depths = [0.97, 0.9, 0.8, 0.93]
    states = [(5 * k, contact(d)) for k, d in enumerate(depths, 1)]
    states.append((25, liquid(27)))  # dumped, but quiet
    states.append((100, contact(0.95)))  # the same atoms, much later
    states.append((105, contact(0.96, pair=(9, 45))))  # others
    write(tmp_path, "m/s/nvt-1", EVENTS, states)
    found = gathered(tmp_path, [record("m/s/nvt-1")])
    assert [c.step for c in found] == [5, 15, 100, 105]
    assert {c.reason for c in found} == {"contact"}
    assert not any(c.failed for c in found)


def test_the_end_of_a_failed_run_counts_and_hopeless_states_do_not(tmp_path):
    write(tmp_path, "m/s/nvt-1", END_DUMP, [(100, liquid(27))])
    write(tmp_path, "m/s/nvt-2", END_DUMP, [(100, liquid(27))])
    write(tmp_path, "m/s/nvt-3", EVENTS, [(5, contact(0.3))])
    runs = [record("m/s/nvt-1", failed=True), record("m/s/nvt-2"), record("m/s/nvt-3")]
    (end,) = gathered(tmp_path, runs)
    assert (end.reason, end.failed, end.run) == ("largest_force", True, "m/s/nvt-1")
    assert np.flatnonzero(end.atoms.arrays["flagged"]).tolist() == [107]  # the largest force
    assert len(gathered(tmp_path, runs, lowest_ratio=0.2)) == 2


def test_one_run_does_not_crowd_out_the_others(tmp_path):
    states = [(1000 * k, contact(0.9)) for k in range(1, 9)]
    write(tmp_path, "m/s/nvt-1", EVENTS, states)
    found = gathered(tmp_path, [record("m/s/nvt-1")], per_run=3)
    assert [c.step for c in found] == [1000, 5000, 8000]


def test_a_dump_that_was_cut_off_keeps_its_whole_states(tmp_path):
    path = tmp_path / "x.dump"
    text = text_of(liquid(8), 5) + text_of(liquid(8), 10)
    for end in (len(text), len(text) - 40, len(text) // 2 + 30):
        path.write_text(text[:end])
        steps = [atoms.info["step"] for atoms in read_dump(path, SETTINGS)]
        assert steps in ([5, 10], [5])
        assert (len(steps) == 2) == (end == len(text))
    assert list(read_dump(tmp_path / "none", SETTINGS)) == []


def test_types_never_seen_together_say_nothing():
    atoms = contact(0.5)
    nothing = Known(["H", "N"], np.full((2, 2), np.inf))
    assert closest(atoms, nothing)[0] == np.inf
    assert flag(atoms, Settings(models=[], structure="", types=["H", "N"]), nothing) is None


class Shifted(EMT):
    """Forces that are off by a vector on one atom."""

    def __init__(self, atom: int, off: float) -> None:
        super().__init__()
        self.atom, self.off = atom, off

    def calculate(self, *arguments) -> None:
        super().calculate(*arguments)
        self.results["forces"][self.atom] += [self.off, 0.0, 0.0]


def test_a_committee_points_at_the_atom_it_quarrels_about(tmp_path):
    committee = [EMT(), Shifted(7, 2.0), Shifted(7, 4.0)]
    deviations = committee_deviations(liquid(8), committee)
    expected = np.zeros(32)
    expected[7] = np.std([0.0, 2.0, 4.0], ddof=1)
    np.testing.assert_allclose(deviations, expected, atol=1e-10)
    write(tmp_path, "m/s/nvt-1", STATES, [(100, liquid(8)), (200, liquid(8, seed=2))])
    found = gather(
        tmp_path, [record("m/s/nvt-1", atoms=32)], SETTINGS, known=KNOWN, observe=Observe(),
        bonds=BONDS, committee=committee,
    )  # fmt: skip
    (candidate,) = found
    assert candidate.reason == "committee"
    assert np.flatnonzero(candidate.atoms.arrays["flagged"]).tolist() == [7]
    ase.io.write(io.StringIO(), candidate.atoms, format="extxyz")
