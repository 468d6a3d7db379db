"""The report of a quantum campaign: an HTML page, pictures, tables."""

import json
from dataclasses import dataclass
from pathlib import Path

from nequip_legato import __version__
from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.quantum.analysis import Cell, Options, analyze, read_campaign
from nequip_legato.quantum.plots import all_figures
from nequip_legato.quantum.table import Table
from nequip_legato.quantum.tables import all_tables
from nequip_legato.stability.report.page import template
from nequip_legato.stability.report.pictures import save

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
        cells: averages over runs.
        tables: the tables.
        text: the tables in Markdown.
        page: path of the HTML page.
    """

    cells: list[Cell]
    tables: list[Table]
    text: str
    page: Path


def report(campaign: Path | str, *, out: Path | str | None = None) -> Report:
    """Write ``report.html``, ``*.png`` and ``summary.md``.

    Args:
        campaign: a campaign's folder.
        out: folder of the report; default: ``report`` in the campaign's.

    Raises:
        LegatoError: if there are no finished runs, or their frames are missing.
    """
    source = Path(campaign)
    records = read_campaign(source)
    options = _options(source)
    cells = analyze(source, records, options)
    tables = all_tables(cells, options)
    folder = source / "report" if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LegatoError(f"cannot make the folder {folder}: {problem.strerror}") from problem
    images = {
        name: save(figure, folder / f"{name}.png") for name, figure in all_figures(cells).items()
    }
    page = template("nequip_legato.quantum", "quantum.html").render(
        runs=len(records),
        failed=sum(record.failed for record in records),
        source=str(source),
        version=__version__,
        tables=tables,
        images=images,
    )
    text = "\n".join(table.markdown() for table in tables)
    write_atomically(folder / "report.html", page)
    write_atomically(folder / "summary.md", text)
    return Report(cells, tables, text, folder / "report.html")


def _options(source: Path) -> Options:
    path = source / "settings.json"
    if not path.is_file():
        return Options()
    try:
        content = json.loads(path.read_text())
        geometry = content["geometry"]
        return Options(
            center=geometry["center"],
            ligand=geometry["ligand"],
            longest=geometry["max"],
            rdf=geometry["rdf"],
            stretch_above=content["stretch_above"],
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise LegatoError(
            f"{path} does not belong to a quantum campaign ({problem}); run the campaign again"
        ) from problem
