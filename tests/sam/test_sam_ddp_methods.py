"""Every method with two processes on the CPU (gloo), and climbs of each process for itself."""

import multiprocessing
import os

import ase.io
import pytest
import torch
from sam_harness import free_port, largest_difference
from sam_reference import HandAdam, add, gradient
from sam_toy import Toy, dataset, fit, network, weights
from torch.utils.data import TensorDataset

from nequip_legato import SAM

SIMPLE = {"_target_": "nequip.train.SimpleDDPStrategy", "process_group_backend": "gloo"}
LIGHTNING = {
    "_target_": "lightning.pytorch.strategies.DDPStrategy",
    "process_group_backend": "gloo",
}
STRATEGIES = pytest.mark.parametrize("strategy", [SIMPLE, LIGHTNING], ids=["Simple", "Lightning"])
METHODS = {
    "late": {"rho": 0.1, "last_fraction": 0.5, "schedule": "warmup", "warmup": 1.0},
    "momentum": {"_target_": "nequip_legato.MomentumSAM", "rho": 0.1},
    "look": {"_target_": "nequip_legato.LookSAM", "rho": 0.1, "every": 2},
}
SGD = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.01}}
RHO, STEPS, EACH = 0.2, 6, 4


@STRATEGIES
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_are_one_on_the_joint_batch(train, strategy, method):
    """Eight frames make one step per epoch, whichever process gets which frame."""
    epochs, sam = "trainer.max_epochs=4", METHODS[method]
    plain = train("plain", epochs, batch_size=8)
    one = train("one", epochs, sam=sam, batch_size=8)
    trainer = {"devices": 2, "strategy": strategy}
    two = train("two", epochs, sam=sam, batch_size=4, trainer=trainer, ranks=2)
    assert largest_difference(one.weights, two.weights) < 1e-10
    assert largest_difference(one.weights, plain.weights) > 1e-5  # the method did something
    assert two.logged("legato/grad_norm") == pytest.approx(one.logged("legato/grad_norm"), rel=1e-5)


@STRATEGIES
@pytest.mark.parametrize("adaptive", [False, True], ids=["SAM", "ASAM"])
def test_each_process_climbs_along_its_own_gradient(train, data, tmp_path, strategy, adaptive):
    """One step of SGD along the mean of two gradients is the mean of two such steps."""
    sam = {"rho": 0.3, "adaptive": adaptive}
    frames = ase.io.read(data / "train.extxyz", ":")
    options = {"training_module": SGD, "batch_size": 1}
    paths = {}
    for name, some in {"0": frames[:1], "1": frames[1:2], "both": frames[:2]}.items():
        ase.io.write(tmp_path / f"{name}.extxyz", some)
        paths[name] = f"data.train_file_path={tmp_path}/{name}.extxyz"
    alone = [
        train(f"alone{i}", paths[str(i)], "trainer.max_epochs=1", sam=sam, **options)
        for i in range(2)
    ]
    # One frame for each process, so that it does not matter which gets which.
    trainer = {"devices": 2, "strategy": strategy, "max_epochs": 1}
    both = {
        per_rank: train(
            f"both-{per_rank}",
            paths["both"],
            sam={**sam, "per_rank": per_rank},
            trainer=dict(trainer),
            ranks=2,
            **options,
        )
        for per_rank in (True, False)
    }
    mean = {k: (w + alone[1].weights[k]) / 2 for k, w in alone[0].weights.items()}
    mean = {k: v for k, v in mean.items() if k in both[True].weights}
    assert largest_difference(both[True].weights, mean) < 1e-12
    assert largest_difference(both[False].weights, mean) > 1e-8
    rises = [run.logged("legato/sharpness")[0] for run in alone]
    assert both[True].logged("legato/sharpness")[0] == pytest.approx(sum(rises) / 2, rel=1e-5)


@pytest.mark.slow
def test_many_steps_of_climbs_per_process_against_steps_by_hand(tmp_path):
    """Adam, and two batches per step: each process sums up the gradients of its own batches."""
    context = multiprocessing.get_context("spawn")
    port = str(free_port())
    processes = [
        context.Process(target=_process, args=(rank, port, str(tmp_path / "w.pt")))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]

    net, update = network(), HandAdam(0.03, (0.9, 0.999), 1e-8, 0.0, False)
    whole = dataset().tensors
    for step in range(STEPS):
        seconds = []
        for rank in range(2):
            x, y = (t[rank::2] for t in whole)  # 12 samples: three steps of two batches of 2
            at = slice(step % 3 * EACH, (step % 3 + 1) * EACH)
            batch = (x[at], y[at])
            before = weights(net)
            _, g = gradient(net, batch)
            norm = torch.sqrt(sum((t**2).sum() for t in g))
            add(net, [RHO * t / norm for t in g])
            seconds.append(gradient(net, batch)[1])
            with torch.no_grad():
                for p, w in zip(net.parameters(), before, strict=True):
                    p.copy_(w)
        update(list(net.parameters()), [(a + b) / 2 for a, b in zip(*seconds, strict=True)])
    trained = torch.load(tmp_path / "w.pt")
    for actual, wanted in zip(trained, weights(net), strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-11, atol=1e-12)


def _process(rank: int, port: str, path: str) -> None:
    from lightning.pytorch.strategies import DDPStrategy

    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
    }
    module = Toy(lambda p: torch.optim.Adam(p, lr=0.03))
    fit(
        module,
        [SAM(rho=RHO, per_rank=True)],
        batch_size=EACH // 2,
        accumulate_grad_batches=2,
        steps=STEPS,
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo"),
        data=TensorDataset(*(t[rank::2] for t in dataset().tensors)),
        use_distributed_sampler=False,  # which would shuffle
    )
    if rank == 0:
        torch.save(weights(module), path)
