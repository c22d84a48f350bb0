"""The public agents beside the clone, built as a folder: every one passes every full-precision hop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.hops import HOPS
from running import SHARED, Built, doit

FLOAT = [(hop.kind, runtime) for hop in HOPS if hop.precision == "float" for runtime in hop.runtimes]
ZIPS = sorted((SHARED / "zoo").glob("*/*/*.zip"))
AGENTS = [f"{path.parts[-3]}-{path.parts[-2]}" for path in ZIPS]
TARGETS = ("tfjs", "tflite", "onnx_web", "savedmodel_core", "torchscript", "weights")


@pytest.fixture(scope="module")
def zoo(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("zoo")
    limit = 120 + 20 * len(AGENTS)
    run = doit(f"folder={shared / 'zoo'}", *TARGETS, configs=folder, artifacts=folder / "artifacts", timeout=limit)
    return Built(folder, folder / "artifacts", run)


def test_folder_holds_the_public_agents(shared: Path) -> None:
    assert len(AGENTS) >= 18


def test_every_public_agent_is_loaded_and_passes(zoo: Built) -> None:
    assert zoo.run.code == 0
    count = len(AGENTS)
    assert f"\n{count} agents: {count} loaded, {count} passed every full-precision hop\n" in zoo.run.text


@pytest.mark.parametrize("name", AGENTS)
def test_public_agent_passes_every_full_precision_hop(zoo: Built, name: str) -> None:
    for kind, runtime in FLOAT:
        verdict = json.loads((zoo.artifacts / name / kind / runtime / "verdict.json").read_text())
        if kind.endswith("_core") and verdict["reason"].startswith("nothing to calibrate on"):
            continue  # neither an environment nor statistics: nothing is quantized blindly
        assert verdict["status"] == "passed", (kind, runtime, verdict["reason"])
