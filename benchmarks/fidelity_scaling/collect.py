"""Results of the study: errors, costs, sharpness, times to failure, and their correlations."""

import gzip
import json
import math
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import remedies
from scipy.stats import spearmanr
from training import Training, metrics

from nequip_legato.files import write_atomically
from nequip_legato.stability.records import Record, read_records
from nequip_legato.stability.trace import TRACE

__all__ = ["collect", "errors", "keep_campaign", "write_json"]

# nequip's names of test metrics -> ours, with the factor to the unit in the name
_ERRORS = {
    "test0_epoch/forces_rmse": ("force_rmse_meV_A", 1000.0),
    "test0_epoch/forces_mae": ("force_mae_meV_A", 1000.0),
    "test0_epoch/per_atom_energy_mae": ("energy_mae_meV_atom", 1000.0),
    "test0_epoch/stress_mae": ("stress_mae_meV_A3", 1000.0),
}


def write_json(path: Path, content: Any) -> None:
    """Write JSON beside ``path``, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def keep_campaign(folder: Path, results: Path) -> None:
    """Keep a campaign in compact form: ``NAME.jsonl`` with its records, ``NAME_traces.csv.gz``."""
    records = read_records(folder)
    results.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"format": 1, **asdict(record)}) for record in records]
    (results / f"{folder.name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = []
    for record in records:
        header, *trace = (folder / "runs" / record.run / TRACE).read_text().split()
        rows += [f"{record.run},{row}" for row in trace]
    text = "\n".join([f"run,{header}", *rows]) + "\n"
    packed = gzip.compress(text.encode(), mtime=0)
    (results / f"{folder.name}_traces.csv.gz").write_bytes(packed)


def errors(trainings: list[Training]) -> list[dict[str, Any]]:
    """Settings, cost in gradient evaluations, and test errors of each model."""
    found = []
    for training in trainings:
        last = metrics(training)
        row: dict[str, Any] = {
            "model": training.name,
            "variant": training.variant,
            "seed": training.seed,
            "epochs": training.epochs,
            "callback": training.callback,
            "gradient_evaluations": round(last["step"] * training.gradients_per_step),
        }
        row |= {name: round(last[key] * factor, 4) for key, (name, factor) in _ERRORS.items()}
        found.append(row)
    return found


def log_times(records: list[Record]) -> dict[str, float]:
    """Model -> mean over sizes of the log of its total time over its number of failures.

    Time over failures estimates the mean time to failure of censored runs if the hazard is
    constant (exponential distribution); it only ranks models here.
    """
    totals: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in records:
        total = totals[record.model, record.atoms]
        total[0] += record.time
        total[1] += record.failed
    by_model: dict[str, list[float]] = defaultdict(list)
    for (model, _), (time, failures) in totals.items():
        by_model[model].append(math.log(time / max(failures, 0.5)))
    return {model: mean(values) for model, values in by_model.items()}


def choice_table(records: list[Record], rows: list[dict[str, Any]]) -> str:
    """Markdown: errors and times to failure of the variants on the seeds for choosing rho."""
    times = log_times(records)
    lines = ["| variant | force RMSE (meV/Å) | time per failure (ps) |", "| --- | ---: | ---: |"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        chosen = [row for row in rows if row["variant"] == variant]
        rmse = ", ".join(f"{row['force_rmse_meV_A']:.1f}" for row in chosen)
        time = ", ".join(f"{math.exp(times[row['model']]):.2f}" for row in chosen)
        lines.append(f"| {variant} | {rmse} | {time} |")
    return "\n".join(lines) + "\n"


def correlations(
    records: list[Record], rows: list[dict[str, Any]], sharpness: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Spearman's rank correlation over models of each measure with the time to failure.

    Args:
        records: finished runs.
        rows: from `errors`.
        sharpness: model -> measure -> value.
    """
    times = log_times(records)
    columns: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        columns["force RMSE"][row["model"]] = row["force_rmse_meV_A"]
    for model, measures in sharpness.items():
        for name, value in measures.items():
            columns[name][model] = value
    found = {}
    for name, column in columns.items():
        models = sorted(set(column) & set(times))
        if len(models) >= 4:
            result = spearmanr([column[m] for m in models], [times[m] for m in models])
            found[name] = {
                "rho": round(float(result.statistic), 3),
                "p": round(float(result.pvalue), 5),
                "models": len(models),
            }
    return found


