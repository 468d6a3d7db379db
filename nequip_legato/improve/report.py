"""The report of a loop: failure rate and errors of each round, as text, JSON and a picture."""

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scipy.stats import binomtest

from nequip_legato.files import write_atomically
from nequip_legato.improve.knowledge import Origin
from nequip_legato.improve.labels import BAD
from nequip_legato.improve.rounds import Round, label_store
from nequip_legato.improve.settings import Loop
from nequip_legato.improve.structures import id_of, read_structures
from nequip_legato.stability.records import Record, read_records
from nequip_legato.stability.report.pictures import save
from nequip_legato.stability.report.tables import jsonable, kinds_text, number, span
from nequip_legato.stability.statistics.estimate import Estimate
from nequip_legato.stability.statistics.rates import group_rate

__all__ = ["life_ratio", "summary", "write_report"]


def write_report(settings: Loop, origin: Origin, state: str) -> Path:
    """Write ``improve.md``, ``improve.json`` and ``improve.png`` into the folder of a loop.

    Args:
        settings: the loop's.
        origin: of its first model.
        state: how it has ended, or that it is running.

    Returns:
        The text's path.
    """
    folder = Path(settings.output)
    rounds = summary(settings, origin)
    plain = [
        {k: asdict(v) if isinstance(v, Estimate) else v for k, v in row.items()} for row in rounds
    ]
    content = {"state": state, "target": settings.target, "rounds": plain}
    text = json.dumps(jsonable(content), indent=1, allow_nan=False)
    write_atomically(folder / "improve.json", text + "\n")
    save(_figure(rounds, settings.target), folder / "improve.png")
    path = folder / "improve.md"
    write_atomically(path, _text(rounds, settings, state))
    return path


def summary(settings: Loop, origin: Origin) -> list[dict[str, Any]]:
    """The results of each round whose model has been tested.

    Returns:
        For each round: ``round``; ``rate``, failures per 1,000 atom ps with its interval (Poisson);
        ``failures``, ``atom_ps``, ``kinds``; ``ratio``, rate of round 0 over its rate, with its
        interval; ``errors`` as in `nequip_legato.improve.knowledge.Errors`, on the old test set
        and on the frames of the round; ``explored``, ``labels`` and ``trained``.
    """
    found: list[dict[str, Any]] = []
    for index in range(settings.rounds + 1):
        now = Round(index, settings)
        records: list[Record] = (
            read_records(now.folder / "life") if (now.folder / "life").is_dir() else []
        )
        if not records or not now.errors.is_file():
            break
        rate = group_rate(f"round {index}", records)
        row: dict[str, Any] = {
            "round": index,
            "rate": rate.rate,
            "failures": rate.failures,
            "atom_ps": rate.atom_ps,
            "runs": len(records),
            "kinds": rate.kinds,
            "errors": json.loads(now.errors.read_text(encoding="utf-8")),
        }
        first = found[0] if found else row
        row["ratio"] = life_ratio(
            (first["failures"], first["atom_ps"]), (rate.failures, rate.atom_ps)
        )
        if index:
            row |= _learned(now, settings)
            steps = origin.source.history.get("steps")
            row["cost"] = row["trained"]["steps"] / steps if steps else math.nan
        found.append(row)
    return found


def life_ratio(reference: tuple[int, float], other: tuple[int, float]) -> Estimate:
    """Rate of a reference over another rate, for independent Poisson counts.

    Given the sum of both counts, one of them is binomial, which gives the exact interval (Clopper
    and Pearson 1934, doi:10.1093/biomet/26.4.404).

    Args:
        reference: number of failures, and exposure.
        other: the same of the other.

    Returns:
        The ratio with its 95 % interval; NaN without any failure.
    """
    (n, t), (m, u) = reference, other
    if n + m == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    ends = binomtest(n, n + m).proportion_ci(0.95, method="exact")

    def ratio(share: float) -> float:
        return math.inf if share >= 1 else share / (1 - share) * u / t

    return Estimate(ratio(n / (n + m)), math.nan, ratio(ends.low), ratio(ends.high))


def _learned(now: Round, settings: Loop) -> dict[str, Any]:
    store = label_store(settings)
    labels = [store[id_of(atoms)] for atoms in read_structures(now.chosen, "chosen")]
    explored: list[Record] = read_records(now.folder / "explore")
    return {
        "gathered": json.loads(now.gathered.read_text(encoding="utf-8")),
        "explored": {
            "runs": len(explored),
            "failures": sum(r.failed for r in explored),
            "atom_ps": sum(r.atoms * r.time for r in explored),
        },
        "labels": {
            "good": sum(x.status != BAD for x in labels),
            "set_aside": dict(Counter(x.reason for x in labels if x.status == BAD)),
            "seconds": sum(x.seconds for x in labels),
        },
        "trained": json.loads(now.trained.read_text(encoding="utf-8")),
    }


