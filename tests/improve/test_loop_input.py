"""Whatever is wrong with a loop gives one clear line, and nothing is run."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from improve_cases import loop_settings, write_loop
from processes import run_process

from nequip_legato.cli import main
from nequip_legato.errors import LegatoError
from nequip_legato.improve.loop import check_before
from nequip_legato.improve.resolve import campaign_of, load_improve_settings


@pytest.fixture
def loop(tmp_path):
    """Function: changes of settings -> YAML file; a dotted key changes what is deeper."""
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_text("not looked into")

    def write(**changes) -> Path:
        settings = loop_settings(checkpoint)
        for key, value in changes.items():
            *outer, last = key.split("__")
            inner = settings
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = value
        path = write_loop(tmp_path, checkpoint)
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ronds": 3}, "ronds"),
        ({"training__epoch": 3}, "epoch"),
        ({"campaign__temprature": 3}, "temprature"),
        ({"life__sizes": [{"replicat": [1, 1, 1]}]}, "replicat"),
        ({"rounds": 0}, "rounds and jobs must be at least 1"),
        ({"jobs": "two"}, "jobs"),
        ({"target": -1.0}, "target"),
        ({"labels": "file"}, "labels: 'file' is neither 'files' nor a calculator"),
        ({"labels": {"method": "GFN1-xTB"}}, "labels: needs _target_"),
        ({"labels": 3}, "labels"),
        ({"choose__number": 0}, "choose: number"),
        ({"choose__radius": -1.0}, "choose: radius"),
        ({"observe__every": 0}, "observe: every"),
        ({"observe__lowest_ratio": 1.5}, "observe: lowest_ratio"),
        ({"observe__committee": ["gone.nequip.pth"]}, "observe: committee"),
        ({"checks__largest_force": 0.0}, "checks: largest_force"),
        ({"checks__force_tolerance": 0.0}, "checks: force_tolerance"),
        ({"training__epochs": 0}, "training: epochs"),
        ({"training__learning_rate": 0.0}, "training: learning_rate"),
        ({"training__robust": -0.1}, "training: robust"),
        ({"fence__kind": "hedge"}, "fence: kind is wall, gaps or none"),
        ({"fence__frames": "some"}, "fence: frames is original or all"),
        ({"fence__temperature": -5.0}, "temperature"),
        ({"file": "model.pt"}, "file is model.nequip.pth or model.nequip.pt2"),
        ({"checkpoint": "gone.ckpt"}, "checkpoint: the file"),
        ({"test_frames": "gone.extxyz"}, "test_frames: the file"),
        ({"campaign__structure": "gone.extxyz"}, "structure: the file"),
        ({"campaign__models": []}, "models is set by the loop; remove it"),
        ({"life__velocity_seeds": 10_001}, "set first_velocity_seed in life"),
        ({"explore__first_velocity_seed": 2}, "are among those that round 1 explores, 2 to 3"),
        ({"explore__output": "here"}, "output is set by the loop; remove it"),
        ({"explore__timestep": 0.0}, "positive and finite (in campaign or explore)"),
        ({"life__types": []}, "types is empty"),
        ({"campaign__equilibration": {"model": "gone.pth"}}, "equilibration: model"),
        ({"campaign__equilibration": 3}, "campaign: Merge error: int is not a"),
        ({"explore__criteria": [1]}, "explore: Merge error: list is not a subclass of Criteria"),
        ({"campaign__stepz": 3}, "campaign: Key 'stepz' not in"),
        ({"campaign__stepz": 3}, "(key 'stepz'); did you mean 'steps'? Known are: structure"),
        ({"life__criteria": {"evry": 3}}, "(key 'criteria.evry'); did you mean 'every'?"),
        ({"explore__restart_every": 0}, "explore: restart_every: write off instead of 0"),
        ({"campaign__model": "a"}, "known are: structure types"),
        ({"campaign__types": [{"H": 1}]}, "types[0]: {'H': 1} is not a single value"),
        # no matter that both parts replace it
        ({"campaign__timestep": "fast", "explore__timestep": 1.0, "life__timestep": 1.0},
         "campaign: Value 'fast' of type"),
        ({"path": "x"}, "path"),
        ({"rounds": 10**9}, "rounds: LAMMPS takes seeds up to"),
    ],
)  # fmt: skip
def test_bad_settings_are_one_line(loop, tmp_path, capsys, changes, line):
    path = loop(**changes)
    assert main(["improve", str(path)]) == 1
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("nequip-legato: error: ")
    assert not (tmp_path / "loop").exists()


def test_files_that_are_no_loop(tmp_path, capsys):
    for text in ("- 1\n", "{", "a: [\n"):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        assert main(["improve", str(path)]) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["improve", str(tmp_path / "none.yaml")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_wrong_checkpoints_and_calculators_are_found_before_anything_runs(loop, tmp_path):
    with pytest.raises(LegatoError, match="not a nequip checkpoint"):
        check_before(load_improve_settings(loop()))
    with pytest.raises(LegatoError, match=r"labels: the calculator tblite\.ase\.Nothing"):
        check_before(load_improve_settings(loop(labels__target="x", labels={"_target_":
                     "tblite.ase.Nothing"})))  # fmt: skip
    assert not (tmp_path / "loop").exists()


def test_both_campaigns_are_checked_against_the_checkpoint(tmp_path, checkpoint):
    """Before anything is deployed or run."""
    longer = {"bonds": [{"center": "N", "neighbor": "H", "count": 3, "max": 99.0}]}
    for number, (changes, line) in enumerate(
        [
            ({"explore": {"types": ["H", "C"], "symbols": ["H", "N"]}}, "the model knows no C"),
            ({"explore": {"criteria": longer}}, "max 99 is not below the cutoff"),
            ({"life": {"criteria": longer}}, "max 99 is not below the cutoff"),
            ({"life": {"equilibration": {"steps": 5, "model": "start.extxyz"}}}, "start.extxyz"),
        ]
    ):
        path = write_loop(tmp_path / str(number), checkpoint(), **changes)
        with pytest.raises(LegatoError, match=line):
            check_before(load_improve_settings(path))


def test_velocities_of_exploring_and_testing_are_never_the_same(loop):
    settings = load_improve_settings(loop(explore__steps=77, life__velocity_seeds=5))
    seeds = {}
    for part in ("explore", "life"):
        for number in (1, 2):
            files = {"model": settings.checkpoint, "start": settings.checkpoint}
            found = campaign_of(settings, part, number=number, **files)
            first = found.first_velocity_seed
            seeds[part, number] = set(range(first, first + found.velocity_seeds))
            assert found.steps == (77 if part == "explore" else 40)
            assert bool(found.criteria.bonds) == (part == "life")
    assert seeds["life", 1] == seeds["life", 2]
    assert len(seeds["life", 1]) == 5
    assert not seeds["explore", 1] & seeds["explore", 2]
    assert not seeds["life", 1] & (seeds["explore", 1] | seeds["explore", 2])


def test_what_the_user_asks_of_exploring_comes_last(loop):
    bonds = [{"center": "N", "neighbor": "H", "count": 3, "max": 2.0}]
    path = loop(explore={"criteria": {"bonds": bonds, "closest_ratio": 0.7}})
    settings = load_improve_settings(path)
    files = {"model": settings.checkpoint, "start": settings.checkpoint}
    criteria = campaign_of(settings, "explore", number=1, **files).criteria
    assert (criteria.closest_ratio, criteria.bonds[0].max) == (0.7, 2.0)
    assert criteria.temperature_window is None  # of the campaign


def test_dry_run_says_what_it_would_do_and_does_nothing(tmp_path, checkpoint, capsys):
    path = write_loop(tmp_path, checkpoint(), rounds=2, target=0.5)
    assert main(["improve", str(path), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "explore: 2 runs, up to 5,120 atom steps" in text
    assert "label up to 4 structures, by ase.calculators.emt.EMT" in text
    assert "up to 8 added frames" in text  # in round 2
    assert "errors on 2 test frames" in text
    assert "round 2" in text
    assert not (tmp_path / "loop").exists()


@pytest.mark.slow
def test_without_the_libraries_for_choosing_the_line_says_what_to_install(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "skmatter.py").write_text("raise ImportError('no skmatter')\n")
    shutil.copy(Path(__file__).parent / "improve_cases.py", blocked)
    code = """
