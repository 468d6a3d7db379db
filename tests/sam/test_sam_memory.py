"""Memory of a step beyond that of a plain step, in copies of the weights."""

import gc
import itertools
import json

import pytest
import torch
from sam_toy import Toy, fit

from nequip_legato import SAM, LookSAM, MomentumSAM

WIDTH, LAYERS = 128, 12
COPY = WIDTH * WIDTH * LAYERS * 8


class Wide(Toy):
    """Weights that outweigh everything else: 1.6 MB, batches of 48 bytes."""

    def __init__(self):
        super().__init__(lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9))
        torch.manual_seed(0)
        layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False).double() for _ in range(LAYERS)]
        first = torch.nn.Linear(3, WIDTH, bias=False).double()
        last = torch.nn.Linear(WIDTH, 1, bias=False).double()
        self.net = torch.nn.Sequential(first, *layers, last)


def peak(folder, callbacks) -> float:
    """Largest number of bytes that torch held during a training, in copies of the weights."""
    path = folder / "trace.json"
    gc.collect()  # what an earlier training left must not be given back meanwhile
    with torch.profiler.profile(profile_memory=True) as profiler:
        fit(Wide(), callbacks, steps=6, batch_size=1)
    profiler.export_chrome_trace(str(path))
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e["name"] == "[memory]"]
    events.sort(key=lambda e: e["ts"])
    return max(itertools.accumulate(e["args"]["Bytes"] for e in events)) / COPY


@pytest.mark.parametrize(
    ("make", "copies"),
    [
        (lambda: SAM(rho=0.1), 1),
        (lambda: SAM(rho=0.1, adaptive=True), 1),
        (lambda: SAM(rho=0.1, last_fraction=0.5), 1),
        (lambda: SAM(rho=0.1, adaptive=True, eta=0.1), 2),
        (lambda: MomentumSAM(rho=0.1), 1),
        (lambda: LookSAM(rho=0.1, every=2), 3),
    ],
    ids=["SAM", "ASAM", "late", "ASAM-eta", "momentum", "look"],
)
def test_memory_beyond_a_plain_step(tmp_path, make, copies):
    plain, method = peak(tmp_path, []), peak(tmp_path, [make()])
    print(f"plain {plain:.3f}, method {method:.3f}")
    assert plain > 3  # weights, momenta, gradients: it was measured
    assert 0.5 < method - plain < copies + 0.15  # products of one layer at a time come on top
