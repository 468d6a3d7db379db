"""The cost of a training step with each method, relative to a plain step. See README.md.

python run.py            both models, all batch sizes; writes results/
python run.py --quick    small model, one batch size, one round, as a test
"""

import argparse
import os
from pathlib import Path

HERE = Path(__file__).parent.absolute()
CASES = (("small", 1), ("small", 4), ("small", 16), ("medium", 1), ("medium", 4), ("medium", 16))


def main() -> None:
    """Parse the options, measure, and write tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all methods")
    parser.add_argument(
        "--cases", nargs="+", metavar="MODEL:BATCH", help="e.g. small:4; default: all"
    )
    parser.add_argument("--add", action="store_true", help="add rounds to earlier ones")
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="with --add: only these, e.g. plain SAM"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    chosen = parser.parse_args()
    if chosen.methods and not chosen.add:
        parser.error("--methods needs --add: the table needs every method once")
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch
    from step_ratios import earlier, report, save
    from step_times import measure

    cases = CASES
    if chosen.cases:
        cases = [(name, int(batch)) for name, _, batch in (c.partition(":") for c in chosen.cases)]
    elif chosen.quick:
        cases = CASES[:1]
    folder = chosen.results / "quick" if chosen.quick else chosen.results
    for model, batch in cases:
        known = earlier(folder, model, batch) if chosen.add else []
        rounds = 1 if chosen.quick else chosen.rounds
        rows = measure(model, batch, rounds=rounds, only=chosen.methods)
        save(folder, model, batch, known + rows)  # at once: a later case may take long
        print(report(folder), flush=True)


if __name__ == "__main__":
    main()
