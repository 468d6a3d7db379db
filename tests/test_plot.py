"""Reading the logs of training runs, and drawing them."""

import argparse
import importlib.util
import math

import lightning
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib import image

from nequip_legato.cli.plot import add_plot
from nequip_legato.errors import LegatoError
from nequip_legato.training_plots import plot
from nequip_legato.training_plots.plot import PANELS, SHARPNESS, plot_runs, read_run

LOSS = "train_loss_epoch/weighted_sum"
FORCES = "val0_epoch/forces_rmse"
STEPS = 3  # a step is logged, a training epoch has three


class Logging(lightning.LightningModule):
    """Logs known numbers under the names that nequip and SAM use."""

    def __init__(self, *, sharpness=None, skipped=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.sharpness, self.skipped = sharpness, skipped

    def training_step(self, batch, index):
        if self.sharpness is not None:
            self.log(SHARPNESS, self.sharpness(self.current_epoch, index))
            self.log("legato/skipped_steps", self.skipped)
        return self.layer(batch).sum()

    def on_train_epoch_end(self):
        self.log(LOSS, 2.0 ** -(self.current_epoch + 1))

    def validation_step(self, batch, index):
        self.log(FORCES, 3.0 ** -(self.current_epoch + 1), on_epoch=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def log_run(folder, *, epochs=4, logger=None, **settings):
    """A real Lightning run that leaves its log in ``folder``."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=logger or CSVLogger(folder, name=None, version=""),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = torch.utils.data.DataLoader(torch.ones(STEPS, 1))
    trainer.fit(Logging(**settings), data, data)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    plain = log_run(folder / "plain")
    sam = log_run(
        folder / "sam",
        epochs=3,
        sharpness=lambda epoch, step: (epoch + 1) * 10.0**step,
        skipped=2.0,
    )
    return plain, sam


def test_values_are_those_logged(runs):
    plain, sam = map(read_run, runs)
    assert list(plain.values[LOSS]) == pytest.approx([2.0**-k for k in (1, 2, 3, 4)])
    assert list(plain.values[FORCES]) == pytest.approx([3.0**-k for k in (1, 2, 3, 4)])
    assert SHARPNESS not in plain.values.columns
    assert plain.skipped == 0
    # what is logged at steps: the mean over the epoch
    assert list(sam.values[SHARPNESS]) == pytest.approx([37.0, 74.0, 111.0])
    assert sam.skipped == 2


def test_picture_of_several_runs(runs, tmp_path, monkeypatch):
    """Every run has a line in each panel whose quantity it logged, on shared axes."""
    figures = []
    written = plot._write
    monkeypatch.setattr(
        plot, "_write", lambda figure, out: figures.append(figure) or written(figure, out)
    )
    out = tmp_path / "runs.png"
    drawn = plot_runs(runs, out)
    assert [run.name for run in drawn] == ["plain", "sam"]
    assert min(image.imread(out).shape[:2]) > 100
    panels = {axes.get_ylabel(): axes for axes in figures[0].axes}
    assert set(panels) == {LOSS, FORCES, SHARPNESS}
    assert [len(panels[name].lines) for name in (LOSS, FORCES, SHARPNESS)] == [2, 2, 1]
    for number, run in enumerate(drawn):
        line = panels[FORCES].lines[number]
        assert list(line.get_ydata()) == list(run.values[FORCES])
        assert list(line.get_xdata()) == [k + 1 for k in run.values.index]
    assert {axes.get_yscale() for axes in panels.values()} == {"log"}
    assert len({axes.get_xlim() for axes in panels.values()}) == 1
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.texts] == ["plain", "sam (2 steps skipped)"]
    assert [p.name for p in tmp_path.iterdir()] == ["runs.png"]  # nothing half-written stays


def test_sharpness_below_zero_is_drawn(tmp_path):
    run = log_run(tmp_path / "run", epochs=2, sharpness=lambda epoch, step: 0.1 - epoch * 0.3)
    plot_runs([run], tmp_path / "run.svg")
    assert "<svg" in (tmp_path / "run.svg").read_text()


def test_bad_numbers_are_left_out(tmp_path):
    def sharpness(epoch, step):
        return math.nan if epoch == 0 else math.inf if step == 0 else 5.0

    run = log_run(tmp_path / "run", epochs=2, sharpness=sharpness)
    values = read_run(run).values[SHARPNESS]
    assert math.isnan(values[0])
    assert values[1] == 5.0
    plot_runs([run], tmp_path / "run.png")


def test_quantities_without_labels_are_left_out(runs, tmp_path):
    """nequip logs errors of labels that no frame has as not a number."""
    log = tmp_path / "run" / "metrics.csv"
    log.parent.mkdir()
    rows = pd.read_csv(runs[0] / "metrics.csv")
    rows["val0_epoch/stress_rmse"] = math.nan
    rows["val0_epoch/stress_mae"] = 0.5
    rows.to_csv(log, index=False, na_rep="nan")
    run = read_run(log.parent)
    assert "val0_epoch/stress_rmse" not in run.values.columns
    assert run.values["val0_epoch/stress_mae"].dropna().eq(0.5).all()
    plot_runs([log.parent], tmp_path / "run.png")


def test_log_that_is_being_written(runs, tmp_path):
    """A line cut anywhere takes nothing away but itself."""
    text = (runs[0] / "metrics.csv").read_text()
    begin = text.rstrip("\n").rfind("\n") + 1
    (tmp_path / "metrics.csv").write_text(text[:begin])
    complete = read_run(tmp_path).values
    for end in range(begin, len(text) - 1, 5):
        (tmp_path / "metrics.csv").write_text(text[:end])
        pd.testing.assert_frame_equal(read_run(tmp_path).values, complete)


def test_version_folders(tmp_path):
    """Lightning's default CSVLogger counts versions: the last one is meant."""
    for epochs in (3, 2):
        log_run(tmp_path, epochs=epochs, logger=CSVLogger(tmp_path))
    assert len(read_run(tmp_path).values) == 2
    assert len(read_run(tmp_path / "lightning_logs" / "version_0").values) == 3


def test_equal_folder_names_get_their_parents(runs, tmp_path):
    other = tmp_path / "other" / "sam"
    other.mkdir(parents=True)
    (other / "metrics.csv").write_text((runs[1] / "metrics.csv").read_text())
    names = [run.name for run in plot_runs([*runs, other], tmp_path / "out.png")]
    assert names == ["plain", f"{runs[1].parent.name}/sam", "other/sam"]


def test_more_runs_than_colors(runs, tmp_path):
    folders = []
    for number in range(23):
        folders.append(tmp_path / f"run-{number}")
        folders[-1].mkdir()
        (folders[-1] / "metrics.csv").write_text((runs[1] / "metrics.csv").read_text())
    assert len(plot_runs(folders, tmp_path / "out.pdf")) == 23
    assert len({tuple(plot._style(k).values()) for k in range(23)}) == 23


def test_tensorboard_events(tmp_path):
    """Events hold the same as CSV."""
    csv = log_run(tmp_path / "csv", sharpness=lambda epoch, step: epoch + step + 1.0)
    events = tmp_path / "events"
    logger = TensorBoardLogger(events, name=None, version="")
    log_run(events, logger=logger, sharpness=lambda epoch, step: epoch + step + 1.0)
    found, expected = read_run(events).values, read_run(csv).values
    pd.testing.assert_frame_equal(found[expected.columns], expected, rtol=1e-6)


def test_tensorboard_missing_is_said(tmp_path, monkeypatch):
    (tmp_path / "events.out.tfevents.1.host.2.0").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LegatoError, match="pip install tensorboard"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no metrics"),
        ("", "cannot read"),
        ("epoch,step\n", "first epoch"),
        ("epoch,step\n0,1\n", "first epoch"),
        ("a,b\n1,2\n", "no column 'epoch'"),
        ("epoch,val0_epoch/forces_rmse\n0,1,2,3\n", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_folder_without_metrics(tmp_path, content, words):
    if isinstance(content, bytes):
        (tmp_path / "metrics.csv").write_bytes(content)
    elif content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(LegatoError, match=words) as caught:
        plot_runs([tmp_path], tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


def test_other_mistakes(runs, tmp_path):
    for folders, out, words in [
        ([], "out.png", "no folder"),
        ([tmp_path / "none"], "out.png", "not a folder"),
        ([runs[0], runs[0]], "out.png", "given twice"),
        ([runs[0].parent], "out.png", "several runs"),
        ([runs[0]], "out.xyz", "ending"),
        ([runs[0]], "missing/out.png", "cannot write"),
    ]:
        with pytest.raises(LegatoError, match=words) as caught:
            plot_runs(folders, tmp_path / out)
        assert "\n" not in str(caught.value)


def test_command(runs, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_plot(parser.add_subparsers(required=True))
    out = tmp_path / "picture.png"
    parsed = parser.parse_args(["plot", *map(str, runs), "--out", str(out)])
    parsed.run(parsed)
    assert out.is_file()
    said = capsys.readouterr().out
    assert "plain: 4 epochs" in said
    assert "sam: 3 epochs, 2 steps skipped" in said
    assert str(out) in said


def test_panels_prefer_one_quantity():
    """No quantity stands in two panels."""
    names = [name for candidates in PANELS.values() for name in candidates]
    assert len(names) == len(set(names))
