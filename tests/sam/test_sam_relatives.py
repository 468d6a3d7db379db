"""Late phase, schedules, chosen parameters, Momentum-SAM and LookSAM against hand-written steps."""

import math

import lightning
import pytest
import torch
from sam_reference import HandAdam, add, gradient
from sam_toy import Toy, batches, fit, network, weights

from nequip_legato import SAM, LegatoError, LookSAM, MomentumSAM

STEPS = 12
RHO = 0.07
ADAM = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-7, "weight_decay": 0.05}


def adam(parameters):
    return torch.optim.Adam(parameters, **ADAM)


def hand_adam() -> HandAdam:
    return HandAdam(ADAM["lr"], ADAM["betas"], ADAM["eps"], ADAM["weight_decay"], False)


def norm(tensors) -> float:
    return math.sqrt(sum((x**2).sum().item() for x in tensors))


def restore(net, saved):
    with torch.no_grad():
        for p, w in zip(net.parameters(), saved, strict=True):
            p.copy_(w)


def sam_gradient(net, batch, rho, *, moved=lambda name: True):
    """SAM's gradient over the parameters that are moved, and the plain one."""
    before = weights(net)
    _, g = gradient(net, batch)
    chosen = [x if moved(n) else 0 * x for (n, _), x in zip(net.named_parameters(), g, strict=True)]
    add(net, [rho * x / norm(chosen) for x in chosen])
    _, above = gradient(net, batch)
    restore(net, before)
    return above, g


def agree(module, net, tolerance=1e-12) -> None:
    for actual, wanted in zip(weights(module), weights(net), strict=True):
        torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)


def by_hand(rho_at, *, moved=lambda name: True, update=None):
    """SAM with a rho for each step."""
    net, update = network(), update or hand_adam()
    for step, batch in enumerate(batches(6, STEPS)):
        rho = rho_at(step)
        g = sam_gradient(net, batch, rho, moved=moved)[0] if rho else gradient(net, batch)[1]
        update(list(net.parameters()), g)
    return net


def test_late_phase():
    module = Toy(adam)
    trainer = fit(module, [SAM(rho=RHO, last_fraction=0.25)], steps=STEPS)
    agree(module, by_hand(lambda step: RHO if step >= 9 else 0.0))
    assert len(module.losses) == STEPS + 3
    assert trainer.callback_metrics["legato/rho"].item() == pytest.approx(RHO)


def test_late_phase_in_epochs():
    """24 samples in batches of 6 are four steps per epoch: the last of three epochs climbs."""
    module = Toy(adam)
    fit(module, [SAM(rho=RHO, last_fraction=1 / 3)], steps=-1, max_epochs=3)
    agree(module, by_hand(lambda step: RHO if step >= 8 else 0.0))


def test_late_phase_counts_steps_not_batches():
    module = Toy(adam)
    fit(
        module,
        [SAM(rho=RHO, last_fraction=0.5)],
        steps=-1,
        max_epochs=2,
        batch_size=3,
        accumulate_grad_batches=2,
    )
    assert len(module.losses) == 16 + 8


def test_plain_phase_is_plain_training_bit_for_bit():
    modules = [Toy(adam, dropout=0.3) for _ in range(2)]
    for module, callbacks in zip(modules, ([], [SAM(rho=RHO, last_fraction=0.05)]), strict=True):
        lightning.seed_everything(1, verbose=False)
        fit(module, callbacks, steps=20)
    assert modules[0].losses[:19] == modules[1].losses[:19]
    assert len(modules[1].losses) == 21


def test_warmup():
    module = Toy(adam)
    fit(module, [SAM(rho=RHO, schedule="warmup", warmup=0.5)], steps=STEPS)
    agree(module, by_hand(lambda step: RHO * min(1.0, (step + 1) / 6)))


def test_warmup_of_a_late_phase():
    module = Toy(adam)
    fit(module, [SAM(rho=RHO, schedule="warmup", warmup=0.5, last_fraction=0.5)], steps=STEPS)
    agree(module, by_hand(lambda step: RHO * min(1.0, (step - 5) / 3) if step >= 6 else 0.0))


def test_rho_follows_the_learning_rate():
    module = Toy(
        lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=lambda o: {
            "scheduler": torch.optim.lr_scheduler.ExponentialLR(o, 0.8),
            "interval": "step",
        },
    )
    fit(module, [SAM(rho=RHO, schedule="learning_rate")], steps=STEPS)
    steps = iter(range(STEPS))

    @torch.no_grad()
    def update(parameters, g):
        rate = 0.1 * 0.8 ** next(steps)
        for p, x in zip(parameters, g, strict=True):
            p -= rate * x

    agree(module, by_hand(lambda step: RHO * 0.8**step, update=update))


