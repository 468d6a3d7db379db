"""tests/pair_style/test_neighbor_lists.py by allegro_legato/kk, with one and with two threads."""

import pytest
from test_neighbor_lists import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("with_kokkos")
