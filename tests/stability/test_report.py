"""The report of a campaign from records to files."""

import csv
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from synthetic import simulate, write_runs

from nequip_legato.cli import main
from nequip_legato.errors import LegatoError
from nequip_legato.stability.report.plots import colors_of
from nequip_legato.stability.report.report import report

SECTIONS = (
    "Size exponent",
    "Groups compared with plain",
    "Survival",
    "Which criterion fired",
    "Before the failure",
    "Cost",
)


def two_groups(seed=0, **opts):
    generator = np.random.default_rng(seed)
    settings = {"seeds": 3, "runs": 5, "limit": lambda atoms: 400_000, "level_scatter": 0.3} | opts
    return simulate(generator, **settings) + simulate(
        generator, group="sam", exponent=-0.14, scale=350.0, **settings
    )


def lines(path, records):
    path.write_text(
        "".join(json.dumps({"format": 1, **asdict(record)}) + "\n" for record in records)
    )
    return path


def strict(path):
    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = write_runs(tmp_path_factory.mktemp("one") / "campaign", two_groups())
    (analysis,) = report([folder], draws=200)
    return folder / "report", analysis


def test_page_holds_every_section_and_nothing_from_elsewhere(reported):
    page = (reported[0] / "report.html").read_text()
    for section in SECTIONS:
        assert f"<h3>{section}</h3>" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    assert "largest_force" in page
    assert "at best 0.1" in page


def test_files(reported):
    folder, _ = reported
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *(f"{name}.png" for name in ("time", "survival", "residuals", "traces")),
        *("report.html", "runs.csv", "summary.csv", "summary.json", "summary.md"),
    }
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_tables_hold_every_run_and_cell(reported):
    folder, analysis = reported
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    assert len(rows) == len(two_groups())
    assert sum(row["outcome"] == "failed" for row in rows) == sum(
        c.failures for c in analysis.cells
    )
    assert len(list(csv.DictReader((folder / "summary.csv").open()))) == 6


def test_json_is_strict_and_complete(reported):
    folder, analysis = reported
    (content,) = strict(folder / "summary.json")
    assert {e["group"] for e in content["exponents"]} == {"plain", "sam"}
    assert content["exponents"][0]["exponent"]["value"] == pytest.approx(
        analysis.exponents[0].slope
    )
    assert len(content["cells"]) == 6
    assert len(content["comparisons"]) == 5
    assert content["differences"]["sam"]["value"] > 0


def test_same_horizon_for_groups_at_one_size(reported):
    _, analysis = reported
    for atoms in analysis.sizes:
        assert len({c.horizon for c in analysis.cells if c.atoms == atoms}) == 1


def test_same_report_twice(reported, tmp_path):
    folder, _ = reported
    report([folder.parent], out=tmp_path, draws=200)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_ratio_is_one_for_equal_groups(tmp_path):
    plain = simulate(np.random.default_rng(1), seeds=3, runs=5)
    twin = [replace(r, group="twin", model=f"t{r.model}", run=f"t{r.run}") for r in plain]
    (analysis,) = report([lines(tmp_path / "r.jsonl", plain + twin)], draws=100)
    for comparison in analysis.comparisons:
        assert comparison.ratio.value == pytest.approx(1.0)
        assert comparison.ratio.low <= 1.0 <= comparison.ratio.high
        assert comparison.permutation == pytest.approx(1.0)
    assert analysis.differences["twin"].value == pytest.approx(0.0, abs=1e-9)


def test_ensembles_are_analyzed_separately(tmp_path):
    records = two_groups() + simulate(np.random.default_rng(2), ensemble="nve", seeds=3)
    analyses = report([lines(tmp_path / "r.jsonl", records)], draws=100)
    assert [a.protocol[0] for a in analyses] == ["nvt", "nve"]
    assert (tmp_path / "report" / "time-nve-200K-1fs.png").is_file()
    page = (tmp_path / "report" / "report.html").read_text()
    assert "analyzed\nseparately" in page
    assert "There is only one group" in page


def test_too_little_gives_words_instead_of_numbers(tmp_path):
    records = two_groups(seeds=1, runs=2, sizes=(64, 512), limit=lambda atoms: 1000)
    (analysis,) = report([lines(tmp_path / "r.jsonl", records)], draws=100)
    assert all(e.exponent is None for e in analysis.exponents)
    assert not analysis.differences
    assert all(math.isinf(c.median.value) for c in analysis.cells)
    text = (tmp_path / "report" / "summary.md").read_text()
    assert "no exponent" in text
    assert "> 1 [" in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "fewer than two training seeds" in page
    assert "this carries no information" in page
    strict(tmp_path / "report" / "summary.json")


