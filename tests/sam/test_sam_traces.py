"""The second pass leaves no trace."""

import csv
import random

import lightning
import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch.loggers import CSVLogger
from sam_toy import Toy, fit, weights

from nequip_legato import SAM


def adam(parameters, **options):
    return torch.optim.Adam(parameters, **{"lr": 0.03, **options})


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_rho_zero_is_no_callback_bit_for_bit():
    modules = [Toy(adam, dropout=0.3), Toy(adam, dropout=0.3)]
    for module, callbacks in zip(modules, ([], [SAM(rho=0.0)]), strict=True):
        lightning.seed_everything(1, verbose=False)
        fit(module, callbacks)
    assert same(weights(modules[0]), weights(modules[1]))
    assert modules[0].losses == modules[1].losses


class AtOptimizerStep(torch.optim.SGD):
    """Remembers the weights that it finds."""

    def step(self, closure):
        before = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        with torch.enable_grad():
            loss = closure()
        now = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        self.found_same = [*getattr(self, "found_same", []), same(before, now)]
        super().step()
        return loss


class OptionalClosure(AtOptimizerStep):
    """As above; the closure is optional, as in every first-order optimizer."""

    def step(self, closure=None):
        return super().step(closure)


def test_weights_are_back_before_the_optimizer_steps():
    module = Toy(lambda p: OptionalClosure(p, lr=0.1))
    trainer = fit(module, [SAM(rho=0.5)], steps=5)
    assert trainer.optimizers[0].found_same == [True] * 5
    assert len(module.losses) == 10  # the second passes did happen


def test_weights_are_back_when_the_second_pass_raises():
    class Fails(Toy):
        def training_step(self, batch, batch_idx):
            if len(self.losses) == 5:  # the second pass of the third step
                raise RuntimeError("out of memory, say")
            return super().training_step(batch, batch_idx)

    module = Fails(adam)
    reference = Toy(adam)
    fit(reference, [SAM(rho=0.5)], steps=2)
    with pytest.raises(RuntimeError, match="say"):
        fit(module, [SAM(rho=0.5)], steps=5)
    assert same(weights(module), weights(reference))


class Logged(lightning.Callback):
    def __init__(self):
        self.metrics = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.metrics.append({k: v.item() for k, v in trainer.logged_metrics.items()})


def test_logged_values_are_those_at_the_weights():
    """With a learning rate of zero the weights stay, so nothing logged may change."""
    runs = []
    for callbacks in ([], [SAM(rho=0.5)]):
        logged = Logged()
        fit(Toy(lambda p: torch.optim.SGD(p, lr=0.0)), [*callbacks, logged], steps=6)
        runs.append(logged.metrics)
    plain, sam = runs
    ours = {"legato/sharpness", "legato/grad_norm"}
    assert all(set(step) == {"train_loss", *ours} for step in sam)
    assert all(step["legato/sharpness"] > 0 for step in sam)
    assert [step["train_loss"] for step in plain] == [step["train_loss"] for step in sam]


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("every", [0, 1, 3])
def test_loggers_get_ours_at_the_steps_that_they_take(every, accumulate, rho, tmp_path):
    """Also where training went on from a checkpoint, and behind an epoch of a broken window."""
    options = {"log_every_n_steps": every, "accumulate_grad_batches": accumulate}
    checkpoint = tmp_path / "at_four.ckpt"
    logger = CSVLogger(tmp_path, version=0)
    trainer = fit(Toy(adam), [SAM(rho=rho)], steps=4, logger=logger, **options)
    trainer.save_checkpoint(checkpoint)
    logger = CSVLogger(tmp_path, version=1)
    fit(Toy(adam), [SAM(rho=rho)], steps=10, logger=logger, ckpt_path=checkpoint, **options)
    rows = []
    for version in (0, 1) if every else ():
        with (tmp_path / "lightning_logs" / f"version_{version}" / "metrics.csv").open() as file:
            rows += csv.DictReader(file)
    assert [int(row["step"]) for row in rows] == [
        n for n in range(10) if every and n % every == every - 1
    ]
    assert all(row["train_loss"] and row["legato/grad_norm"] for row in rows)
    assert all(bool(row.get("legato/sharpness")) == (rho > 0) for row in rows)


