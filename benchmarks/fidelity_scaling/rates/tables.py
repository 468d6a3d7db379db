"""Results of the study and its tables: rates, their ratios, and results of trajectories."""

import csv
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import ase.io
import numpy as np
import pictures
from ase.neighborlist import neighbor_list
from trajectories import RADII

from nequip_legato.deployed.reader import info
from nequip_legato.files import write_atomically
from nequip_legato.stability.records import CENSORED, FAILED, Record, read_records
from nequip_legato.stability.run.snapshot import FAILURE
from nequip_legato.stability.statistics.estimate import Estimate
from nequip_legato.stability.statistics.rates import RateRatio, group_rate, rate_ratio
from nequip_legato.stability.trace import TRACE

__all__ = ["collect", "keep", "with_traces"]


def keep(folders: Sequence[Path], results: Path, part: str) -> None:
    """Keep campaigns in compact form: ``PART.jsonl`` with their records, and two more files.

    Runs that are kept already and are not in these campaigns stay, so that arms can be run on
    different machines.

    ``PART_bonds.csv``: what happened to the nitrogen whose bonds failed, see `bond_kind`.
    ``PART_traces.csv.gz``: closest pairs and largest forces. Only those rows of the traces are kept
    at which the ratio of the closest pair or the relative largest force is more extreme than in all
    rows before, which tells when any threshold was first passed.
    """
    found = [(folder, record) for folder in folders for record in read_records(folder)]
    lines, kinds, rows = _kept_otherwise(results, part, {record.run for _, record in found})
    for folder, record in found:
        lines.append(json.dumps({"format": 1, **asdict(record)}))
        place = folder / "runs" / record.run
        if record.criterion == "bonds":
            kinds.append(f"{record.run},{bond_kind(place / FAILURE)}")
        known = info(next(place.glob("model.nequip.*")).resolve()).largest_force
        closest, force = math.inf, 0.0
        with (place / TRACE).open() as stream:
            for row in csv.DictReader(stream):
                ratio, strength = float(row["closest_ratio"]), float(row["largest_force"])
                if ratio < closest or strength > force or ratio != ratio:
                    closest, force = min(closest, ratio), max(force, strength)
                    shown = f"{record.run},{row['step']},{closest:.3f},{force / known:.3f}"
                    rows.append(shown)
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(results / f"{part}.jsonl", "\n".join(lines) + "\n")
    write_atomically(results / f"{part}_bonds.csv", "\n".join(kinds) + "\n")
    packed = gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0)
    (results / f"{part}_traces.csv.gz").write_bytes(packed)


def _kept_otherwise(
    results: Path, part: str, runs: set[str]
) -> tuple[list[str], list[str], list[str]]:
    """What the three files of `keep` hold of other runs: records, and both tables with headers."""
    if not (results / f"{part}.jsonl").is_file():
        return [], ["run,kind"], ["run,step,closest_ratio,force_ratio"]
    lines = (results / f"{part}.jsonl").read_text().splitlines()
    bonds = (results / f"{part}_bonds.csv").read_text().splitlines()
    packed = (results / f"{part}_traces.csv.gz").read_bytes()
    traces = gzip.decompress(packed).decode().splitlines()
    return (
        [line for line in lines if json.loads(line)["run"] not in runs],
        [line for line in bonds if line.partition(",")[0] not in runs],
        [line for line in traces if line.partition(",")[0] not in runs],
    )


def bond_kind(path: Path) -> str:
    """What is wrong with the first failing nitrogen of a ``failure.extxyz``.

    ``squeezed``: a hydrogen within 0.7 Angstrom. ``fourth``: more than three hydrogens within 1.6
    Angstrom, a hydrogen bond that is too short, which a bump in the gap forbids. ``lost``: fewer
    than three.
    """
    atoms = ase.io.read(path)
    i, j, d = neighbor_list("ijd", atoms, 1.6)  # a cut of a large box has no cell
    failed = np.flatnonzero(atoms.arrays["failed"])[0]
    own = d[(i == failed) & (atoms.numbers[j] == 1)]
    if (own < 0.7).any():
        return "squeezed"
    return "fourth" if len(own) > 3 else "lost"


def without_short_hydrogen_bonds(records: Sequence[Record], kinds: Path) -> list[Record]:
    """The same runs; those that ended by a fourth hydrogen are censored there."""
    with kinds.open() as stream:
        fourth = {row["run"] for row in csv.DictReader(stream) if row["kind"] == "fourth"}
    return [
        replace(r, outcome=CENSORED, criterion=None, value=None, threshold=None)
        if r.run in fourth
        else r
        for r in records
    ]


