"""The public agents beside the clone: every supported one passes every full-precision hop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.agents import archive, policies
from pipeline.hops import HOPS
from running import SHARED, Built, doit

FLOAT = [(hop.kind, runtime) for hop in HOPS if hop.precision == "float" for runtime in hop.runtimes]
ZIPS = sorted((SHARED / "zoo").glob("*/*/*.zip"))
AGENTS = [(f"{path.parts[-3]}_{path.stem}", path) for path in ZIPS]


@pytest.fixture(scope="module")
def zoo(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("zoo")
    for name, path in AGENTS:
        statistics = path.with_suffix("") / "vecnormalize.pkl"
        stated = statistics if statistics.is_file() else "none"
        targets = '["tfjs", "tflite", "onnx_web", "savedmodel_core", "torchscript", "weights"]'
        (folder / f"{name}.toml").write_text(f'zip = "{path}"\nvecnormalize = "{stated}"\ntargets = {targets}\n')
    limit = 120 + 20 * len(AGENTS)
    return Built(folder, folder / "artifacts", doit(configs=folder, artifacts=folder / "artifacts", timeout=limit))


def test_folder_holds_the_public_agents(shared: Path) -> None:
    assert len(AGENTS) >= 18


@pytest.mark.parametrize(("name", "path"), AGENTS)
def test_public_agent_passes_every_full_precision_hop_or_is_refused_by_name(zoo: Built, name: str, path: Path) -> None:
    try:
        policies.check_supported(archive.read(path))
    except errors.UnsupportedPolicy:
        assert zoo.run.error(name).startswith("UnsupportedPolicy: ")
        return
    for kind, runtime in FLOAT:
        verdict = json.loads((zoo.artifacts / name / kind / runtime / "verdict.json").read_text())
        assert verdict["status"] == "passed", (kind, runtime, verdict["reason"])
