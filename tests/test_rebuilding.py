"""The same agent, config and locks give the same bytes: in another folder, as another user, in another order."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import artifacts, toolchains
from pipeline.hops import KINDS
from running import ROOT, Built

CLONED = ("doit", "dodo.py", "pipeline", "requirements", "configs")


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file that is promised to be the same: all but logs and what a run keeps for itself."""
    found = artifacts.digests(root)
    ours = {name: digest for name, digest in found.items() if "/log/" not in name and not name.startswith(".")}
    return {name: digest for name, digest in ours.items() if "__pycache__" not in name}  # other tests imported it


def _private() -> None:
    os.umask(0o077)


def test_examples_are_the_same_bytes_elsewhere(shipped_agents: Built, tmp_path: Path) -> None:
    """Another clone, home, umask, locale, time zone, hash seed, order of the agents, and number of steps at once."""
    assert shipped_agents.run.code == 0, shipped_agents.run.text
    clone = tmp_path / "a clone" / "with a deep path"
    clone.mkdir(parents=True)
    for name in CLONED:
        path = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, clone / name, ignore=ignored) if path.is_dir() else shutil.copy(path, clone)
    (tmp_path / "home").mkdir()
    names = sorted((path.stem for path in (clone / "configs").glob("*.toml")), reverse=True)
    done = subprocess.run(
        [clone / "doit", "-n", "3", *names, "artifacts=built"],
        env={
            **os.environ,
            "SLIPWAY_TOOLCHAINS": str(toolchains.home().resolve()),
            "HOME": str(tmp_path / "home"),
            "USER": "somebody",
            "LC_ALL": "C",
            "TZ": "Asia/Kathmandu",
            "PYTHONHASHSEED": "7",
            "COLUMNS": "40",
        },
        preexec_fn=_private,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = digests(shipped_agents.artifacts), digests(clone / "built")
    made = {f"{agent}/{kind}/policy.json" for agent in names for kind in KINDS} & here.keys()
    assert len(made) >= 3 * 14, "two builds that failed are equal too"
    assert here.keys() == there.keys()
    assert {name for name in here if here[name] != there[name]} == set()


@pytest.mark.parametrize(
    "kind", ["onnx", "savedmodel", "tfjs", "tflite", "tflite_quantized", "micro", "torchscript", "weights"]
)
def test_every_flipped_bit_is_noticed(shipped_agents: Built, tmp_path: Path, kind: str) -> None:
    """300 a kind, with the file's time set back."""
    drawn = random.Random(kind)
    folder = tmp_path / kind
    shutil.copytree(shipped_agents.artifacts / "cartpole_ppo" / kind, folder)
    stored = artifacts.manifest(folder)
    assert stored is not None and stored.files
    assert artifacts.fresh(folder, stored.key)
    for _ in range(300):
        path = folder / drawn.choice([name for name in stored.files if (folder / name).stat().st_size])
        whole, told = path.read_bytes(), path.stat()
        bit = drawn.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
        assert not artifacts.fresh(folder, stored.key), (path, bit)
        assert folder / artifacts.altered(folder) == path
        path.write_bytes(whole)
    assert artifacts.fresh(folder, stored.key)
