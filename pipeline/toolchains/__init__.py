"""Toolchains: a lock of ``requirements/`` -> an environment, proven healthy, committed by rename.

Each lives in ``.toolchains/NAME-DIGEST``, DIGEST being that of its lock, so a changed lock is another folder
and a folder that is there is whole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline import errors

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
STAMP = "slipway.json"


@dataclass(frozen=True)
class Toolchain:
    """An isolated environment.

    :param locks: files that it is made from; their digest is its identity
    :param imports: what it is for: proven to import, and what a warm process has imported
    :param packages: whose versions are recorded with every artifact
    :param after: toolchains that it is made with
    :param says: one line for ``./doit list``
    :param rehearsal: ``module:function`` that a warm process calls when it has imported
    """

    name: str
    locks: tuple[str, ...]
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    says: str
    after: tuple[str, ...] = ()
    rehearsal: str = ""


TOOLCHAINS = {
    toolchain.name: toolchain
    for toolchain in (
        Toolchain(
            "torch",
            ("requirements/torch.txt", "requirements/torch.in"),
            # torch._dynamo takes a second, and whoever makes an optimizer imports it: SB3 with every policy.
            ("torch._dynamo", "stable_baselines3", "sb3_contrib", "gymnasium", "onnxscript", "safetensors.torch"),
            ("torch", "stable-baselines3", "gymnasium", "onnx", "onnxscript", "numpy"),
            "Stable-Baselines3, torch, onnx: reads agents, runs environments, exports",
            rehearsal="pipeline.toolchains.rehearsing:torch",
        ),
        Toolchain(
            "tensorflow",
            ("requirements/tensorflow.txt",),
            ("tensorflow", "onnx", "onnx_tf.backend", "tensorflowjs"),
            ("tensorflow", "onnx", "onnx-tf", "tensorflowjs", "numpy"),
            "onnx-tf, TensorFlow, tensorflowjs: the converters",
            rehearsal="pipeline.toolchains.rehearsing:tensorflow",
        ),
        Toolchain(
            "device",
            ("requirements/device.txt",),
            ("numpy", "onnxruntime", "ai_edge_litert.interpreter", "tflite_micro", "safetensors.numpy"),
            ("ai-edge-litert", "tflite-micro", "onnxruntime", "safetensors", "numpy"),
            "ONNX Runtime, LiteRT, TFLite Micro, NumPy: what runs where the policy acts",
        ),
        Toolchain(
            "node",
            ("requirements/node/package-lock.json", "requirements/nodejs.txt"),
            ("@tensorflow/tfjs", "onnxruntime-web"),
            ("@tensorflow/tfjs", "onnxruntime-web"),
            "TensorFlow.js and ONNX Runtime Web in Node",
        ),
        Toolchain(
            "libtorch",
            ("requirements/torch.txt", "requirements/torch.in", "pipeline/runtimes/run_policy.cpp"),
            (),
            (),
            "a C++ program on libtorch, built with this machine's compiler",
            after=("torch",),
        ),
        Toolchain(
            "hub",
            ("requirements/hub.txt",),
            ("huggingface_hub",),
            ("huggingface-hub",),
            "the Hugging Face Hub's client: fetches agents",
        ),
        Toolchain(
            "pictures",
            ("requirements/pictures.txt",),
            ("numpy", "matplotlib.figure"),
            ("matplotlib", "numpy"),
            "matplotlib: draws what was measured",
        ),
        Toolchain(
            "cluster",
            ("requirements/cluster.txt",),
            ("distributed", "fsspec"),
            ("distributed", "fsspec"),
            "Dask's client, scheduler and worker: other machines do the steps",
        ),
        Toolchain(
            "bundles",
            ("requirements/bundles.txt",),
            ("zstandard", "cyclonedx.output.json"),
            ("cyclonedx-python-lib", "zstandard"),
            "zstandard and CycloneDX: packs and opens release bundles",
        ),
        Toolchain(
            "test",
            ("requirements/test.txt", "requirements/torch.in"),
            ("pytest", "hypothesis", "torch", "stable_baselines3", "onnxruntime", "ai_edge_litert.interpreter"),
            ("pytest", "hypothesis", "mypy", "ruff"),
            "pytest, hypothesis, mypy and ruff beside what is tested",
        ),
    )
}


def home() -> Path:
    """Where toolchains live: ``.toolchains`` of this clone, or a folder that several clones share."""
    return Path(os.environ.get("SLIPWAY_TOOLCHAINS", ROOT / ".toolchains"))


def lock_digest(name: str) -> str:
    """sha256 over the files that a toolchain is made from."""
    digest = hashlib.sha256()
    for lock in TOOLCHAINS[name].locks:
        digest.update((ROOT / lock).read_bytes())
    return digest.hexdigest()


def folder(name: str) -> Path:
    """Where this lock's toolchain is, or will be."""
    return home() / f"{name}-{lock_digest(name)[:12]}"


def ready(name: str) -> bool:
    """Whether it has been made and proven, and its interpreter is still there."""
    place = folder(name)
    first = {"node": "node", "libtorch": "run_policy"}.get(name, "bin/python")
    return (place / STAMP).is_file() and (place / first).exists()


def versions(name: str) -> dict[str, str]:
    """Version by package, as found when the toolchain was proven.

    :raises errors.ToolchainBroken: it has been deleted since
    """
    try:
        stamp: dict[str, dict[str, str]] = json.loads((folder(name) / STAMP).read_text(encoding="utf-8"))
        return stamp["versions"]
    except (OSError, ValueError, KeyError):
        raise errors.ToolchainBroken(f"the toolchain {name} is no longer whole", file=folder(name)) from None


def python(name: str) -> str:
    """The interpreter of a Python toolchain."""
    return str(folder(name) / "bin" / "python")


@functools.cache
def foreign_versions(interpreter: str) -> dict[str, str]:
    """Version by package in the user's own interpreter, which stands in for the torch toolchain.

    :raises errors.ConfigWrongValue: it does not run, or lacks a package
    """
    packages = TOOLCHAINS["torch"].packages
    program = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {packages!r}}}))"
    remedy = f"Install there: {', '.join(packages)}; or leave `python` out of the config"
    try:
        done = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, timeout=60)
    except OSError as error:
        what = f"python names {interpreter}, which does not run ({error.strerror})"
        raise errors.ConfigWrongValue(what, remedy=remedy) from None
    except subprocess.TimeoutExpired:
        what = f"python names {interpreter}, which does not answer within a minute"
        raise errors.ConfigWrongValue(what, remedy=remedy) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise errors.ConfigWrongValue(f"python names {interpreter}, which says {lines[-1]}", remedy=remedy)
    try:
        found: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        raise errors.ConfigWrongValue(f"python names {interpreter}, which is no Python", remedy=remedy) from None
    return found


def foreign_identity(interpreter: str) -> str:
    """What stands for the lock of the user's own interpreter: a digest of its packages."""
    return hashlib.sha256(json.dumps(foreign_versions(interpreter), sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, str]:
    """The environment variables of everything that runs in a toolchain: same bytes for everyone."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TF_"))}
    fixed = {
        "PYTHONPATH": str(ROOT),
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime keeps a database in the user's home otherwise
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",  # its cache would be in the user's home
    }
    return {**inherited, **fixed}


def attainable(name: str) -> bool:
    """Whether a toolchain has been made, or can be."""
    return ready(name) or name != "libtorch" or compiler() is not None


def absence(name: str) -> str:
    """Why a toolchain that is not ready cannot be."""
    return {"libtorch": "no C++ compiler found (c++, g++, clang++)"}[name]


def compiler() -> str | None:
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
