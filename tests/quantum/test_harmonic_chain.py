"""The whole chain on a potential known in closed form: LAMMPS' own springs, in real runs."""

import numpy as np
import pytest
from springs import SPRINGS, frequency, run_campaign, write_campaign, write_solid

from nequip_legato.quantum import harmonic
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.report import report
from nequip_legato.quantum.units import LIGHT
from nequip_legato.stability.records import read_record


@pytest.mark.slow
def test_kinetic_energies_and_radii_of_springs(tmp_path):
    """Several numbers of beads and temperatures, against the closed form; P = 1 is classical."""
    path = write_solid(
        tmp_path,
        8,
        methods=["classical", "pimd"],
        beads=[1, 2],
        temperatures=[150.0, 500.0],
        isotopes=[{"name": "half", "masses": {"H": {"H": 0.5, "D": 0.5}}}],
        timestep=0.5,
        damping_fs=5.0,
        equilibration_steps=120,
        steps=400,
        sample_every=2,
        geometry={"rdf": "off"},
    )
    run_campaign(path)
    cells = report(path.with_suffix("")).cells
    assert len(cells) == 6
    for cell in cells:
        key = cell.key
        for name in ("H", "D", "N"):
            omega = frequency(cell.masses[name])
            exact = 3 * harmonic.kinetic_energy(omega, key.temperature, key.beads)
            got = cell.virial[name]
            if key.beads == 1:
                assert got.value == pytest.approx(exact)
                continue
            assert abs(got.value - exact) < 5 * got.error + 0.005 * exact, (key, name)
            got = cell.primitive[name]
            assert abs(got.value - exact) < 5 * got.error + 0.01 * exact, (key, name)
            square = 3 * harmonic.gyration_squared(
                omega, key.temperature, key.beads, cell.masses[name]
            )
            got = cell.gyration[name]
            assert abs(got.value - np.sqrt(square)) < 5 * got.error + 0.005 * np.sqrt(square)
        # the potential energy of springs is their kinetic energy; classically half of 3 N k T
        kinetic, potential = cell.kinetic, cell.potential
        gap = abs(potential.value - kinetic.value)
        assert gap < 5 * np.hypot(potential.error, kinetic.error) + 0.01 * kinetic.value, key


@pytest.mark.slow
def test_spectra_peak_where_springs_vibrate(tmp_path):
    """Classical dynamics and TRPMD, whose centroids of a harmonic system vibrate classically."""
    path = write_solid(
        tmp_path,
        2,
        models=[{"name": "springs", "commands": SPRINGS.replace("20.0", "5.0")}],
        methods=["classical", "trpmd"],
        beads=[2],
        engine="i-pi",
        temperatures=[300.0],
        isotopes=[{"name": "half", "masses": {"H": {"H": 0.5, "D": 0.5}}}],
        timestep=1.0,
        damping_fs=5000.0,
        equilibration_steps=20,
        steps=600,
        sample_every=50,
        velocity_every=4,
        geometry={"rdf": "off"},
    )
    run_campaign(path)
    cells = report(path.with_suffix("")).cells
    assert {c.key.method for c in cells} == {"classical", "trpmd"}
    for cell in cells:
        for name in ("H", "D", "N"):
            expected = frequency(cell.masses[name], 5.0) / (2 * np.pi * LIGHT)
            spectrum = cell.spectra[name]
            highest = spectrum.density.mean(axis=0).argmax()
            assert abs(spectrum.wavenumbers[highest] - expected) < 0.1 * spectrum.resolution


@pytest.mark.slow
def test_several_ranks_a_bead_and_starts_at_the_temperature(tmp_path):
    """Also of internal modes, none of which has a center of mass at rest; TRPMD in LAMMPS."""
    path = write_campaign(
        tmp_path,
        methods=["pimd", "trpmd"],
        beads=[2],
        ranks=4,
        equilibration_steps=0,
        steps=2,
        timestep=1e-6,
        sample_every=1,
        velocity_every=1,
    )
    run_campaign(path)
    (folder,) = path.with_suffix("").glob("runs/*/*/*-pimd-*")
    (other,) = path.with_suffix("").glob("runs/*/*/*-trpmd-*")
    assert Frames(other / "bead1" / "velocities.bin").count == 3
    record = read_record(other / "result.json", QuantumRecord)
    assert (record.ranks, record.beads, record.outcome) == (4, 2, "censored")
    kinetic = [
        float(row.split(",")[1])
        for bead in (1, 2)
        for row in (folder / f"bead{bead}" / "trace.csv").read_text().splitlines()[1:2]
    ]
    # the two modes together: normal modes and beads have the same sum
    assert sum(kinetic) / 2 == pytest.approx(200.0, rel=1e-3)
