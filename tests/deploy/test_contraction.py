"""The deployed order of contraction gives what nequip-allegro's gives."""

import pytest
import torch
from allegro.nn._strided import Contracter
from e3nn.o3 import Irreps
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.deploy.contraction import CenterFirst, contract_centers_first
from nequip_legato.deploy.on_cpu import Product
from nequip_legato.trained.checkpoint import open_source

VECTOR, TENSOR = "1x0e + 1x1o", "1x0e + 1x1o + 1x2e"
PRODUCTS = {
    "layer": (VECTOR, VECTOR, VECTOR),
    "last_layer": (VECTOR, VECTOR, "1x0e"),
    "l_max_2": (TENSOR, TENSOR, TENSOR),
    "uneven": (VECTOR, TENSOR, "1x0e + 1x2e"),
    "scalars": ("1x0e", "1x0e", "1x0e"),
}


@pytest.mark.parametrize("form", ["eager", "scripted", "kernel"])
@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "uncoupled"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_equals_nequips_contraction(product, coupled, form):
    torch.manual_seed(1)
    irreps = [Irreps(text) for text in PRODUCTS[product]]
    with torch_default_dtype(torch.float64):
        old = Contracter(*irreps, mul=3, path_channel_coupling=coupled)
    new = CenterFirst(old)
    new = {"scripted": torch.jit.script, "kernel": Product}.get(form, lambda same: same)(new)
    centers = torch.tensor([0, 0, 1, 3, 3, 3, 0])  # in no order, and node 2 has no edge
    x = torch.randn(len(centers), 3, irreps[0].dim, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 3, irreps[1].dim, dtype=torch.float64, requires_grad=True)
    expected, found = old(x, y, centers), new(x, y, centers)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, y), upstream),
        torch.autograd.grad(expected, (x, y), upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


def test_all_products_of_a_model_are_replaced(checkpoint):
    model = open_source(checkpoint(), model_key="sole_model").model
    n_products = sum(isinstance(module, Contracter) for module in model.modules())
    assert n_products > 0
    kinds = [type(module) for module in contract_centers_first(model).modules()]
    assert kinds.count(CenterFirst) == n_products
    assert Contracter not in kinds
