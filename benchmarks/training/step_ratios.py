"""Ratios and tables from times of single steps."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["earlier", "ratios", "report", "save"]

OVERHEAD = {"SAM": "overhead of SAM, %", "SAM, logging": "the same where it logs, %"}
TARGETS = {"SAM": 2.05, "late, 10 %": 1.12, "MomentumSAM": 1.05, OVERHEAD["SAM"]: 2.0}


def save(folder: Path, model: str, batch: int, rows: list[dict[str, Any]]) -> None:
    """Write the file of one case."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "model": model,
        "batch": batch,
        "torch": torch.__version__,
        "processor": _processor(),
        "load": os.getloadavg()[0],
        "steps": rows,
    }
    path = folder / f"{model}-{batch}.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(data, indent=0) + "\n")
    beside.replace(path)


def earlier(folder: Path, model: str, batch: int) -> list[dict[str, Any]]:
    """Steps of a case that were measured before; may be empty."""
    path = folder / f"{model}-{batch}.json"
    return json.loads(path.read_text())["steps"] if path.is_file() else []


def ratios(rows: list[dict[str, Any]], clock: str) -> dict[str, float]:
    """Lower quartiles of the times of steps, relative to plain steps.

    Disturbances only make steps longer, some by a third and more, so the faster steps are the ones
    to compare.
    """

    def quartile(times: list[float]) -> float:
        return float(np.quantile(times, 0.25))

    def step(method: str, passes: int) -> float:
        return quartile([r[clock] for r in rows if (r["method"], r["count"]) == (method, passes)])

    plain, sam = step("plain", 1), step("SAM", 2)
    late = 0.9 * step("late", 1) + 0.1 * step("late", 2)
    look = 0.2 * step("LookSAM", 2) + 0.8 * step("LookSAM", 1)
    found = {
        "plain step, s": plain,
        "SAM": sam / plain,
        "ASAM": step("ASAM", 2) / plain,
        "late, 10 %": late / plain,
        "MomentumSAM": step("MomentumSAM", 1) / plain,
        "LookSAM, k = 5": look / plain,
    }
    if clock == "cpu":
        rest = {
            name: quartile([r["cpu"] - r["passes"] for r in rows if r["method"] == name])
            for name in {"plain", *OVERHEAD} & {r["method"] for r in rows}
        }
        for name in [n for n in OVERHEAD if n in rest]:
            found[OVERHEAD[name]] = 100 * (rest[name] - rest["plain"]) / sam
    return found


def report(folder: Path) -> str:
    """Write ``tables.md`` and ``ratios.json`` from all cases that are there; returns the table."""
    cases = [json.loads(path.read_text()) for path in folder.glob("*-*.json")]
    cases.sort(key=lambda c: (c["model"] != "small", c["batch"]))
    found = [
        {
            "model": case["model"],
            "batch": case["batch"],
            "load": case["load"],
            **{clock: ratios(case["steps"], clock) for clock in ("cpu", "wall")},
        }
        for case in cases
    ]
    (folder / "ratios.json").write_text(json.dumps(found, indent=1) + "\n")
    parts = []
    for clock, title in (("cpu", "Processor time"), ("wall", "Wall time")):
        names = list(dict.fromkeys(name for case in found for name in case[clock]))
        heads = [f"{n} (≤\u00a0{TARGETS[n]:g})" if n in TARGETS else n for n in names]
        lines = [
            f"## {title}",
            "| model | frames per step | " + " | ".join(heads) + " |",
            "| --- | ---: |" + " ---: |" * len(names),
        ]
        for case in found:
            cells = " | ".join(f"{case[clock][n]:.3f}" if n in case[clock] else "" for n in names)
            lines.append(f"| {case['model']} | {case['batch']} | {cells} |")
        parts.append("\n".join(lines))
    loads = ", ".join(f"{case['load']:.0f}" for case in found)
    machine = f"{cases[0]['processor']}, one thread, torch {cases[0]['torch']}; load {loads}"
    text = "\n\n".join(parts) + f"\n\n{machine}.\n"
    (folder / "tables.md").write_text(text)
    return text


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"