def test_rho_follows_a_learning_rate_that_falls_on_plateaus():
    """ReduceLROnPlateau notes no initial learning rate; rho falls with it."""

    def scheduler(optimizer):
        falls = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.1, patience=0, threshold=1e9
        )
        return {"scheduler": falls, "monitor": "train_loss", "interval": "epoch"}

    module = Toy(lambda p: torch.optim.SGD(p, lr=0.1), scheduler=scheduler)
    sam = SAM(rho=RHO, schedule="learning_rate")
    rhos = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            rhos.append(trainer.callback_metrics["legato/rho"].item())

    fit(module, [sam, Watch()], steps=-1, max_epochs=3)
    assert rhos == pytest.approx([RHO] * 4 + [RHO / 10] * 4 + [RHO / 100] * 4)


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        ({"include": r"weight$"}, lambda name: name.endswith("weight")),
        ({"exclude": r"^net\.0\."}, lambda name: not name.startswith("0.")),
        ({"include": "net", "exclude": "bias"}, lambda name: "bias" not in name),
    ],
)
def test_parameters_by_name(options, moved):
    module = Toy(adam)
    fit(module, [SAM(rho=RHO, **options)], steps=STEPS)
    agree(module, by_hand(lambda step: RHO, moved=moved))


def momentum_by_hand(update, momentum):
    net = network()
    for batch in batches(6, STEPS):
        before, m = weights(net), momentum(update)
        if m is not None:
            add(net, [-RHO * x / norm(m) for x in m])
        _, g = gradient(net, batch)
        restore(net, before)
        update(list(net.parameters()), g)
    return net


def test_momentum_sam_with_adam():
    module = Toy(adam)
    fit(module, [MomentumSAM(rho=RHO)], steps=STEPS)
    agree(module, momentum_by_hand(hand_adam(), lambda update: update.m))
    assert len(module.losses) == STEPS


class HandMomentum:
    """SGD with momentum as torch defines it."""

    m = None

    @torch.no_grad()
    def __call__(self, parameters, g):
        self.m = g if self.m is None else [0.9 * m + x for m, x in zip(self.m, g, strict=True)]
        for p, m in zip(parameters, self.m, strict=True):
            p -= 0.05 * m


def test_momentum_sam_with_sgd():
    module = Toy(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9))
    fit(module, [MomentumSAM(rho=RHO)], steps=STEPS)
    agree(module, momentum_by_hand(HandMomentum(), lambda update: update.m))


def test_momentum_sam_over_several_batches_a_step():
    """All batches of a step see the same moved weights: the step is that of the joint batch."""
    modules = [Toy(adam), Toy(adam)]
    fit(modules[0], [MomentumSAM(rho=RHO)], steps=8, batch_size=6)
    fit(modules[1], [MomentumSAM(rho=RHO)], steps=8, batch_size=3, accumulate_grad_batches=2)
    agree(modules[0], modules[1])


@pytest.mark.parametrize("every", [1, 3])
def test_look_sam(every):
    module, net, update, kept = Toy(adam), network(), hand_adam(), None
    fit(module, [LookSAM(rho=RHO, every=every, alpha=0.6)], steps=STEPS)
    for step, batch in enumerate(batches(6, STEPS)):
        if step % every == 0:
            used, g = sam_gradient(net, batch, RHO)
            along = sum((a * b).sum() for a, b in zip(used, g, strict=True)) / norm(g) ** 2
            kept = [a - along * b for a, b in zip(used, g, strict=True)]
        else:
            _, g = gradient(net, batch)
            ratio = 0.6 * norm(g) / norm(kept)
            used = [x + ratio * k for x, k in zip(g, kept, strict=True)]
        update(list(net.parameters()), used)
    agree(module, net, tolerance=1e-10)
    assert len(module.losses) == STEPS + STEPS // every


METHODS = {
    "late": lambda: SAM(rho=RHO, last_fraction=0.4),
    "warmup": lambda: SAM(rho=RHO, schedule="warmup", warmup=0.8),
    "momentum": lambda: MomentumSAM(rho=RHO),
    "look": lambda: LookSAM(rho=RHO, every=3),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [4, 8])  # whole epochs: the loader does not resume within
