"""Do models that were trained with SAM fail later with quantum beads?

    python sam.py --work WORK [--workers 2]     goes on where it was stopped

Pairs of the models of benchmarks/fidelity_scaling, plain and with SAM (rho 0.01), from the same
training seeds: equal initial weights and order of the frames. They are deployed with walls and run
the molecule of examples/nh3_quantum/failures.yaml, classical and PIGLET, with several velocity
seeds. Prints failures and rates, and the ratio within training seeds; writes sam.json.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from math import isfinite
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fidelity_scaling"))
from training import TRAINING_FRAMES, Training, metrics, train_all  # noqa: E402

from nequip_legato.files import write_atomically  # noqa: E402
from nequip_legato.quantum.records import QuantumRecord  # noqa: E402
from nequip_legato.stability.records import read_records  # noqa: E402
from nequip_legato.stability.statistics.estimate import Estimate  # noqa: E402
from nequip_legato.stability.statistics.rates import group_rate, rate_ratio  # noqa: E402

EXAMPLE = HERE.parents[1] / "examples" / "nh3_quantum"
PROGRAMS = Path(sys.executable).parent
# Chosen before any of these models had run with beads; six pairs, not eight, for lack of time, too.
# If lives of the models of one kind scatter by a factor of two, they find a factor of 3 with a
# probability of about 0.6.
SEEDS = tuple(range(31, 37))
EPOCHS = 10
GROUPS: dict[str, dict[str, object]] = {"plain": {}, "sam_0.01": {"rho": 0.01}}
VELOCITIES = {"velocity_seeds": 4, "first_velocity_seed": 101}


def main() -> None:
    """Train, deploy, run, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    options = parser.parse_args()
    work = options.work.absolute()
    trainings = [
        Training(group, seed, EPOCHS, callback, work / "models" / f"{group}-{seed}")
        for seed in SEEDS
        for group, callback in GROUPS.items()
    ]
    train_all(trainings, workers=options.workers)
    for training in trainings:
        _deploy(training)
    path = _campaign(trainings, work)
    _run("nequip-legato", "quantum", "run", path, f"--workers={options.workers}")
    records = read_records(path.with_suffix(""), QuantumRecord)
    errors = {t.name: 1000 * metrics(t)["test0_epoch/forces_rmse"] for t in trainings}
    content = [_compare(method, records) for method in ("classical", "piglet")]
    print(json.dumps(content, indent=1))
    rows = [
        {
            "model": r.model,
            "method": r.method,
            "velocity_seed": r.velocity_seed,
            "time_ps": round(r.time, 4),
            "failed": r.failed,
            "criterion": r.criterion,
        }
        for r in records
    ]
    kept = {"force_rmse_meV_A": errors, "comparison": content, "runs": rows}
    write_atomically(HERE / "sam.json", json.dumps(kept, indent=1) + "\n")


def _run(program: str, *arguments: object) -> None:
    command = [str(PROGRAMS / program), *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _file(training: Training) -> Path:
    return training.folder / "wall.nequip.pth"


def _deploy(training: Training) -> None:
    if not _file(training).is_file():
        given = ("--frames", TRAINING_FRAMES, "--fence=wall")
        _run("nequip-deploy", "build", training.checkpoint, _file(training), *given)


def _campaign(trainings: list[Training], work: Path) -> Path:
    """The example's campaign with these models."""
    content = yaml.safe_load((EXAMPLE / "failures.yaml").read_text()) | VELOCITIES
    content["models"] = [
        {
            "name": t.name,
            "file": str(_file(t)),
            "group": t.variant,
            "training_seed": str(t.seed),
        }
        for t in trainings
    ]
    for system in content["systems"]:
        system["structure"] = str(EXAMPLE / system["structure"])
    path = work / "sam.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _compare(method: str, records: list[QuantumRecord]) -> dict[str, object]:
    """Failures and rates of both groups, and plain over SAM within seeds."""
    plain, sam = GROUPS
    own = [r for r in records if r.method == method]
    ratio = rate_ratio(sam, plain, own)
    return {
        "method": method,
        "groups": {group: _group(group, own) for group in GROUPS},
        "plain_over_sam": _interval(ratio.ratio),
        "basis": ratio.basis,
        "power_for_a_factor_of_3": ratio.power and round(ratio.power.probability, 2),
    }


def _group(group: str, records: list[QuantumRecord]) -> dict[str, object]:
    own = [r for r in records if r.group == group]
    return {
        "runs": len(own),
        "failed": sum(r.failed for r in own),
        "simulated_ps": round(sum(r.time for r in own), 2),
        "per_1000_atom_ps": _interval(group_rate(group, own).rate),
        "criteria": Counter(r.criterion for r in own if r.failed),
    }


def _interval(estimate: Estimate | None) -> list[float | None] | None:
    """Value and the two ends of its interval, where they are known."""
    if estimate is None:
        return None
    ends = (estimate.value, estimate.low, estimate.high)
    return [round(x, 3) if isfinite(x) else None for x in ends]


if __name__ == "__main__":
    main()