def test_unfailed_size_has_a_median_beyond_its_limit(tmp_path):
    records = [
        replace(r, outcome="censored", criterion=None, steps=500_000) if r.atoms == 64 else r
        for r in simulate(np.random.default_rng(3), sizes=(64, 256, 1024, 4096))
    ]
    (analysis,) = report([lines(tmp_path / "r.jsonl", records)], draws=100)
    assert analysis.cells[0].median.value == math.inf
    assert analysis.cells[0].restricted_mean.value == analysis.cells[0].horizon == 500.0
    assert analysis.exponents[0].exponent is not None
    assert "> 500" in (tmp_path / "report" / "summary.md").read_text()


def test_an_interval_without_width_is_none(tmp_path):
    """One run of one training seed of each group: no bootstrap can tell its scatter."""
    records = two_groups(seeds=1, runs=1)
    (analysis,) = report([lines(tmp_path / "r.jsonl", records)], draws=100)
    for cell in analysis.cells:
        assert math.isnan(cell.restricted_mean.low)
        assert math.isnan(cell.median.high)
    assert all(math.isnan(c.ratio.low) for c in analysis.comparisons if c.ratio)
    assert "[no interval]" in (tmp_path / "report" / "summary.md").read_text()
    strict(tmp_path / "report" / "summary.json")


def test_names_are_neither_markup_nor_formulas(tmp_path):
    records = [replace(r, group="<b>a|$x_{</b>") for r in simulate(np.random.default_rng(4))]
    report([lines(tmp_path / "r.jsonl", records)], draws=100)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>a" not in page
    assert "&lt;b&gt;a" in page


def test_remarks(tmp_path):
    records = [
        replace(
            r,
            criterion="temperature_high" if r.failed else None,
            threshold=float(r.training_seed),
            step_limit=r.step_limit + r.velocity_seed,
        )
        for r in two_groups()
    ]
    (analysis,) = report([lines(tmp_path / "r.jsonl", records)], draws=100)
    text = " ".join(analysis.notes)
    assert "an average over all atoms" in text
    assert "different thresholds" in text
    assert "step limits differ" in text


def test_broken_traces_are_passed_over(tmp_path):
    records = two_groups(runs=2)
    folder = write_runs(tmp_path / "c", records, traces=0)
    broken = ["", "step\n", "a,b\n1,2\n", "step,temperature\n0,200\n10,\nx,nan\n20,inf\n30,2", "\0"]
    failed = [r for r in records if r.failed]
    for record, text in zip(failed, broken * 4, strict=False):
        (folder / "runs" / record.run / "trace.csv").write_text(text)
    report([folder], draws=100)
    assert "<h3>Before the failure</h3>" in (folder / "report" / "report.html").read_text()


def test_refusals(tmp_path):
    with pytest.raises(LegatoError, match="does not exist"):
        report([tmp_path / "nowhere"])
    with pytest.raises(LegatoError, match="no finished runs"):
        report([tmp_path])
    path = lines(tmp_path / "r.jsonl", two_groups())
    with pytest.raises(LegatoError, match="is both in"):
        report([path, path])
    with pytest.raises(LegatoError, match="no group 'asam'"):
        report([path], reference="asam")
    with pytest.raises(LegatoError, match="bootstrap samples"):
        report([path], draws=1)
    odd = lines(tmp_path / "odd.jsonl", [replace(two_groups()[0], steps=-1)])
    with pytest.raises(LegatoError, match="cannot be"):
        report([odd])
    (tmp_path / "file").write_text("")
    with pytest.raises(LegatoError, match="cannot make the folder"):
        report([path], out=tmp_path / "file" / "below")


def test_command(tmp_path, capsys):
    path = lines(tmp_path / "r.jsonl", two_groups())
    assert main(["stability", "report", str(path), "--draws", "100"]) == 0
    printed = capsys.readouterr().out
    assert "| plain | -0." in printed
    assert f"wrote {tmp_path / 'report' / 'report.html'}" in printed
    assert main(["stability", "report", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 10, 11, 20])
def test_groups_have_colors_of_their_own(count):
    assert len(set(colors_of([f"group {k}" for k in range(count)]).values())) == count