def test_random_numbers_are_the_same_in_both_passes_and_go_on_as_if_there_were_one():
    modules = [Toy(lambda p: torch.optim.SGD(p, lr=0.0), dropout=0.5) for _ in range(2)]
    rest = []
    for module, callbacks in zip(modules, ([], [SAM(rho=1e-9)]), strict=True):
        lightning.seed_everything(1, verbose=False)
        fit(module, callbacks, steps=6)
        rest.append(torch.rand(3))
    plain, sam = modules
    assert sam.losses[::2] == plain.losses
    # the step is tiny, so the same dropout mask gives the same loss
    assert sam.losses[1::2] == pytest.approx(plain.losses, rel=1e-6)
    assert plain.losses[0] != plain.losses[4]  # same batch, another mask
    assert torch.equal(*rest)


class Draws(lightning.Callback):
    """Draws random numbers between the first pass and the step."""

    def __init__(self):
        self.drawn = []

    def on_after_backward(self, *args):
        self.drawn.append(torch.rand(()).item())


def test_random_numbers_that_others_draw_are_not_drawn_again():
    drawn = []
    for callbacks in ([], [SAM(rho=0.1)]):
        lightning.seed_everything(1, verbose=False)
        draws = Draws()
        fit(Toy(adam, dropout=0.5), [*callbacks, draws], steps=4)
        drawn.append(draws.drawn)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 4


def test_mixed_bfloat16_holds_in_both_passes():
    class Precision(Toy):
        def training_step(self, batch, batch_idx):
            self.modes = [*getattr(self, "modes", []), torch.is_autocast_enabled("cpu")]
            return super().training_step(batch, batch_idx)

    module = Precision(adam)
    fit(module, [SAM(rho=0.1)], steps=2, precision="bf16-mixed")
    assert module.modes == [True] * 4


class Stateful(Toy):
    """Keeps a metric, running statistics and epoch averages, and draws from every generator."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.mean = torchmetrics.MeanMetric()
        self.history = torchmetrics.CatMetric()
        self.norm = torch.nn.BatchNorm1d(3, momentum=0.5).double()
        self.drawn = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))
        loss = torch.nn.functional.mse_loss(self.net(self.norm(x)), y)
        self.losses.append(loss.item())
        self.history.update(loss.detach())
        self.log("metric", self.mean(loss.detach()))
        self.log("object", self.mean, on_step=True, on_epoch=True)
        self.log("average", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        self.log("epoch", self.mean.compute())


def test_metrics_buffers_epoch_logs_and_generators_see_one_pass():
    def run(callbacks):
        lightning.seed_everything(5, verbose=False)
        module, logged = Stateful(lambda p: torch.optim.SGD(p, lr=0.0)), Logged()
        trainer = fit(module, [*callbacks, logged], steps=8)
        numbers = {k: v.item() for k, v in trainer.logged_metrics.items()}
        return module, logged.metrics, numbers

    plain, plain_steps, plain_end = run([])
    sam, sam_steps, sam_end = run([SAM(rho=0.5)])
    assert len(sam.losses) == 2 * len(plain.losses)  # the second passes did happen
    for name, value in plain.norm.state_dict().items():
        assert torch.equal(value, sam.norm.state_dict()[name])
    assert torch.equal(plain.history.compute(), sam.history.compute())
    for p, s in zip([*plain_steps, plain_end], [*sam_steps, sam_end], strict=True):
        assert p == {k: v for k, v in s.items() if not k.startswith("legato/")}
    assert {"metric", "object_step", "object_epoch", "average", "epoch"} <= plain_end.keys()
    assert sam.drawn[::2] == sam.drawn[1::2] == plain.drawn


class KeepsState(Stateful):
    """Fails in its last second pass, after having touched everything."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if len(self.losses) == 4:
            raise RuntimeError("out of memory, say")
        return loss


def test_traces_are_removed_when_the_second_pass_raises():
    lightning.seed_everything(5, verbose=False)
    reference = Stateful(adam)
    fit(reference, [SAM(rho=0.5)], steps=1)
    lightning.seed_everything(5, verbose=False)
    module = KeepsState(adam)
    with pytest.raises(RuntimeError, match="say"):
        fit(module, [SAM(rho=0.5)], steps=2)
    assert same(weights(module), weights(reference))
    assert len(module.history.compute()) == 2  # two first passes
    assert module.norm.num_batches_tracked == 2


def test_hooks_of_other_callbacks_run_once():
    class Count(lightning.Callback):
        before = after = 0

        def on_before_backward(self, *args):
            self.before += 1

        def on_after_backward(self, *args):
            self.after += 1

    count = Count()
    fit(Toy(adam), [SAM(rho=0.1), count], steps=4)
    assert (count.before, count.after) == (4, 4)
