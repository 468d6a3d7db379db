"""Estimators against closed forms, on exactly sampled ring polymers and from exact energies."""

import numpy as np
import pytest
from ase import Atoms
from ring_polymers import harmonic_beads, record_of, write_dump, write_run

from nequip_legato.errors import LegatoError
from nequip_legato.quantum import harmonic
from nequip_legato.quantum.blocks import Mean, block_means, mean_of
from nequip_legato.quantum.estimators import measure
from nequip_legato.quantum.frames import Frames, join, truncate, write_frames
from nequip_legato.quantum.isotopes import MASSES, assign
from nequip_legato.quantum.thermodynamics import (
    fractionation,
    heat_capacity,
    substitution_free_energy,
)
from nequip_legato.quantum.units import BOLTZMANN, HBAR, MASS

SPRING = 20.0  # eV/Angstrom^2


def frequency(mass: float) -> float:
    """1/ps."""
    return float(np.sqrt(SPRING / (mass * MASS)))


def within(values: np.ndarray, exact: float) -> bool:
    """Whether a mean over blocks agrees with the exact one."""
    mean, error = mean_of(block_means(values))
    return abs(mean - exact) < 5 * error


@pytest.mark.parametrize("temperature", [100.0, 400.0])
@pytest.mark.parametrize("beads", [1, 3, 8])
def test_energies_and_radii_are_those_of_a_finite_number_of_beads(tmp_path, temperature, beads):
    """Two isotopes in one system, read back from LAMMPS' binary files in several chunks."""
    species = {"H": MASSES["H"], "D": MASSES["D"]}
    sites = Atoms("H6", np.arange(18).reshape(6, 3) * 2.0, cell=[40] * 3, pbc=True)
    types = np.array([1, 2, 1, 2, 2, 1])
    frames = 600
    moved = np.empty((beads, frames, 6, 3))
    for number, mass in enumerate(species.values(), 1):
        shape = (frames, 3, 3)
        sample = harmonic_beads(frequency(mass), temperature, beads, mass, shape, seed=number)
        moved[:, :, types == number] = sample
    write_run(tmp_path, sites, moved, SPRING)
    record = record_of(species, temperature=temperature, beads=beads)
    series = measure(tmp_path, record, types)
    for n, mass in enumerate(species.values()):
        omega = frequency(mass)
        exact = 9 * harmonic.kinetic_energy(omega, temperature, beads)
        if beads == 1:
            assert series.virial[:, n] == pytest.approx(4.5 * BOLTZMANN * temperature)
            assert series.primitive[:, n] == pytest.approx(4.5 * BOLTZMANN * temperature)
            assert series.gyration[:, n] == pytest.approx(0.0)
            continue
        assert within(series.virial[:, n], exact)
        assert within(series.primitive[:, n], exact)
        radius = 3 * harmonic.gyration_squared(omega, temperature, beads, mass)
        assert within(series.gyration[:, n], radius)
    # the virial theorem: for a harmonic potential both energies are the same
    total = sum(
        9 * harmonic.kinetic_energy(frequency(m), temperature, beads) for m in species.values()
    )
    assert within(series.potential, total)


def test_the_closed_forms_have_the_right_limits():
    """One bead is classical, many are quantum; the free energy's derivatives are the energies."""
    omega, temperature = 437.0, 200.0
    classical = 0.5 * BOLTZMANN * temperature
    assert harmonic.kinetic_energy(omega, temperature, 1) == pytest.approx(classical)
    quantum = harmonic.kinetic_energy_exact(omega, temperature)
    assert harmonic.kinetic_energy(omega, temperature, 4096) == pytest.approx(quantum, rel=1e-4)
    exact = (
        BOLTZMANN * temperature * np.log(2 * np.sinh(HBAR * omega / (2 * BOLTZMANN * temperature)))
    )
    assert harmonic.free_energy(omega, temperature, 4096) == pytest.approx(exact, rel=1e-4)
    # dF/dm = -K/m at a fixed spring, that is omega dF/domega / 2 = K
    step = 1e-4 * omega
    slope = (
        harmonic.free_energy(omega + step, temperature, 8)
        - harmonic.free_energy(omega - step, temperature, 8)
    ) / (2 * step)
    assert 0.5 * omega * slope == pytest.approx(harmonic.kinetic_energy(omega, temperature, 8))


