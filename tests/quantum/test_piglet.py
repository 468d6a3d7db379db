"""PIGLET's parameters: what harmonic modes get from them, exactly, and bad files."""

import numpy as np
import pytest

from nequip_legato.errors import LegatoError
from nequip_legato.quantum import harmonic
from nequip_legato.quantum.piglet import ATOMIC_TIME, read_piglet
from nequip_legato.quantum.units import LIGHT, MASS

GLE4MD = """<!-- Generated at a web page <thermostat> -->
<thermostat mode='nm_gle'>
  <A shape='{shape}'> [ {A} ] </A>
  <!-- and in kelvin -->
  <C shape='{shape}' units='kelvin'> [ {C} ] </C>
</thermostat>
"""


def omega(wavenumber: float) -> float:
    """1/ps."""
    return 2 * np.pi * LIGHT * wavenumber


@pytest.mark.parametrize("temperature", [200.0, 298.0])
@pytest.mark.parametrize("wavenumber", [100.0, 1600.0, 3400.0])
def test_eight_beads_give_quantum_energies_and_radii(temperature, wavenumber):
    """Where eight beads alone are far off for stretches; and at another temperature."""
    piglet = read_piglet().at(temperature, damping=100.0)
    w = omega(wavenumber)
    exact = harmonic.kinetic_energy_exact(w, temperature)
    assert piglet.kinetic_energy(w) == pytest.approx(exact, rel=2e-3)
    alone = harmonic.kinetic_energy(w, temperature, piglet.beads)
    assert alone < exact
    if wavenumber == 3400.0:
        assert alone < 0.75 * exact
    square = harmonic.gyration_squared(w, temperature, 4096, 1.0)
    assert piglet.gyration_squared(w, MASS) == pytest.approx(square, rel=0.01)


def test_white_noise_in_their_place_is_plain_path_integrals():
    """The Lyapunov equation against the closed form of finite numbers of beads."""
    piglet = read_piglet()
    drift = np.zeros_like(piglet.drift) + np.eye(9) * 7.0
    covariance = np.zeros_like(drift) + np.eye(9) * 8 * 298.0
    plain = type(piglet)(298.0, drift, covariance)
    w = omega(1200.0)
    assert plain.kinetic_energy(w) == pytest.approx(harmonic.kinetic_energy(w, 298.0, 8), rel=1e-6)
    square = harmonic.gyration_squared(w, 298.0, 8, 1.0)
    assert plain.gyration_squared(w, MASS) == pytest.approx(square, rel=1e-6)


def test_temperatures_too_low_for_them_are_told():
    """A stretch at 60 K would have less than its zero-point energy."""
    with pytest.raises(LegatoError, match="take parameters for more beads"):
        read_piglet().at(60.0, damping=100.0)


def test_files_of_the_web_page_are_read(tmp_path):
    """As they come, with comments; the temperature is the one of the centroid's matrix."""
    own = read_piglet().at(298.0, damping=100.0)
    content = {
        "shape": "(8,9,9)",
        "A": ", ".join(map(repr, (own.drift * ATOMIC_TIME).ravel().tolist())),
        "C": ", ".join(map(repr, own.covariance.ravel().tolist())),
    }
    path = tmp_path / "piglet.xml"
    path.write_text(GLE4MD.format(**content))
    found = read_piglet(str(path))
    assert found.temperature == pytest.approx(298.0)
    assert np.allclose(found.drift, own.drift)
    assert np.allclose(found.covariance, own.covariance)


@pytest.mark.parametrize("text", ["", "<a>", "<thermostat mode='nm_gle'/>", "no xml & no matrix"])
def test_other_files_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "piglet.xml"
    path.write_text(text)
    with pytest.raises(LegatoError, match=r"gle4md\.org") as caught:
        read_piglet(str(path))
    assert "\n" not in str(caught.value)
