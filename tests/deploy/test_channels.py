"""The deployed weighting of channels gives what nequip-allegro's gives."""

import pytest
import torch
from allegro.nn._strided import MakeWeightedChannels
from e3nn.o3 import Irreps
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.deploy.channels import RepeatedWeights, repeat_weights
from nequip_legato.deploy.on_cpu import Channels
from nequip_legato.trained.checkpoint import open_source


@pytest.mark.parametrize("form", ["eager", "scripted", "kernel"])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("irreps", ["1x0e", "1x0e + 1x1o", "1x0e + 1x1o + 1x2e"])
def test_equals_nequips_weighting(irreps, alpha, form):
    torch.manual_seed(1)
    irreps = Irreps(irreps)
    with torch_default_dtype(torch.float64):
        old = MakeWeightedChannels(irreps, multiplicity_out=3, alpha=alpha)
    new = RepeatedWeights(old)
    assert new.weight_numel == old.weight_numel
    new = {"scripted": torch.jit.script, "kernel": Channels}.get(form, lambda same: same)(new)
    inputs = [
        torch.randn(5, size, dtype=torch.float64, requires_grad=True)
        for size in (irreps.dim, old.weight_numel)
    ]
    expected, found = old(*inputs), new(*inputs)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


def test_all_weighters_of_a_model_are_replaced(checkpoint):
    model = open_source(checkpoint(), model_key="sole_model").model
    n_weighters = sum(isinstance(module, MakeWeightedChannels) for module in model.modules())
    assert n_weighters > 0
    kinds = [type(module) for module in repeat_weights(model).modules()]
    assert kinds.count(RepeatedWeights) == n_weighters
    assert MakeWeightedChannels not in kinds


@pytest.mark.parametrize("change", ["two_irreps", "other_values", "order", "missing"])
def test_weighters_that_do_something_else_stay(change):
    old = MakeWeightedChannels(Irreps("1x0e + 1x1o"), multiplicity_out=3)
    if change == "two_irreps":
        old._rtoi[1, 0] = 1.0
    elif change == "other_values":
        old._rtoi *= 2.0
    elif change == "order":
        old._rtoi = old._rtoi.flip(1)
    else:
        del old._rtoi
    model = torch.nn.Sequential(old)
    assert repeat_weights(model)[0] is old


def test_weights_for_all_irreps_stay():
    shared = MakeWeightedChannels(Irreps("1x0e + 1x1o"), 3, weight_individual_irreps=False)
    assert repeat_weights(torch.nn.Sequential(shared))[0] is shared