def with_traces(
    records: Sequence[Record], traces: Path, *, closest_ratio: float, force_ratio: float
) -> list[Record]:
    """The same runs with the criteria of the first study added: close pairs and large forces.

    Args:
        records: as the campaigns wrote them.
        traces: ``PART_traces.csv.gz``.
        closest_ratio: threshold of the closest pair, relative to the shortest distance in training.
        force_ratio: threshold of the largest force, relative to the largest in training.
    """
    first: dict[str, tuple[int, str]] = {}
    with gzip.open(traces, "rt") as stream:
        for row in csv.DictReader(stream):
            close = not float(row["closest_ratio"]) >= closest_ratio
            strong = not float(row["force_ratio"]) <= force_ratio
            if (close or strong) and row["run"] not in first:
                name = "closest_ratio" if close else "largest_force"
                first[row["run"]] = int(row["step"]), name
    found = []
    for record in records:
        step, name = first.get(record.run, (record.steps, ""))
        if name and (step < record.steps or not record.failed):
            record = replace(
                record, outcome=FAILED, steps=step, criterion=name, value=None, threshold=None
            )
        found.append(record)
    return found


def collect(
    results: Path, settings: Any, read: Callable[[Path], list[Record]] = read_records
) -> None:
    """Write ``tables.md``, ``summary.json`` and ``survival.png``; missing parts are left out.

    Args:
        results: folder with the files of `keep` and of the trajectories.
        settings: of the study.
        read: reads a file of records.
    """
    text: list[str] = []
    summary: dict[str, Any] = {}
    for part, title in (
        ("choice", "Choice of the fence (seeds that are not reported)"),
        ("choice_hot", "The same at 800 K"),
        ("first_attempt", "First attempt: walls too stiff for the time step"),
        ("development", "Rates on the seeds on which walls were softened"),
        ("report", "Rates on the reported seeds"),
        ("large", "The check at 4,096 atoms"),
        ("interpolating", "Models that fit their few training frames"),
        ("interpolating_large", "The same by models of the original's size"),
    ):
        if not (results / f"{part}.jsonl").is_file():
            continue
        stopped = read(results / f"{part}.jsonl")
        limits = settings["from_traces"]
        strict = with_traces(stopped, results / f"{part}_traces.csv.gz", **limits)
        fewer = without_short_hydrogen_bonds(stopped, results / f"{part}_bonds.csv")
        text.append(f"## {title}")
        for kind, records in (
            ("Broken molecules and temperature", stopped),
            ("The same without hydrogen bonds that are too short", fewer),
            ("Close pairs and large forces, too", strict),
        ):
            text += [f"### {kind}", _rates(records), _ratios(records, summary, part, kind)]
        if part in ("development", "report") or part.startswith("interpolating"):
            text += ["### By size", _sizes(stopped), "### Seed by seed", _seeds(stopped)]
        if part == "report":
            pictures.survival(stopped, results / "survival.png")
    if (results / "models.json").is_file():
        models = json.loads((results / "models.json").read_text())
        text += ["## Errors on the test frames", _errors(models)]
    if (results / "trajectories.csv").is_file():
        text += ["## NVE trajectories, before a molecule broke", _trajectories(results)]
    write_atomically(results / "tables.md", "\n".join(text))
    write_atomically(results / "summary.json", json.dumps(summary, indent=1) + "\n")


def _groups(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.group for record in records))


def _with_interval(e: Estimate) -> str:
    if math.isnan(e.low):
        return f"{e.value:.2f}"
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:,.2f}]".replace("inf", "∞")