def scatter(
    records: list[Record],
    rows: list[dict[str, Any]],
    sharpness: dict[str, dict[str, float]],
    measure: str,
    path: Path,
) -> None:
    """A picture, one point for each model: time per failure against sharpness and test error."""
    times = log_times(records)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for variant in dict.fromkeys(row["variant"] for row in rows):
        chosen = [row for row in rows if row["variant"] == variant and row["model"] in times]
        y = np.exp([times[row["model"]] for row in chosen])
        for axis, x in (
            (axes[0], [sharpness.get(row["model"], {}).get(measure, math.nan) for row in chosen]),
            (axes[1], [row["force_rmse_meV_A"] for row in chosen]),
        ):
            axis.plot(x, y, "o", label=variant)
    axes[0].set(xlabel=f"{measure} (training loss)", ylabel="time per failure (ps)", yscale="log")
    axes[0].set_xscale("log")
    axes[1].set(xlabel="force RMSE on test frames (meV/Å)")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def error_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: test errors and cost of each variant, mean and standard deviation over seeds."""
    lines = [
        "| variant | models | gradient evaluations | force RMSE (meV/Å) | energy MAE (meV/atom) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        chosen = [row for row in rows if row["variant"] == variant]
        cells = [
            _spread([row[key] for row in chosen])
            for key in ("force_rmse_meV_A", "energy_mae_meV_atom")
        ]
        cost = chosen[0]["gradient_evaluations"]
        lines.append(f"| {variant} | {len(chosen)} | {cost:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def sharpness_table(rows: list[dict[str, Any]], sharpness: dict[str, dict[str, float]]) -> str:
    """Markdown: geometric mean of each measure over the seeds of a variant."""
    names = list(next(iter(sharpness.values())))
    lines = [f"| variant | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        models = [row["model"] for row in rows if row["variant"] == variant]
        cells = []
        for name in names:
            values = [sharpness[model][name] for model in models]
            cells.append(f"{math.exp(mean(map(math.log, values))):.3g}" if min(values) > 0 else "-")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def flattened(found: dict[str, Any]) -> dict[str, float]:
    """The measures of one model: name -> value, of the total loss."""
    flat = {
        "Gaussian": found["gaussian"]["total"]["mean"],
        "relative": found["relative"]["total"]["mean"],
    }
    flat |= {f"SAM {rho}": rise["total"] for rho, rise in found["sam"].items()}
    return flat | {
        "eigenvalue": found["eigenvalue"]["total"],
        "trace": found["trace"]["total"]["mean"],
    }


def paired_ratios(records: list[Record], rows: list[dict[str, Any]]) -> str:
    """Markdown: time per failure of each variant over that of plain, training seed by seed."""
    times = log_times(records)
    seeds = sorted({row["seed"] for row in rows})
    lines = [f"| variant | {' | '.join(f'seed {s}' for s in seeds)} | geometric mean |"]
    lines.append("| --- |" + " ---: |" * (len(seeds) + 1))
    for variant in dict.fromkeys(row["variant"] for row in rows):
        if variant == "plain":
            continue
        logs = [times[f"{variant}-{s}"] - times[f"plain-{s}"] for s in seeds]
        cells = [f"{math.exp(x):.2f}" for x in [*logs, mean(logs)]]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _remedies(
    results: Path,
    models: dict[str, list[dict[str, Any]]],
    report: list[Record],
    measured: dict[str, dict[str, Any]],
    pairs: list[list[str]],
) -> list[str]:
    """Sections on the other variants that were tried."""
    text = []
    rows = list(models["report"])
    records = list(report)
    for part in ("remedies", "methods", "gentler"):
        if (results / f"{part}.jsonl").is_file():
            records += read_records(results / f"{part}.jsonl")
            rows += models[part]
    if len(rows) > len(models["report"]):
        few = {r.atoms for r in records[len(report) :]}
        records = [record for record in records if record.atoms in few]
        text = [
            "## Remedies and other methods",
            remedies.variants_table(records, rows, measured),
            remedies.pairs_table(records, rows, pairs),
            remedies.against_best_table(records, rows),
        ]
    if (results / "criterion.jsonl").is_file():
        records = read_records(results / "criterion.jsonl")
        text += ["## The temperature as the only criterion", remedies.criterion_table(records)]
    return text


def collect(results: Path, pairs: list[list[str]]) -> None:
    """Tables and figures from what is kept in ``results``; nothing else is read.

    Args:
        results: has ``models.json``, ``choice.jsonl``, ``report.jsonl`` and ``sharpness.json``;
            files of the remedies are used if they are there.
        pairs: variants to be compared with each other.
    """
    models = json.loads((results / "models.json").read_text())
    choice, found = (read_records(results / f"{part}.jsonl") for part in ("choice", "report"))
    measured = json.loads((results / "sharpness.json").read_text())
    rows = models["report"]
    sharpness = {row["model"]: flattened(measured[row["model"]]) for row in rows}
    together = correlations(found, rows, sharpness)
    write_json(results / "correlations.json", together)
    lines = ["| measure | rank correlation with time per failure | p | models |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [
        f"| {n} | {c['rho']:.2f} | {c['p']:.2g} | {c['models']} |" for n, c in together.items()
    ]
    speeds: dict[str, list[float]] = defaultdict(list)
    for record in found:
        if record.atoms >= 1000:
            speeds[record.group].append(record.atom_steps_per_second)
    speed = ", ".join(f"{v} {np.median(s):,.0f}" for v, s in speeds.items())
    text = [
        "## Choice of rho",
        choice_table(choice, models["choice"]),
        "## Errors and cost",
        error_table(rows),
        f"Atom-steps per second in LAMMPS (1,000 atoms and more, median): {speed}. The machine did "
        "other work besides, more at some times than at others, so these are not to be compared: "
        "the models are of one size and cost the same.\n",
        "## Time to failure",
        (results / "report" / "summary.md").read_text(),
        "### Seed by seed",
        paired_ratios(found, rows),
        "## Sharpness (rise of the training loss; Hessian)",
        sharpness_table(rows, sharpness),
        "## What goes with a long life",
        "\n".join(lines) + "\n",
        *_remedies(results, models, found, measured, pairs),
    ]
    (results / "tables.md").write_text("\n".join(text))
    scatter(found, rows, sharpness, "Gaussian", results / "sharpness.png")
