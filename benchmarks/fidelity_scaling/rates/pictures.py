"""The study's picture: survival of the runs."""

from collections.abc import Sequence
from pathlib import Path

from lifelines import KaplanMeierFitter
from matplotlib.figure import Figure

from nequip_legato.stability.records import Record
from nequip_legato.stability.report.pictures import save
from nequip_legato.stability.report.plots import colors_of
from nequip_legato.stability.statistics.survival import time_survived

__all__ = ["survival"]

_SHOWN = {
    "plain": "plain",
    "plain_gaps": "plain with walls and bumps",
    "plain_wall": "plain with walls alone",
    "sam_0.01": "SAM, rho 0.01",
    "sam_0.01_gaps": "SAM, rho 0.01, with walls and bumps",
    "zbl": "ZBL potential, trained around",
    "plain_2x_gaps": "plain, trained twice as long, with walls and bumps",
    "sam_0.001": "SAM, rho 0.001",
    "plain_2x": "plain, trained twice as long",
    "contacts": "plain, contacts among the frames",
    "loop_gaps": "plain, two rounds of the loop, with walls and bumps",
}


def survival(records: Sequence[Record], path: Path) -> None:
    """Write Kaplan-Meier curves of all sizes together, against atoms times time.

    The bands are pointwise 95 % intervals for independent runs. Runs of one training seed are not
    independent; the tables have the proper interval of the ratio.

    Args:
        records: of runs of each arm.
        path: a PNG.
    """
    groups = list(dict.fromkeys(record.group for record in records))
    colors = colors_of(groups)
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axis = figure.subplots()
    for group in groups:
        mine = [record for record in records if record.group == group]
        fitter = KaplanMeierFitter().fit(
            [record.atoms * time_survived(record) for record in mine],
            [record.failed for record in mine],
        )
        name = f"{_SHOWN.get(group, group)}: {sum(r.failed for r in mine)} of {len(mine)} fail"
        fitter.plot_survival_function(ax=axis, color=colors[group], label=name)
    axis.set(xlabel="atoms times time (atom·ps)", ylabel="share of runs alive", ylim=(0, 1.02))
    axis.set_xlim(left=0)
    axis.get_legend().remove()  # lifelines makes one for each curve
    figure.legend(loc="outside lower left", frameon=False)
    save(figure, path)