@pytest.mark.parametrize("middle", [[], [1.42], [1.2, 1.6]])
def test_mass_integration_gives_the_free_energy_difference(middle):
    """From kinetic energies at some masses alone, better with more of them."""
    temperature, beads = 200.0, 16
    masses = [MASSES["H"], *middle, MASSES["D"]]
    kinetic = [
        Mean(harmonic.kinetic_energy(frequency(m), temperature, beads), 1e-5) for m in masses
    ]
    got = substitution_free_energy(masses, kinetic)
    ends = [harmonic.free_energy(frequency(m), temperature, beads) for m in (masses[0], masses[-1])]
    assert got.value == pytest.approx(ends[1] - ends[0], rel=2e-2 / 10 ** len(middle))
    assert 0 < got.error < 1e-4


def test_the_heavy_isotope_prefers_the_stiffer_well():
    """Sign and size of the fractionation between two harmonic wells."""
    temperature, beads = 300.0, 32
    stiff, soft = (
        substitution_free_energy(
            [MASSES["H"], 1.42, MASSES["D"]],
            [
                Mean(harmonic.kinetic_energy(frequency(m) * scale, temperature, beads), 0.0)
                for m in (MASSES["H"], 1.42, MASSES["D"])
            ],
        )
        for scale in (1.0, 0.5)
    )
    alpha = fractionation(stiff, soft, temperature).value

    def ratio(scale: float) -> float:
        light, heavy = (
            harmonic.free_energy(frequency(MASSES[k]) * scale, temperature, beads) for k in "HD"
        )
        return -(heavy - light) / (BOLTZMANN * temperature)

    assert alpha == pytest.approx(1000 * (ratio(1.0) - ratio(0.5)), rel=0.01)
    assert alpha > 0


def test_heat_capacity_of_classical_oscillators_is_one_each():
    """Total energies k T for each degree of freedom."""
    low, high = (Mean(BOLTZMANN * t, 1e-6) for t in (200.0, 240.0))
    found = heat_capacity(low, high, (200.0, 240.0))
    assert found.value == pytest.approx(1.0)
    assert found.error == pytest.approx(np.sqrt(2) * 1e-6 / (40 * BOLTZMANN))


def test_files_cut_short_count_their_whole_frames(tmp_path):
    """After a kill in the middle of a frame, and before a run goes on."""
    data = np.random.default_rng(1).normal(size=(7, 5, 6))
    path = tmp_path / "frames.bin"
    write_dump(path, data, every=10, chunks=2)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 3])
    frames = Frames(path)
    assert frames.count == 6
    assert np.array_equal(frames.read(2, 3), data[2:5])
    truncate(path, before=31)
    assert np.array_equal(Frames(path).read(0, 9), data[:4])
    truncate(path, before=30)
    assert Frames(path).count == 3
    path.write_bytes(b"something else")
    with pytest.raises(LegatoError, match="not a binary dump"):
        Frames(path)


def test_parts_of_a_resumed_run_make_one_file(tmp_path):
    """Steps that were done twice count once, as the later ones; half a frame is none."""
    data = np.random.default_rng(2).normal(size=(9, 5, 6))
    path, part = tmp_path / "frames.bin", tmp_path / "part.bin"
    write_dump(part, data[:6], every=10)
    join(part, path)
    assert not part.exists()
    later = data.copy()
    later[4:] += 1.0
    write_frames(part, np.arange(40, 90, 10), later[4:], "xu yu zu fx fy fz")
    part.write_bytes(part.read_bytes()[:-5])
    # one frame may differ in the size of its head
    write_dump(path, data[:6], every=10, columns="xu yu zu fx fy fz")
    join(part, path)
    frames = Frames(path)
    assert (frames.first, frames.every, frames.count) == (0, 10, 8)
    assert np.array_equal(frames.read(0, 8), later[:8])
    part.write_bytes(b"")
    join(part, path)
    assert Frames(path).count == 8


def test_partial_substitution_takes_the_asked_share_at_random():
    """And is the same for the same seed."""
    types = np.array([0, 0, 1, 0] * 8)
    isotopes = {"H": {"H": 0.5, "D": 0.25, "T": 0.25}}
    chosen, species = assign(types, ["H", "N"], ["H", "N"], isotopes, seed=3)
    counts = {one.name: int((chosen == n).sum()) for n, one in enumerate(species)}
    assert counts == {"H": 12, "D": 6, "T": 6, "N": 8}
    assert {one.name: one.mass for one in species if one.name in MASSES} == MASSES
    assert (types[chosen == 3] == 1).all()
    again, _ = assign(types, ["H", "N"], ["H", "N"], isotopes, seed=3)
    other, _ = assign(types, ["H", "N"], ["H", "N"], isotopes, seed=4)
    assert np.array_equal(chosen, again)
    assert not np.array_equal(chosen, other)
