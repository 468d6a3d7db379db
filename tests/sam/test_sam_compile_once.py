"""``compile_mode: compile``: the second pass runs what was compiled for the first."""

import json

import pytest

METHODS = {
    "SAM": {"rho": 0.05},
    "late": {"rho": 0.05, "last_fraction": 0.5},
    "momentum": {"_target_": "nequip_legato.MomentumSAM", "rho": 0.05},
    "look": {"_target_": "nequip_legato.LookSAM", "rho": 0.05, "every": 2},
}


@pytest.mark.slow
def test_every_method_compiles_what_plain_training_compiles(train):
    def compilations(name: str, **options) -> dict[str, int]:
        run = train(
            name,
            "trainer.max_epochs=1",
            model={"compile_mode": "compile", "num_layers": 1},
            trainer={"callbacks": [{"_target_": "sam_compilations.CountCompilations"}]},
            **options,
        )
        return json.loads((run.folder / "compilations.json").read_text())

    plain = compilations("plain")
    assert max(plain.values()) > 0  # something was compiled
    assert {m: compilations(m, sam=sam) for m, sam in METHODS.items()} == dict.fromkeys(
        METHODS, plain
    )
