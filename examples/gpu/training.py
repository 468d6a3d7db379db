"""Time of a training step with and without SAM on a device: one row for each model.

python training.py --out FILE [--device cpu] [--rounds N] [MODEL...]
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from nequip_legato.files import write_atomically

sys.path.append(str(Path(__file__).absolute().parents[2] / "benchmarks" / "training"))
from step_times import measure

METHODS = ("plain", "SAM")


def main() -> int:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["medium", "small"], metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4, help="frames of 64 atoms per step")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    rows = []
    for model in chosen.models:
        steps = measure(
            model, chosen.batch, rounds=chosen.rounds, only=METHODS, device=chosen.device
        )
        # the first round includes compiling and choosing kernels
        counted = [s for s in steps if s["round"] > 0] or steps
        row: dict = {"model": model, "batch": chosen.batch}
        for method in METHODS:
            row[method] = median(s["wall"] for s in counted if s["method"] == method)
        row["ratio"] = row["SAM"] / row["plain"]
        rows.append(row)
        print(row, flush=True)
        write_atomically(chosen.out, json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
