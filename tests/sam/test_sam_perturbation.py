"""Properties of the perturbation mathematics."""

import pytest
import torch

from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm


def tensors(seed: int, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3), (7,), (), (2, 1, 5)]
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype) for shape in shapes
    ]


def climb(w, g, *, rho, **options) -> list[torch.Tensor]:
    direction, _ = ascent_direction(w, g, **options)
    return [rho * d for d in direction]


def flat(items) -> torch.Tensor:
    return torch.cat([item.reshape(-1).double() for item in items])


@pytest.mark.parametrize("seed", range(5))
def test_norm_is_that_of_all_entries(seed):
    items = tensors(seed)
    assert total_norm(items).item() == pytest.approx(flat(items).norm().item(), rel=1e-14)


def test_norm_of_mixed_dtypes():
    items = [*tensors(0, torch.float32), *tensors(1)]
    assert total_norm(items).dtype == torch.float64
    assert total_norm(items).item() == pytest.approx(flat(items).norm().item(), rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_norm_shows_bad_entries(bad):
    items = tensors(0)
    items[1][3] = bad
    assert not torch.isfinite(total_norm(items))


@pytest.mark.parametrize("rho", [1e-6, 0.005, 2.0])
def test_sam_step_has_length_rho_along_the_gradient(rho):
    w, g = tensors(0), tensors(1)
    e = flat(climb(w, g, rho=rho))
    assert e.norm().item() == pytest.approx(rho, rel=1e-13)
    assert torch.dot(e, flat(g)) / (e.norm() * flat(g).norm()) == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize("rho", [1e-6, 0.5])
def test_asam_step_has_length_rho_in_units_of_the_weights(rho):
    w, g = tensors(0), tensors(1)
    e = flat(climb(w, g, rho=rho, adaptive=True))
    assert (e / flat(w).abs()).norm().item() == pytest.approx(rho, rel=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_gradient_scale_does_not_matter(adaptive):
    w, g = tensors(0), tensors(1)
    once = flat(climb(w, g, rho=0.1, adaptive=adaptive))
    scaled = flat(climb(w, [1e4 * x for x in g], rho=0.1, adaptive=adaptive))
    torch.testing.assert_close(once, scaled, rtol=1e-12, atol=0)


def test_asam_is_invariant_to_rescaling_a_weight():
    """w -> a w with g -> g / a leaves the relative step unchanged (Kwon et al., section 3)."""
    w, g = tensors(0), tensors(1)
    a = 7.0
    first = climb(w, g, rho=0.1, adaptive=True)
    second = climb([a * w[0], *w[1:]], [g[0] / a, *g[1:]], rho=0.1, adaptive=True)
    torch.testing.assert_close(first[0] / w[0], second[0] / (a * w[0]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_step_of_the_same_length_climbs_more(seed):
    """SAM and ASAM solve max g.e subject to ||e|| <= rho and ||e / T|| <= rho."""
    w, g = tensors(0), tensors(1)
    eta = 0.1
    for adaptive in (False, True):
        t = flat(w).abs() + eta if adaptive else torch.ones_like(flat(w))
        options = {"adaptive": True, "eta": eta} if adaptive else {}
        best = torch.dot(flat(g), flat(climb(w, g, rho=0.3, **options)))
        other = flat(tensors(10 + seed))
        other *= 0.3 / (other / t).norm()
        assert torch.dot(flat(g), other) < best


def test_eta_lets_zero_weights_move():
    w, g = [torch.zeros(3, dtype=torch.float64)], [torch.arange(1.0, 4.0, dtype=torch.float64)]
    (e,) = climb(w, g, rho=0.1, adaptive=True, eta=0.01)
    torch.testing.assert_close(e, 0.1 * 0.01 * g[0] / g[0].norm(), rtol=1e-14, atol=0)


def test_tiny_gradients_do_not_overflow():
    g = [torch.full((4,), 1e-18)]
    (e,) = climb([torch.ones(4)], g, rho=0.5)
    assert e.norm().item() == pytest.approx(0.5, rel=1e-6)


def test_gradients_are_not_changed():
    w, g = tensors(0), tensors(1)
    for adaptive in (False, True):
        climb(w, g, rho=1.0, adaptive=adaptive)
    assert torch.equal(flat(g), flat(tensors(1)))
    assert torch.equal(flat(w), flat(tensors(0)))


def test_no_parameters():
    assert ascent_direction([], []) == ([], torch.tensor(0.0))
    with perturbed([], [], rho=0.1):
        pass


def test_asam_with_only_zero_weights_has_nowhere_to_go():
    w = [torch.zeros_like(x) for x in tensors(0)]
    assert ascent_direction(w, tensors(1), adaptive=True)[1] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_come_back_bit_for_bit(dtype):
    w = tensors(0, dtype)
    before = [x.clone() for x in w]
    places = [x.data_ptr() for x in w]
    with perturbed(w, tensors(1, dtype), rho=1e-3):
        assert not torch.equal(flat(w), flat(before))
    assert all(torch.equal(a, b) for a, b in zip(w, before, strict=True))
    assert [x.data_ptr() for x in w] == places


def test_weights_come_back_after_an_error():
    w = tensors(0)
    before = [x.clone() for x in w]
    with pytest.raises(ZeroDivisionError), perturbed(w, tensors(1), rho=0.1):
        _ = 1 / 0
    assert all(torch.equal(a, b) for a, b in zip(w, before, strict=True))
