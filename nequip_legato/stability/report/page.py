"""The HTML page of a report: one file, pictures embedded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from nequip_legato import __version__
from nequip_legato.stability.report import tables
from nequip_legato.stability.report.analysis import Analysis, Cell
from nequip_legato.stability.statistics.comparison import Comparison
from nequip_legato.stability.statistics.exponent import Exponent
from nequip_legato.stability.statistics.rates import Rate, RateRatio

__all__ = ["render", "template"]


def render(
    analyses: Sequence[Analysis],
    images: Sequence[dict[str, str]],
    *,
    sources: Sequence[Path],
    draws: int,
) -> str:
    """The page.

    Args:
        analyses: one for each protocol.
        images: their pictures, name -> data URL.
        sources: what was read.
        draws: bootstrap samples.
    """
    records = [record for analysis in analyses for record in analysis.records]
    return template("nequip_legato.stability.report", "report.html").render(
        analyses=[_shown(a, i) for a, i in zip(analyses, images, strict=True)],
        total=len(records),
        failed=sum(record.failed for record in records),
        sources=", ".join(str(source) for source in sources),
        draws=draws,
        version=__version__,
    )


def template(package: str, name: str) -> jinja2.Template:
    """A Jinja template in the folder ``templates`` of a package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _shown(analysis: Analysis, images: dict[str, str]) -> dict[str, Any]:
    head = analysis.groups[0]
    return {
        "title": tables.title(analysis),
        "images": images,
        "reference": head,
        "runs": len(analysis.records),
        "failed": sum(r.failed for r in analysis.records),
        "notes": analysis.notes,
        "exponents": [_exponent(e) for e in analysis.exponents],
        "differences": [
            {"group": group, "estimate": tables.exponent_text(estimate)}
            for group, estimate in analysis.differences.items()
        ],
        "comparisons": [_comparison(c) for c in analysis.comparisons],
        "rates": [_rate(r) for r in analysis.rates],
        "rate_ratios": [_rate_ratio(r) for r in analysis.rate_ratios],
        "cells": [_cell(c) for c in analysis.cells],
    }


def _exponent(e: Exponent) -> dict[str, Any]:
    return {
        "group": e.group,
        "exponent": tables.exponent_text(e.exponent),
        "sigma": f"{1 / e.shape:.2f}" if e.exponent else "-",
        "shape": tables.number(e.shape),
        "excess": tables.exponent_text(e.excess),
        "aic": tables.number(e.aic_lognormal),
        "basis": e.basis,
        "words": tables.words(e),
    }


def _rate(r: Rate) -> dict[str, Any]:
    return {
        "group": r.group,
        "failures": r.failures,
        "atom_ps": f"{r.atom_ps:,.0f}",
        "rate": tables.span(r.rate),
        "kinds": tables.kinds_text(r.kinds),
        "basis": r.basis,
    }


def _rate_ratio(r: RateRatio) -> dict[str, Any]:
    return {
        "group": r.group,
        "ratio": tables.span(r.ratio),
        "basis": r.basis,
        "power": tables.power_text(r.power),
    }


def _cell(c: Cell) -> dict[str, Any]:
    return {
        "group": c.group,
        "atoms": f"{c.atoms:,}",
        "runs": c.runs,
        "failures": c.failures,
        "censored": c.runs - c.failures,
        "seeds": c.seeds,
        "median": tables.median_text(c),
        "mean": tables.span(c.restricted_mean),
        "horizon": tables.number(c.horizon),
        "criteria": tables.kinds_text(c.criteria),
        "steps_per_second": tables.number(c.steps_per_second),
        "atom_steps": tables.number(c.atom_steps_per_second),
    }


def _comparison(c: Comparison) -> dict[str, str]:
    return {
        "group": c.group,
        "atoms": "all" if c.atoms is None else f"{c.atoms:,}",
        "ratio": tables.span(c.ratio),
        "basis": c.basis,
        "logrank": tables.chance(c.logrank),
        "permutation": tables.chance(c.permutation),
        "smallest": tables.chance(c.smallest),
    }
