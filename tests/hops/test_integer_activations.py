"""Policies of every activation function in int8: mapped whole to the Edge TPU, run by TFLM, and deciding as SB3's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from families import ACTIVATIONS, families
from matrix import CONFIG
from pipeline.hops import edgetpu_lint
from running import Built, doit
from untrained import save

ON_THE_CPU = ("Hardshrink",)  # it jumps, and nothing that the Edge TPU has compares
MAPPED = [name for name in ACTIVATIONS if name not in ON_THE_CPU]
MEAN_ERROR = 0.08  # of actions that reach from -1 to 2 and from -0.5 to 3


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """An untrained PPO of each activation function, quantized to int8 and no other way."""
    folder = tmp_path_factory.mktemp("activations")
    configs, artifacts = folder / "configs", folder / "artifacts"
    configs.mkdir()
    for family in families():
        name = family.feature.removeprefix("activation ")
        if name in ACTIVATIONS:
            assert not save(family, configs, name, CONFIG + 'rungs = ["int8"]\n')
            config = configs / f"{name}.toml"
            config.write_text('targets = ["edgetpu", "micro"]\n' + config.read_text())
    yield Built(configs, artifacts, doit(configs=configs, artifacts=artifacts, timeout=900))


def predicted(built: Built, name: str) -> edgetpu_lint.Prediction:
    return edgetpu_lint.predict((built.artifacts / name / "tflite_quantized" / "policy.tflite").read_bytes())


@pytest.mark.parametrize("name", MAPPED)
def test_activation_maps_whole(agents: Built, name: str) -> None:
    assert predicted(agents, name).outcome == "all", predicted(agents, name).sentence


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("kind", "runtime"), [("tflite_quantized", "litert"), ("tflite_quantized", "tflite_micro"), ("micro", "micro")]
)
def test_activation_in_int8_decides_as_the_agent(agents: Built, name: str, kind: str, runtime: str) -> None:
    path: Path = agents.artifacts / name / kind / runtime / "verdict.json"
    verdict = json.loads(path.read_text())
    assert verdict["status"] == "passed", verdict["reason"]
    assert verdict["figures"]["outputs"]["action"]["mean"] < MEAN_ERROR


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_rounding_costs_a_layer_is_a_share_of_its_answers(agents: Built, name: str) -> None:
    """What is added to or multiplied by a layer's answers must not be taken for them."""
    layers = json.loads((agents.artifacts / name / "tflite_int8" / "layers.json").read_text())
    assert all(0 <= layer[cause] < 0.5 for layer in layers for cause in ("inherited", "weights", "steps", "error"))


def test_activation_in_16_bits_runs_in_tflm_too(tmp_path: Path) -> None:
    """Its constants have no dimension, and those of 8 bits one."""
    family = next(family for family in families() if family.feature == "activation ELU")
    configs, artifacts = tmp_path / "configs", tmp_path / "artifacts"
    configs.mkdir()
    assert not save(family, configs, "elu", CONFIG + 'rungs = ["int16x8"]\n')
    config = configs / "elu.toml"
    config.write_text('targets = ["micro"]\n' + config.read_text())
    run = doit(configs=configs, artifacts=artifacts)
    assert run.code == 0, run.text
    for kind, runtime in (("tflite_quantized", "tflite_micro"), ("micro", "micro")):
        verdict = json.loads((artifacts / "elu" / kind / runtime / "verdict.json").read_text())
        assert verdict["status"] == "passed", verdict["reason"]
        assert verdict["figures"]["outputs"]["action"]["mean"] < MEAN_ERROR / 8


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_what_jumps_is_predicted_to_stay_on_the_cpu(agents: Built, name: str) -> None:
    assert predicted(agents, name).outcome == "part"
