"""Keys are keyword arguments: their signature, and what is said of keys that are not known."""

import inspect

import pytest

from nequip_legato import SAM, LegatoError, LookSAM, MomentumSAM, ValueLegatoError
from nequip_legato.fence import FenceSettings
from nequip_legato.sharpness import Settings

COMMON = ("last_fraction", "schedule", "warmup", "include", "exclude")
KEYS = {
    SAM: ("rho", "adaptive", "eta", "per_rank", *COMMON),
    LookSAM: ("rho", "every", "alpha", *COMMON),
    MomentumSAM: ("rho", *COMMON),
}


@pytest.mark.parametrize("method", KEYS)
def test_the_signature_shows_every_key_with_type_and_default(method):
    parameters = inspect.signature(method).parameters
    assert tuple(parameters) == KEYS[method] == method.all_keys()
    for name, parameter in parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty
        assert parameter.annotation is not parameter.empty
        # the default is what a callback without the key has
        assert getattr(method(), name) == parameter.default


@pytest.mark.parametrize("method", KEYS)
def test_unknown_keys_are_one_line_with_the_known_ones(method):
    with pytest.raises(LegatoError) as error:
        method(rho=0.1, rhoo=0.2, other=None)
    known = ", ".join(KEYS[method])
    assert str(error.value) == (
        f"{method.__name__} has no key 'rhoo', 'other'; the known ones are {known}"
    )


def test_a_class_that_passes_its_keywords_on_has_all_keys():
    class Mine(LookSAM):
        def __init__(self, *, mine: int = 1, **others):
            super().__init__(**others)
            self.mine = mine

    assert Mine.all_keys() == ("mine", *KEYS[LookSAM])
    assert Mine(rho=0.2, mine=3)._settings()["rho"] == 0.2
    with pytest.raises(LegatoError, match="Mine has no key 'adaptive'"):
        Mine(adaptive=True)


def test_look_sam_is_no_sam():
    """One does not refuse the other's keys: both repeat a step, each with keys of its own."""
    assert not issubclass(LookSAM, SAM)
    assert not hasattr(LookSAM(), "adaptive")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SAM(rho=-1),
        lambda: SAM(rho=float("nan")),
        lambda: SAM(eta=1.0),
        lambda: SAM(include="("),
        lambda: SAM(schedule="linear"),
        lambda: LookSAM(every=0),
        lambda: MomentumSAM(last_fraction=2),
        lambda: FenceSettings(kind="moat"),
        lambda: FenceSettings(margin=-1),
        lambda: Settings(samples=1),
        lambda: Settings(measures=("gauss",)),
    ],
)
def test_errors_about_a_value_are_value_errors_too(wrong):
    with pytest.raises(ValueError, match=r"must|belongs|not a|unknown|no measure") as error:
        wrong()
    assert isinstance(error.value, ValueLegatoError)
    assert isinstance(error.value, LegatoError)
    assert "\n" not in str(error.value)
