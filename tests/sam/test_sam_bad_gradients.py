"""Gradients that are zero or not finite."""

import itertools
import math
import warnings

import lightning
import pytest
import torch
from nequip.train import MuonWithAuxAdam
from nequip.train.ema import EMAWeights
from sam_toy import Toy, dataset, fit, weights
from torch.utils.data import TensorDataset

from nequip_legato import SAM


def adam(parameters, **options):
    return torch.optim.Adam(parameters, **{"lr": 0.03, **options})


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_zero_gradient_makes_a_plain_step():
    x, y = dataset().tensors
    modules = []
    for callbacks in ([], [SAM(rho=0.1)]):
        module = Toy(lambda p: adam(p, weight_decay=0.1))
        with torch.no_grad():  # the output is 0 whatever the first layer does; y = 0
            module.net[3].weight.zero_()
            module.net[3].bias.zero_()
        fit(module, callbacks, steps=3, data=TensorDataset(x, torch.zeros_like(y)))
        modules.append(module)
    assert same(weights(modules[0]), weights(modules[1]))
    assert len(modules[1].losses) == 3
    assert not same(weights(modules[0]), weights(Toy(adam)))  # weight decay acted


def state(trainer) -> list[torch.Tensor]:
    states = trainer.optimizers[0].state_dict()["state"].values()
    return [v.clone() for s in states for v in s.values() if isinstance(v, torch.Tensor)]


class States(lightning.Callback):
    """Weights and optimizer state after every step."""

    def __init__(self):
        self.weights, self.states = [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.weights.append(weights(pl_module))
        self.states.append(state(trainer))


def test_nan_in_the_data_skips_the_step():
    x, y = (t.clone() for t in dataset().tensors)
    x[7, 0] = float("nan")  # in the second batch of six
    states, sam = States(), SAM(rho=0.1)
    module = Toy(lambda p: adam(p, weight_decay=0.1))
    with pytest.warns(UserWarning, match="the gradient is not finite at step 1"):
        trainer = fit(module, [sam, states], steps=4, data=TensorDataset(x, y))
    assert same(states.weights[0], states.weights[1])
    assert same(states.states[0], states.states[1])
    assert not same(states.weights[1], states.weights[2])
    assert all(torch.isfinite(w).all() for w in weights(module))
    assert sam.skipped_steps == 1
    assert trainer.callback_metrics["legato/skipped_steps"] == 1


def test_nan_in_the_second_gradient_only_skips_the_step():
    class Edge(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            # beyond the first pass' loss the square root has no value
            if len(self.losses) % 2 == 1:
                self.limit = loss.item()
                return loss
            return loss + torch.sqrt(self.limit - loss)

    module, states, sam = Edge(lambda p: adam(p, weight_decay=0.1)), States(), SAM(rho=0.1)
    before = weights(module)
    with pytest.warns(UserWarning, match="gradient at w \\+ e is not finite"):
        fit(module, [sam, states], steps=1)
    assert same(before, weights(module))
    assert states.states == [[]]
    assert sam.skipped_steps == 1


class Counting(torch.optim.SGD):
    """Counts in its group, moves parameters without gradient, and keeps a state: the worst case."""

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
            for p in group["params"]:
                p.mul_(0.9)
                self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
        return loss


class Averaged(Toy):
    """Averages weights the way nequip's EMALightningModule does."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.ema = EMAWeights(self.net, decay=0.5)
        self.ema.update_parameters(self.net)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(closure=optimizer_closure)
        self.ema.update_parameters(self.net)


def muon(parameters):
    matrices, rest = [], []
    for p in parameters:
        (matrices if p.ndim == 2 else rest).append(p)
    return MuonWithAuxAdam(
        [
            {"params": matrices, "use_muon": True, "weight_decay": 0.1, "e3nn_reshaping": {}},
            {"params": rest, "use_muon": False, "weight_decay": 0.1},
        ]
    )


def everything(trainer, module) -> list:
    optimizer = trainer.optimizers[0].state_dict()
    found = [*weights(module), *(b.clone() for b in module.buffers()), module.ema.num_updates]
    for state in optimizer["state"].values():
        found += [v.clone() if isinstance(v, torch.Tensor) else v for v in state.values()]
    return [*found, *(group.get("count") for group in optimizer["param_groups"])]


def equal(a, b) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("bad_batch", [0, 2])
@pytest.mark.parametrize("optimizer", [adam, Counting, muon], ids=["Adam", "counting", "Muon"])
def test_skipped_step_changes_nothing_at_all(optimizer, bad_batch):
    class Watch(lightning.Callback):
        def __init__(self):
            self.found = []

        def on_train_batch_start(self, trainer, pl_module, *args):
            self.found.append(everything(trainer, pl_module))

        def on_train_end(self, trainer, pl_module):
            self.found.append(everything(trainer, pl_module))

    x, y = (t.clone() for t in dataset().tensors)
    y[6 * bad_batch] = math.inf
    watch = Watch()
    with pytest.warns(UserWarning, match=f"not finite at step {bad_batch}"):
        fit(Averaged(optimizer), [SAM(rho=0.1), watch], steps=4, data=TensorDataset(x, y))
    unchanged = [equal(a, b) for a, b in itertools.pairwise(watch.found)]
    assert unchanged == [step == bad_batch for step in range(4)]


def test_skipped_steps_are_counted_and_the_schedule_goes_on():
    x, y = (t.clone() for t in dataset().tensors)
    y[[0, 13]] = math.nan
    sam = SAM(rho=0.1)
    module = Toy(
        lambda p: adam(p),
        scheduler=lambda o: {
            "scheduler": torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
            "interval": "step",
        },
    )
    with pytest.warns(UserWarning, match="changes no weight") as caught:
        trainer = fit(module, [sam], steps=8, data=TensorDataset(x, y))
    assert sum("changes no weight" in str(w.message) for w in caught) == 4
    assert sam.skipped_steps == 4
    assert trainer.callback_metrics["legato/skipped_steps"] == 4
    assert trainer.global_step == 8
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.03 * 0.5**8)


def test_one_bad_micro_batch_skips_the_whole_step():
    x, y = (t.clone() for t in dataset().tensors)
    y[0] = math.nan
    states = States()
    sam, module = SAM(rho=0.1), Toy(adam)
    with pytest.warns(UserWarning, match="not finite"):
        fit(module, [sam, states], steps=2, data=TensorDataset(x, y), accumulate_grad_batches=2)
    assert sam.skipped_steps == 1
    assert same(states.weights[0], states.weights[1])
    assert not same(states.weights[1], states.weights[3])


def test_no_warning_without_cause():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Toy(adam), [SAM(rho=0.1)], steps=3)
    assert not [w for w in caught if "SAM" in str(w.message)]