def test_resumed_training_is_uninterrupted_training(tmp_path, method, after):
    def module():
        return Toy(
            adam, scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), dropout=0.0
        )

    saved = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, every_n_train_steps=after, save_top_k=-1, filename="{step}"
    )
    whole, resumed = module(), module()
    fit(whole, [METHODS[method](), saved], steps=STEPS, enable_checkpointing=True)
    fit(resumed, [METHODS[method]()], steps=STEPS, ckpt_path=tmp_path / f"step={after}.ckpt")
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(a, b)


class Fails(Toy):
    """Raises in the middle of a step."""

    def training_step(self, batch, batch_idx):
        if len(self.losses) == 5:
            raise RuntimeError("out of memory, say")
        return super().training_step(batch, batch_idx)


def test_weights_are_back_after_an_error_at_moved_weights():
    module, whole = Fails(adam), Toy(adam)
    with pytest.raises(RuntimeError, match="say"):
        fit(module, [MomentumSAM(rho=RHO)], steps=STEPS)
    fit(whole, [MomentumSAM(rho=RHO)], steps=5)
    for a, b in zip(weights(module), weights(whole), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [MomentumSAM, LookSAM])
def test_a_bad_batch_changes_nothing(kind):
    class Bad(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * float("nan") if self.trainer.global_step == 4 else loss

    callback, module = kind(rho=RHO), Bad(adam)
    seen = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen.append(weights(pl_module))

    with pytest.warns(UserWarning, match="not finite at step 4"):
        fit(module, [callback, Watch()], steps=8)
    assert callback.skipped_steps == 1
    assert all(torch.equal(a, b) for a, b in zip(seen[3], seen[4], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[4], seen[5], strict=True))


@pytest.mark.parametrize(
    ("rho", "said"),
    [(1e-10, r"does not change the loss.*try rho = 1e-09"), (1e4, r"times as large.*rho = 1000")],
)
def test_a_rho_that_cannot_be_right_is_said_once(rho, said):
    with pytest.warns(UserWarning, match=said) as warnings:
        fit(Toy(adam), [SAM(rho=rho)], steps=30)
    assert sum("SAM: with rho" in str(w.message) for w in warnings) == 1


def test_first_line_says_method_parameters_and_cost(capfd, caplog):
    with caplog.at_level("INFO"):
        fit(Toy(adam), [LookSAM(rho=RHO, every=4, exclude="bias")], steps=1)
    (line,) = [r.message for r in caplog.records if r.message.startswith("LookSAM: ")]
    assert "moves 20 of 26 weights" in line
    assert "1.25 gradients per step" in line


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SAM(last_fraction=0.0), "last_fraction must be a number above 0 and at most 1"),
        (lambda: SAM(last_fraction=1.5), "last_fraction must be a number above 0 and at most 1"),
        (lambda: SAM(warmup="x"), "warmup must be a number above 0"),
        (lambda: SAM(schedule="linear"), "schedule must be one of constant, warmup, learning_rate"),
        (lambda: SAM(include="("), "include is not a regular expression"),
        (lambda: SAM(exclude=3), "exclude must be a regular expression"),
        (lambda: SAM(per_rank=1), "per_rank must be true or false"),
        (lambda: LookSAM(every=0), "every must be an integer >= 1"),
        (lambda: LookSAM(alpha=-1), "alpha must be a finite number >= 0"),
        (lambda: LookSAM(adaptive=True), "LookSAM has no key 'adaptive'; the known ones are rho"),
        (lambda: MomentumSAM(eta=0.1), "MomentumSAM has no key 'eta'"),
    ],
)
def test_bad_settings(make, said):
    with pytest.raises(LegatoError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


def test_what_cannot_work_is_refused_before_the_first_step():
    for callback, options, said in (
        (SAM(include="nothing"), {}, "leave no parameter of the model; its names look like net"),
        (SAM(last_fraction=0.5), {"steps": -1, "max_time": "00:00:00:05"}, "which has no end"),
    ):
        module = Toy(adam)
        with pytest.raises(LegatoError, match=said):
            fit(module, [callback], **options)
        assert module.losses == []
    with pytest.raises(LegatoError, match="SGD keeps none: use torch"):
        fit(Toy(lambda p: torch.optim.SGD(p, lr=0.1)), [MomentumSAM()])
    with pytest.raises(LegatoError, match="LookSAM or SAM is in trainer"):
        fit(Toy(adam), [SAM(), LookSAM()])