from improve_cases import liquid
from nequip_legato.errors import LegatoError
from nequip_legato.improve.choose import choose
try:
    choose([liquid(8, seed=s) for s in (1, 2)], number=1, cutoff=4.0)
except LegatoError as problem:
    print(problem)
"""
    tests = Path(__file__).parents[1]
    environment = {"PYTHONPATH": f"{blocked}:{tests}", "PATH": "", "HOME": str(tmp_path)}
    done = run_process(sys.executable, "-c", code, environment=environment, inherit=False)
    assert "pip install 'nequip-legato[improve]'" in done.stdout


def test_the_example_is_a_loop(tmp_path, checkpoint, capsys):
    example = Path(__file__).parents[2] / "examples" / "nh3"
    shutil.copy(example / "improve.yaml", tmp_path)
    (tmp_path / "data").symlink_to(example / "data")
    (tmp_path / "training").symlink_to(checkpoint().parent)
    path = tmp_path / "improve.yaml"
    path.write_text(path.read_text().replace("training/best.ckpt", "training/model.ckpt"))
    with path.open("a") as stream:  # the tiny model's own training has no test set
        stream.write("test_frames: data/test.extxyz\n")
    assert main(["improve", str(path), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "by tblite.ase.TBLite" in text
    assert "errors on 84 test frames" in text
