"""Agents whose bundles the tests share: one whole, one of which a kind could not be made, one of which nothing passed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from forging_bundles import Members, members

from running import Built, doit

CONFIGS = {
    "whole": 'zip = "agent.zip"\nvecnormalize = "statistics.pkl"\ntargets = ["onnx", "onnx_core", "weights"]\n'
    '[environment]\nid = "CartPole-v1"\n[bundle]\nlicence = "CC-BY-4.0"\n',
    "partly": 'zip = "agent.zip"\nvecnormalize = "none"\ntargets = ["onnx", "onnx_core", "weights"]\n',
    "nothing": 'zip = "agent.zip"\nvecnormalize = "none"\ntargets = ["onnx"]\n'
    "[tolerance]\nabsolute = 1e-30\nrelative = 0.0\n",
}


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Built:
    """The agents, after ./doit bundle."""
    folder = tmp_path_factory.mktemp("bundled")
    configs = folder / "configs"
    configs.mkdir()
    shutil.copyfile(tiny_zip, configs / "agent.zip")
    shutil.copyfile(tiny_zip.with_suffix(".pkl"), configs / "statistics.pkl")
    for name, text in CONFIGS.items():
        (configs / f"{name}.toml").write_text(text)
    return Built(configs, folder / "artifacts", doit("bundle", configs=configs, artifacts=folder / "artifacts"))


@pytest.fixture(scope="session")
def bundle(bundled: Built) -> Path:
    """The bundle of the agent that is whole."""
    path = bundled.artifacts / "bundles" / "whole" / "whole.tar.zst"
    assert path.is_file(), bundled.run.text
    return path


@pytest.fixture(scope="session")
def whole(bundle: Path) -> Members:
    """What it holds."""
    return members(bundle)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, its public one beside it."""
    import subprocess

    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f", path], check=True)
    return path