def _text(rounds: list[dict[str, Any]], settings: Loop, state: str) -> str:
    rows = []
    for row in rounds:
        test, first = row["errors"]["test"], rounds[0]["errors"]["test"]
        energy = test["energy_rmse"]
        change = test["force_rmse"] / first["force_rmse"] - 1
        cells = [str(row["round"]), f"{row['failures']} of {row['runs']}"]
        cells += [number(row["atom_ps"]), span(row["rate"]), "1" if row["round"] == 0 else ""]
        if row["round"]:
            cells[-1] = span(row["ratio"])
        cells += [f"{1000 * test['force_rmse']:.1f}", "" if row["round"] == 0 else f"{change:+.1%}"]
        cells += ["-" if energy is None else f"{1000 * energy:.2f}"]
        stress = test.get("stress_rmse")  # absent in results of older versions
        cells += ["-" if stress is None else f"{1000 * stress:.2f}"]
        rows.append(cells)
    heads = ["round", "failed runs", "atom ps", "failures per 1,000 atom ps"]
    heads += ["time to failure, relative to round 0", "force RMSE, test (meV/Å)", "change"]
    heads += ["energy RMSE, test (meV per atom)", "stress RMSE, test (meV/Å³)"]
    parts = [
        "# Results of the loop",
        f"State: {state}. Intervals are 95 % (Poisson) and describe these models; several "
        "trainings are needed to tell whether the method helps others.",
        _table(heads, rows),
        "![Failures and errors of each round](improve.png)",
    ]
    if len(rounds) > 1:
        parts += ["## What each round learned from", _learned_table(rounds)]
    kinds = [f"round {r['round']}: {kinds_text(r['kinds'])}" for r in rounds]
    parts.append("Failures by criterion: " + "; ".join(kinds) + ".")
    if settings.fence.frames == "all":
        parts.append(
            "The domain grows with the added frames (`fence: {frames: all}`), so the criterion "
            "`closest_ratio` differs from round to round."
        )
    return "\n\n".join(parts) + "\n"


def _learned_table(rounds: list[dict[str, Any]]) -> str:
    rows = []
    for row in rounds[1:]:
        labels, trained, errors = row["labels"], row["trained"], row["errors"]
        before, after = errors.get("added_before"), errors.get("added_after")
        aside = sum(labels["set_aside"].values())
        reasons = "; ".join(f"{n} {reason}" for reason, n in labels["set_aside"].items())
        rows.append(
            [
                str(row["round"]),
                f"{row['explored']['failures']} of {row['explored']['runs']}",
                ", ".join(f"{n} {name}" for name, n in row["gathered"]["candidates"].items()),
                f"{labels['good']}",
                f"{aside} ({reasons})" if aside else "0",
                f"{before['force_rmse']:.2f} → {after['force_rmse']:.2f}" if before else "-",
                f"{trained['steps']:,} ({row['cost']:.2f})",
            ]
        )
    heads = ["round", "failed, exploring", "candidates", "labels added", "set aside"]
    heads += ["force RMSE on them, before → after (eV/Å)", "training steps (of the first training)"]
    return _table(heads, rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "/") for c in line) + " |" for line in lines)


def _figure(rounds: list[dict[str, Any]], target: float) -> Figure:
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = [row["round"] for row in rounds]
    values = [row["rate"].value for row in rounds]
    below = [row["rate"].value - row["rate"].low for row in rounds]
    above = [row["rate"].high - row["rate"].value for row in rounds]
    left.errorbar(numbers, values, yerr=[below, above], fmt="o", capsize=3)
    if target:
        left.axhline(target, color="gray", linestyle="--", label="target")
        left.legend()
    left.set(xlabel="round", ylabel="failures per 1,000 atom ps", ylim=(0, None))
    errors = [1000 * row["errors"]["test"]["force_rmse"] for row in rounds]
    right.plot(numbers, errors, "o-")
    right.set(xlabel="round", ylabel="force RMSE, old test set (meV/Å)", ylim=(0, None))
    for axis in (left, right):
        axis.set_xticks(numbers)
    return figure
