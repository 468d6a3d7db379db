"""Speed and memory of molecular dynamics with an Allegro model. See README.md.

    python run.py                       everything
    python run.py --quick               small sizes and few repeats, as a test
    python run.py --only evaluate       one stage: models, evaluate, md, report
    python run.py --pair-allegro LMP    also pair_allegro, with a LAMMPS that has it

Models and raw outputs go to work/, results to results/ (--quick: to work/quick/).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

HERE = Path(__file__).parent.absolute()
STAGES = ("models", "evaluate", "md", "report")
BOX = 432
BLOCK = 64
"""What LAMMPS uses if the user does not say."""
BLOCKS = (16, 32, 64, 128, 256, 512)


def main() -> None:
    """Parse the options and do the stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--checkpoint", type=Path, help="a model of H and N, cutoff 4.5 A")
    parser.add_argument("--pair-allegro", type=Path, metavar="LMP")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch
    bench = Benchmark(
        work=chosen.work.absolute(),
        results=chosen.work.absolute() / "quick" if chosen.quick else chosen.results.absolute(),
        checkpoint=chosen.checkpoint,
        pair_allegro=chosen.pair_allegro,
        repeats=1 if chosen.quick else chosen.repeats,
        quick=chosen.quick,
    )
    for stage in STAGES if chosen.only is None else (chosen.only,):
        print(f"== {stage}", flush=True)
        getattr(bench, stage)()


