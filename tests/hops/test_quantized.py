"""The quantized kinds of built agents: what is in the files, and that variants hold the same integers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from families import covering
from pipeline import contract as contracts
from pipeline import toolchains
from pipeline.hops.tflite_structure import structure
from pipeline.runtimes import litert
from running import ROOT, Built

TINY = tuple(covering())
FEW = ("ppo_box", "dqn", "maskable_discrete", "recurrent_dict", "ppo_image", "ddpg")


def in_tensorflow(program: str, *arguments: object) -> Any:
    """What a program prints, as JSON, in the tensorflow toolchain."""
    command = [toolchains.python("tensorflow"), "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def observed(built: Built, agent: str, rows: int = 40) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    contract = contracts.load(built.artifacts / agent / "tflite_quantized")
    inputs = contracts.read_inputs(contract, built.artifacts / agent / "observations" / "observations.npz")
    if contract["states"]:
        inputs = {name: values.reshape(-1, *values.shape[2:]) for name, values in inputs.items()}
        zeros = {s["input"]: np.zeros((rows, s["units"]), np.float32) for s in contract["states"]}
        return contract, {**{name: values[:rows] for name, values in inputs.items()}, **zeros}
    return contract, {name: values[:rows] for name, values in inputs.items()}


@pytest.mark.parametrize("agent", FEW)
def test_one_file_holds_the_whole_policy_and_decides_as_its_core(tiny_agents: Built, agent: str) -> None:
    contract, inputs = observed(tiny_agents, agent)
    home = tiny_agents.artifacts / agent
    core = contracts.decide(contract, litert.load(home / "tflite_quantized", contract, {}), inputs)
    stated = contracts.load(home / "tflite_whole")
    assert stated["part"] == "policy" and "sha256" not in stated, "that of the core would be of another file"
    whole = contracts.decide(stated, litert.load(home / "tflite_whole", stated, {}), inputs)
    assert sorted(whole) == sorted(core)
    for name, values in core.items():
        assert whole[name].shape == values.shape
        # A float32 prologue may round an input to the next integer.
        assert (np.abs(whole[name] - values) > 1e-5).mean() < 0.02, name
    told = structure((home / "tflite_whole" / "policy.tflite").read_bytes())
    assert {entry["dtype"] for entry in told["inputs"]} <= {"FLOAT32", "INT32", "BOOL"}
    assert "QUANTIZE" in told["operators"]


_VARIANTS = """
import json, sys
from pathlib import Path
from pipeline import contract as contracts
from pipeline.hops import quantized_io
source, target = Path(sys.argv[1]), Path(sys.argv[2])
for io in ("float32", "uint8"):
    contract = contracts.load(source)
    (target / io).mkdir()
    quantized_io.convert(source, target / io, contract, {"io": io})
    contracts.dump(contract, target / io)
print(json.dumps("made"))
"""


@pytest.mark.parametrize("agent", ["ppo_box", "recurrent_dict", "ppo_image"])
def test_other_inputs_and_outputs_change_no_answer(tiny_agents: Built, agent: str, tmp_path: Path) -> None:
    source = tiny_agents.artifacts / agent / "tflite_quantized"
    assert in_tensorflow(_VARIANTS, source, tmp_path) == "made"
    contract, inputs = observed(tiny_agents, agent)
    core = contracts.decide(contract, litert.load(source, contract, {}), inputs)
    for io in ("float32", "uint8"):
        stated = contracts.load(tmp_path / io)
        told = structure((tmp_path / io / "policy.tflite").read_bytes())
        assert {entry["dtype"] for entry in (*told["inputs"], *told["outputs"])} == {io.upper()}
        found = contracts.decide(stated, litert.load(tmp_path / io, stated, {}), inputs)
        for name, values in core.items():
            assert np.allclose(found[name], values, atol=1e-5), (io, name)


_ROUNDED = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from pipeline import contract as contracts
from pipeline.hops import savedmodel_to_tflite_int8 as hop, fixed_batch, tflite_blame, tflite_rounding
home = Path(sys.argv[1])
contract = contracts.load(home / "savedmodel_core")
seen = contracts.read_inputs(contract, home / "calibration" / "observations.npz")
ready = contracts.prologue(contract["prologue"], seen)
inputs = {entry["name"]: ready[entry["name"]] for entry in contract["inputs"]}
converter = hop._converter(home / "savedmodel_core", contract, inputs)
converter._experimental_calibrate_only = True
calibrated = fixed_batch.convert(converter)
nearest = hop._with_int8(calibrated, inputs, {"ranges": "extremes", "head": "int8"})
together = tflite_rounding.round_together(nearest, calibrated, inputs)
again = tflite_rounding.round_together(nearest, calibrated, inputs)
errors = [[layer["error"] for layer in tflite_blame.layers(c, calibrated, inputs)] for c in (nearest, together)]
print(json.dumps({"errors": errors, "same": together == again, "sizes": [len(nearest), len(together)],
                  "bytes": sum(a != b for a, b in zip(nearest, together))}))
"""


@pytest.mark.parametrize("agent", ["ppo_discrete", "dqn", "ppo_image", "recurrent_box"])
def test_rounding_together_brings_built_networks_nearer(tiny_agents: Built, agent: str) -> None:
    found = in_tensorflow(_ROUNDED, tiny_agents.artifacts / agent)
    nearest, together = found["errors"]
    assert together[-1] < nearest[-1], found
    assert found["same"], "the same file every time"
    assert found["sizes"][0] == found["sizes"][1]
    assert found["bytes"] > 0


@pytest.mark.parametrize("agent", TINY)
def test_layers_tell_what_rounding_costs(tiny_agents: Built, agent: str) -> None:
    told = json.loads((tiny_agents.artifacts / agent / "tflite_int8" / "layers.json").read_text())
    assert told, "every policy has a layer with weights"
    for entry in told:
        assert set(entry) == {"name", "low", "high", "step", "inherited", "weights", "steps", "error"}
        assert all(np.isfinite(value) for value in entry.values() if not isinstance(value, str))
        assert 0 < entry["error"] < 0.5
    weighted = structure((tiny_agents.artifacts / agent / "tflite_int8" / "policy.tflite").read_bytes())["operators"]
    assert len(told) == sum(operator in ("FULLY_CONNECTED", "CONV_2D") for operator in weighted)
