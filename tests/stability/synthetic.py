"""Simulated times to failure with a known law, for tests and for measuring coverage."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nequip_legato.stability.records import CENSORED, FAILED, Record, write_record


def simulate(
    generator: np.random.Generator,
    *,
    group: str = "plain",
    exponent: float = -0.29,
    scale: float = 200.0,
    shape: float | None = None,
    seeds: int = 4,
    runs: int = 10,
    sizes=(64, 512, 4096),
    limit=lambda atoms: 1e9,
    level_scatter: float = 0.0,
    slope_scatter: float = 0.0,
    timestep: float = 1.0,
    ensemble: str = "nvt",
) -> list[Record]:
    """log t = log scale + level_seed + (exponent + slope_seed) log(N / middle) + sigma W.

    Args:
        generator: of everything random.
        group: its name.
        exponent: mean over seeds.
        scale: ps, of the Weibull distribution at the geometric mean of the sizes.
        shape: of the Weibull distribution; default: that of the weakest link, -1 / exponent.
        seeds: training seeds.
        runs: velocity seeds.
        sizes: numbers of atoms.
        limit: atoms -> step limit.
        level_scatter: standard deviation over seeds of the level of log t.
        slope_scatter: of the exponent.
        timestep: fs.
        ensemble: its name.
    """
    sigma = 1.0 / shape if shape else -exponent
    middle = math.exp(float(np.mean(np.log(sizes))))
    records = []
    for seed in range(1, seeds + 1):
        level = generator.normal(0.0, level_scatter)
        slope = exponent + generator.normal(0.0, slope_scatter)
        for atoms in sizes:
            center = math.log(scale) + level + slope * math.log(atoms / middle)
            times = np.exp(center + sigma * np.log(generator.exponential(size=runs)))
            for number, time in enumerate(times, 1):
                steps = math.ceil(time * 1000.0 / timestep)
                failed = steps < limit(atoms)
                records.append(
                    Record(
                        run=f"{group}-{seed}/{atoms}/{ensemble}-{number}",
                        model=f"{group}-{seed}",
                        group=group,
                        training_seed=str(seed),
                        atoms=atoms,
                        velocity_seed=number,
                        ensemble=ensemble,
                        temperature=200.0,
                        timestep=timestep,
                        step_limit=int(limit(atoms)),
                        outcome=FAILED if failed else CENSORED,
                        steps=steps if failed else int(limit(atoms)),
                        criterion=("largest_force" if number % 3 else "temperature_high")
                        if failed
                        else None,
                        value=12.5 if failed else None,
                        threshold=10.0 if failed else None,
                        wall=1.0 + steps * atoms * 1e-9,
                    )
                )
    return records


def write_runs(folder: Path, records: Iterable[Record], traces: int = 6) -> Path:
    """A campaign's folder of runs; ``traces`` of those that failed have a trace."""
    for record in records:
        place = folder / "runs" / record.run
        place.mkdir(parents=True)
        write_record(record, place)
        if record.failed and traces > 0:
            traces -= 1
            rows = "".join(f"{s},{200 + s},{3.5},{1 + s / 10}\n" for s in range(0, 200, 10))
            (place / "trace.csv").write_text("step,temperature,energy,largest_force\n" + rows)
    return folder