class Benchmark:
    """The stages.

    Args:
        work: models and raw outputs.
        results: JSON, tables and plots.
        checkpoint: the model; None to train one.
        pair_allegro: a LAMMPS that has pair_style allegro.
        repeats: number of repeats of every measurement, interleaved.
        quick: small sizes.
    """

    def __init__(self, *, work, results, checkpoint, pair_allegro, repeats, quick) -> None:
        from models import Models

        self.work, self.results = work, results
        self.forms = Models(work / "models", checkpoint)
        self.pair_allegro, self.repeats, self.quick = pair_allegro, repeats, quick
        # 432, 3,456 and 27,648 atoms, as cubes
        self.sizes = [(1, 1, 1), (2, 2, 2)] if quick else [(1, 1, 1), (2, 2, 2), (4, 4, 4)]

    def models(self) -> None:
        """Compile the models that are missing."""
        forms = self.forms
        for path in (forms.torchscript, forms.nequips_torchscript, forms.aotinductor):
            print(path.name)
        print(forms.without_kernels.name)
        print(forms.whole_aotinductor(2).name)
        print(forms.static_block(BLOCK).name)

    def evaluate(self) -> None:
        """Energies and forces in one process, all ways of evaluating in turn."""
        script, inductor = str(self.forms.torchscript), str(self.forms.aotinductor)
        nequips = str(self.forms.nequips_torchscript)
        whole2 = str(self.forms.whole_aotinductor(2))
        without = str(self.forms.without_kernels)
        static = str(self.forms.static_block(BLOCK))
        one = {"threads": 1, "block": BLOCK}

        def ways(repeat):
            yield {"name": "whole: TorchScript", "file": nequips, "threads": 1}
            yield {"name": "whole: deployed TorchScript", "file": script, "threads": 1}
            yield dict(name="blocks: TorchScript", file=script, **one)
            yield dict(name="blocks: AOTInductor", file=inductor, **one)
            yield dict(name="blocks: AOTInductor, compiler's kernels", file=without, **one)
            yield {"name": "whole: AOTInductor", "file": whole2, "threads": 2}
            yield {"name": "blocks: AOTInductor", "file": inductor, "threads": 2, "block": BLOCK}
            if repeat == (1, 1, 1):
                yield {"name": "ase: TorchScript", "file": nequips, "threads": 1}
                yield dict(name="energy: TorchScript", file=script, **one)
                yield dict(name="energy: AOTInductor", file=inductor, **one)
                yield dict(name="static: AOTInductor", file=static, **one)
                yield dict(name="dynamic: AOTInductor", file=without, **one)

        small = [s for s in self.sizes if s != (4, 4, 4)]
        self._job("whole", [w | {"repeat": s} for s in small for w in ways(s)], compare=True)
        cases = [
            {
                "name": "blocks: " + kind,
                "file": file,
                "threads": 1,
                "block": block,
                "repeat": (1, 1, 1),
            }
            for kind, file in (
                ("TorchScript", script),
                ("AOTInductor", inductor),
                ("AOTInductor, compiler's kernels", without),
            )
            for block in BLOCKS
        ]
        self._job("block", cases)

    def _job(self, name: str, cases: list[dict], *, compare: bool = False) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.results.mkdir(parents=True, exist_ok=True)
        job = {
            "cases": cases,
            "repeats": self.repeats,
            "compare": compare,
            "out": str(self.results / f"{name}.json"),
        }
        path = self.work / f"{name}.job.json"
        path.write_text(json.dumps(job))
        subprocess.run([sys.executable, str(HERE / "evaluate.py"), str(path)], check=True)

    def md(self) -> None:
        """Molecular dynamics in LAMMPS for different N, threads and ranks; memory."""
        from lammps_runs import Run, pair_legato, pair_none

        runs = []
        for repeat in self.sizes:
            steps = {1: 40, 8: 8, 64: 2}[repeat[0] ** 3]
            for kind, file in (
                ("TorchScript", self.forms.torchscript),
                ("AOTInductor, compiler's kernels", self.forms.without_kernels),
                ("AOTInductor", self.forms.aotinductor),
            ):
                runs.append(Run(kind, pair_legato(file, BLOCK), repeat, steps))
            if repeat == (
                2,
                2,
                2,
            ):  # right after the run on one core, as the machine's speed drifts
                runs.append(replace(runs[-1], pair=pair_legato(file, BLOCK, 2), threads=2))
                runs.append(replace(runs[-2], ranks=2))
            runs.append(Run("no model", pair_none(4.5), repeat, steps))
            if self.pair_allegro is not None:
                runs += self._runs_of_pair_allegro(repeat, steps)
        if not self.quick:  # 221,184 atoms
            large = {"repeat": (8, 8, 8), "steps": 1, "repeats": 2}
            runs.append(Run("AOTInductor", pair_legato(self.forms.aotinductor, BLOCK), **large))
            runs.append(Run("no model", pair_none(4.5), **large))
        self.results.mkdir(parents=True, exist_ok=True)
        job = {
            "runs": [asdict(run) | {"lmp": str(run.lmp)} for run in runs],
            "repeats": self.repeats,
            "folder": str(self.work / "md"),
            "out": str(self.results / "md.json"),
        }
        path = self.work / "md.job.json"
        path.write_text(json.dumps(job))
        # in a process without torch, whose memory would count for the programs that it starts
        subprocess.run([sys.executable, str(HERE / "lammps_runs.py"), str(path)], check=True)

    def _runs_of_pair_allegro(self, repeat: tuple[int, int, int], steps: int) -> list:
        from lammps_runs import Run, pair_allegro

        # 27,648 atoms at once need 16 GB and minutes
        few = {"repeats": 1, "steps": 1} if repeat == (4, 4, 4) else {"steps": steps}
        files = {
            "pair_allegro, TorchScript": self.forms.nequips_torchscript,
            "pair_allegro, AOTInductor": self.forms.whole_aotinductor(1),
        }
        return [
            Run(name, pair_allegro(file), repeat, lmp=self.pair_allegro, **few)
            for name, file in files.items()
        ]

    def report(self) -> None:
        """Tables, ratios and plot from what was measured."""
        from report import report

        report(self.results, machine=_machine())


def _machine() -> dict[str, str]:
    import torch

    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": f"{os.cpu_count()} x {model[0] if model else platform.machine()}",
        "torch": torch.__version__,
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


if __name__ == "__main__":
    main()