def _rates(records: Sequence[Record]) -> str:
    lines = ["| arm | seeds | runs | failures | atom·ps | per 1,000 atom·ps [95 %] | kinds |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for group in _groups(records):
        rate = group_rate(group, records)
        runs = sum(record.group == group for record in records)
        e = rate.rate
        shown = _with_interval(e)
        kinds = ", ".join(f"{name} {count}" for name, count in rate.kinds.items())
        cells = [group, rate.seeds, runs, rate.failures, f"{rate.atom_ps:,.0f}", shown, kinds]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _ratios(records: Sequence[Record], summary: dict[str, Any], part: str, kind: str) -> str:
    """Rate of the first arm, which is plain, over that of others, on the seeds that both have."""
    plain, *others = _groups(records)
    lines = [
        f"| arm | rate of {plain} / rate of the arm [95 %] | basis | power for a factor of 3 |"
    ]
    lines.append("| --- | ---: | --- | ---: |")
    for group in others:
        ratio = paired(records, group, plain)
        e = ratio.ratio
        shown = "-" if e is None else _with_interval(e)
        power = "-" if ratio.power is None else f"{ratio.power.probability:.2f}"
        lines.append(f"| {group} | {shown} | {ratio.basis} | {power} |")
        if e is not None:
            values = [e.value, e.low, e.high]
            summary[f"{part}: {kind}: {plain} / {group}"] = [
                round(v, 3) if math.isfinite(v) else None for v in values
            ]
    return "\n".join(lines) + "\n"


def paired(records: Sequence[Record], group: str, reference: str) -> RateRatio:
    """The ratio on the training seeds that both groups have."""
    seeds = {
        name: {r.training_seed for r in records if r.group == name} for name in (group, reference)
    }
    both = seeds[group] & seeds[reference]
    return rate_ratio(group, reference, [r for r in records if r.training_seed in both])


def _sizes(records: Sequence[Record]) -> str:
    sizes = sorted({record.atoms for record in records})
    lines = [f"| arm | {' | '.join(f'{n:,} atoms' for n in sizes)} |"]
    lines.append("| --- |" + " ---: |" * len(sizes))
    for group in _groups(records):
        cells = []
        for atoms in sizes:
            own = [r for r in records if (r.group, r.atoms) == (group, atoms)]
            e = group_rate(group, own).rate
            failed = sum(r.failed for r in own)
            cells.append(f"{failed} of {len(own)}: {_with_interval(e)}")
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seeds(records: Sequence[Record]) -> str:
    seeds = sorted({record.training_seed for record in records}, key=int)
    lines = ["Failures, and per 1,000 atom·ps.\n", f"| arm | {' | '.join(seeds)} |"]
    lines.append("| --- |" + " ---: |" * len(seeds))
    for group in _groups(records):
        cells = []
        for seed in seeds:
            own = [r for r in records if (r.group, r.training_seed) == (group, seed)]
            exposure = sum(r.atoms * r.time for r in own)
            failed = sum(r.failed for r in own)
            cells.append(f"{failed}: {1000 * failed / exposure:.1f}" if exposure else "-")
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _errors(models: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| training | models | gradient evaluations | force RMSE, meV/Å, by seed | on the training "
        "frames |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for variant in dict.fromkeys(row["variant"] for row in models):
        own = [row for row in models if row["variant"] == variant]
        rmse = ", ".join(f"{row['force_rmse_meV_A']:.0f}" for row in own)
        average = mean(row["force_rmse_meV_A"] for row in own)
        lines.append(
            f"| {variant} | {len(own)} | {own[0]['gradient_evaluations']:,} | "
            f"{average:.1f}: {rmse} | {_on_training(own)} |"
        )
    return "\n".join(lines) + "\n"


def _on_training(rows: Sequence[dict[str, Any]]) -> str:
    """Mean error on the training frames, where it was computed."""
    key = "training_force_rmse_meV_A"
    return f"{mean(row[key] for row in rows):.1f}" if all(key in row for row in rows) else "-"


def _trajectories(results: Path) -> str:
    with (results / "trajectories.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    errors = np.load(results / "force_errors.npz")
    shapes = _distributions(results / "rdf.csv.gz")
    lines = [
        "| arm | whole to the end | force error, rms, 99.9 %, largest (meV/Å) | drift, median and "
        "largest (meV/atom/ps) | g(r) off GFN1-xTB's: N-N, N-H, H-H |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    arms = list(dict.fromkeys(row["model"].rpartition("-")[0] for row in rows))
    for arm in arms:
        own = [row for row in rows if row["model"].rpartition("-")[0] == arm]
        error = np.concatenate([errors[row["model"]] for row in own])
        rms = math.sqrt(float((error**2).mean()))
        high, largest = float(np.quantile(abs(error), 0.999)), float(abs(error).max())
        drift = np.abs([float(row["drift_meV_atom_ps"]) for row in own])
        drift = drift[np.isfinite(drift)]
        whole = sum(row["intact"] == row["frames"] for row in own)
        off = ", ".join(
            f"{_off(shapes[arm][pair], shapes['GFN1-xTB'][pair]):.3f}"
            for pair in ("N-N", "N-H", "H-H")
        )
        lines.append(
            f"| {arm} | {whole} of {len(own)} | {1000 * rms:.0f}, {1000 * high:.0f}, "
            f"{1000 * largest:,.0f} | {np.median(drift):.2f}, {drift.max():.2f} | {off} |"
        )
    return "\n".join(lines) + "\n"


def _distributions(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arm -> pair of elements -> number of pairs per frame and bin."""
    total: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    frames: dict[tuple[str, str], int] = defaultdict(int)
    with gzip.open(path, "rt") as stream:
        for name, pair, count, *values in csv.reader(stream):
            arm = name if name == "GFN1-xTB" else name.rpartition("-")[0]
            own = np.array(values, dtype=float)
            total[arm][pair] = total[arm].get(pair, np.zeros(len(RADII) - 1)) + own
            frames[arm, pair] += int(count)
    return {
        arm: {pair: values / frames[arm, pair] for pair, values in own.items()}
        for arm, own in total.items()
    }


def _off(counts: np.ndarray, reference: np.ndarray) -> float:
    """Mean of |g - g_ref| between molecules (beyond 1.9 Angstrom), in units of the ideal gas's."""
    shells = RADII[1:] ** 3 - RADII[:-1] ** 3
    outer = RADII[:-1] >= 1.9
    ideal = shells * reference[outer].sum() / shells[outer].sum()
    return float((abs(counts - reference) / ideal)[outer].mean())
