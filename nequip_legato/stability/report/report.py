"""The report of campaigns: an HTML page, pictures, tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nequip_legato.errors import LegatoError, ValueLegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability.records import Record, read_records
from nequip_legato.stability.report import pictures, tables
from nequip_legato.stability.report.analysis import Analysis, analyze, protocol_of
from nequip_legato.stability.report.page import render
from nequip_legato.stability.report.tables import markdown

__all__ = ["markdown", "report", "report_folder"]


def report(
    sources: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    reference: str | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> list[Analysis]:
    """Write ``report.html``, ``*.png``, ``runs.csv``, ``summary.csv``, ``.json`` and ``.md``.

    Args:
        sources: folders of campaigns, or files ``*.jsonl`` with one record per line.
        out: folder of the report; default: ``report`` in the first source's folder.
        reference: the group that others are compared with; default: ``plain``, or the first.
        draws: bootstrap samples.
        seed: of the bootstrap; the same seed gives the same report.

    Returns:
        One analysis for each protocol (ensemble, temperature, time step) among the runs.

    Raises:
        LegatoError: if there are no finished runs, one occurs twice, or draws are too few.
    """
    if draws < 100:
        raise ValueLegatoError(f"{draws} bootstrap samples give no interval; take 100 or more")
    paths = [Path(source) for source in sources]
    origins = _read(paths)
    records = [record for record, _ in origins]
    analyses = analyze(records, reference=reference, draws=draws, seed=seed)
    folder = report_folder(paths, None if out is None else Path(out))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LegatoError(f"cannot make the folder {folder}: {problem.strerror}") from problem
    traces = {
        (protocol_of(record), record.run): source / "runs" / record.run
        for record, source in origins
        if source.is_dir()
    }
    images = [
        pictures.save_all(analysis, traces, folder, tag=_tag(analysis, analyses))
        for analysis in analyses
    ]
    write_atomically(folder / "report.html", render(analyses, images, sources=paths, draws=draws))
    write_atomically(folder / "runs.csv", tables.runs_table(origins))
    write_atomically(folder / "summary.csv", tables.cells_table(analyses))
    content = [tables.jsonable(asdict(a) | {"records": len(a.records)}) for a in analyses]
    write_atomically(folder / "summary.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "summary.md", "\n".join(markdown(a) for a in analyses))
    return analyses


def report_folder(sources: Sequence[Path], out: Path | None) -> Path:
    """Where the report goes: ``out``, or ``report`` in the first source's folder."""
    first = sources[0]
    return out or (first if first.is_dir() else first.parent) / "report"


def _read(sources: Sequence[Path]) -> list[tuple[Record, Path]]:
    if not sources:
        raise LegatoError("there is nothing to report on; give the folder of a campaign")
    found: dict[object, tuple[Record, Path]] = {}
    for source in sources:
        for record in read_records(source, Record):
            key: object = (protocol_of(record), record.run)
            if key in found:
                raise LegatoError(
                    f"run {record.run} is both in {found[key][1]} and in {source}; give one of "
                    "them, or give the models of the campaigns different names"
                )
            _check(record, source)
            found[key] = record, source
    if not found:
        raise LegatoError(
            f"{', '.join(map(str, sources))} holds no finished runs; run the campaign first "
            "(nequip-legato stability run)"
        )
    return list(found.values())


def _check(record: Record, source: Path) -> None:
    """Refuse a record with impossible numbers, which no statistics can use."""
    if record.atoms < 1 or record.steps < 0 or not record.timestep > 0:
        raise LegatoError(
            f"run {record.run} of {source} has {record.atoms} atoms, {record.steps} steps of "
            f"{record.timestep} fs, which cannot be; remove it and run the campaign again"
        )


def _tag(analysis: Analysis, analyses: Sequence[Analysis]) -> str:
    """End of the file names of a protocol's pictures; empty if there is only one protocol."""
    if len(analyses) == 1:
        return ""
    ensemble, temperature, timestep = analysis.protocol
    safe = "".join(c if c.isalnum() else "_" for c in ensemble)
    return f"-{safe}-{temperature:g}K-{timestep:g}fs"
