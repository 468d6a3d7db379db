"""Reading what Lightning's loggers have written in the folder of a run."""

import importlib.util
import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nequip_legato.errors import LegatoError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find_metrics", "read_metrics"]

_CSV = "metrics.csv"
_EVENTS = "events.out.tfevents.*"
_BELOW = ("", "*/", "*/*/", "*/*/*/")  # RUN, RUN/NAME/version_N, RUN/logs/NAME/version_N


def find_metrics(folder: Path) -> Path:
    """The CSV log of a run, or else its TensorBoard log, in its folder or up to three below.

    Of several folders ``version_N`` of Lightning the last is taken.

    Raises:
        LegatoError: if there is none, or several of different runs.
    """
    if not folder.is_dir():
        raise LegatoError(f"{folder} is not a folder; give the folder of a nequip-train run")
    for pattern in (_CSV, _EVENTS):
        for below in _BELOW:
            found = [p for p in folder.glob(below + pattern) if p.is_file()]
            if found:
                return _one(found, folder)
    elsewhere = ""
    if any(True for below in _BELOW for _ in folder.glob(f"{below}wandb/*run-*")):
        elsewhere = "; it has records of wandb, which are not read: add a CSVLogger to the loggers"
    raise LegatoError(
        f"{folder} has no metrics: neither {_CSV} (Lightning's CSVLogger) nor TensorBoard events"
        + elsewhere
    )


def _one(found: list[Path], folder: Path) -> Path:
    places = {p.parent for p in found}
    if len(places) > 1:
        versions = [re.fullmatch(r"version_(\d+)", place.name) for place in places]
        if not all(versions) or len({place.parent for place in places}) > 1:
            some = ", ".join(sorted(str(p) for p in places)[:3])
            raise LegatoError(f"{folder} holds several runs ({some}); name them one by one")
        last = max(places, key=lambda place: int(place.name.removeprefix("version_")))
        found = [p for p in found if p.parent == last]
    return max(found)


def read_metrics(source: Path) -> "pd.DataFrame":
    """Everything logged: one row for each entry, with ``epoch`` (from 0) and the columns logged.

    An incomplete last line of a running training is left out.

    Raises:
        LegatoError: if the file cannot be read, or ``tensorboard`` is needed and not installed.
    """
    rows = _csv(source) if source.name == _CSV else _events(source)
    if "epoch" not in rows.columns:
        raise LegatoError(f"{source} has no column 'epoch'; was it written by nequip-train?")
    return rows.dropna(subset="epoch").astype({"epoch": int})


def _csv(source: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        text = source.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        with warnings.catch_warnings():
            # else pandas would drop extra values of a row, or take them for an index
            warnings.simplefilter("error", pd.errors.ParserWarning)
            rows = pd.read_csv(io.StringIO(whole), index_col=False)
    except (OSError, ValueError, pd.errors.ParserWarning) as problem:
        words = " ".join(str(problem).split()) or type(problem).__name__
        raise LegatoError(f"cannot read {source}: {words}") from problem
    return rows.apply(pd.to_numeric, errors="coerce")


def _events(source: Path) -> "pd.DataFrame":
    if importlib.util.find_spec("tensorboard") is None:
        raise LegatoError(
            f"{source.parent} has only TensorBoard events: pip install tensorboard, or train with "
            "lightning.pytorch.loggers.CSVLogger"
        )
    import pandas as pd
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator: Any = EventAccumulator(str(source.parent), size_guidance={"scalars": 0})
    accumulator.Reload()
    columns = {
        tag: pd.Series({event.step: event.value for event in accumulator.Scalars(tag)}, dtype=float)
        for tag in accumulator.Tags()["scalars"]
    }
    rows = pd.DataFrame(columns).sort_index()
    if "epoch" in rows.columns:
        rows["epoch"] = rows["epoch"].bfill().round()
    return rows
