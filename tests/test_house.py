"""The floors of the house: imports go downwards, frameworks stay in their toolchains, modules stay small."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config, told, toolchains
from pipeline.hops import BY_KIND, HOPS, wanted
from pipeline.runtimes import RUNTIMES

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "pipeline"
FLOORS = (
    (
        "settings",
        "spec",
        "failing",
        "errors",
        "contract",
        "gate",
        "fingerprint",
        "surroundings",
        "scratch",
        "places",
        "stored",
    ),
    ("config", "folder", "artifacts", "toolchains", "cache", "hops", "runtimes"),
    ("agents", "hops.", "runtimes."),
    ("checks", "deciding"),
    ("bundles",),
    ("doing", "worker"),
    ("warm",),
    ("processes", "cluster"),
    ("told",),
    ("steps",),
    (
        "report",
        "survey",
        "live",
        "reporter",
        "nightly",
        "tasks",
        "commands",
        "programs",
        "rebuilding",
        "receiving",
        "releasing",
    ),
    ("calling", "__main__"),
)
HEAVY = {"torch", "tensorflow", "onnx", "onnx_tf", "tensorflowjs", "stable_baselines3", "gymnasium", "numpy"}
HEAVY |= {
    "onnxruntime",
    "ai_edge_litert",
    "tflite_micro",
    "safetensors",
    "sb3_contrib",
    "jax",
    "matplotlib",
    "rich",
    "distributed",
    "dask",
    "cyclonedx",
    "zstandard",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PIPELINE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PIPELINE.rglob("*.py")) if path != PIPELINE / "__init__.py"}


def floor(module: str) -> int:
    for number, names in enumerate(FLOORS):
        if any(module == n or (n.endswith(".") and module.startswith(n)) for n in names):
            return number
        if any(not n.endswith(".") and n not in ("hops", "runtimes") and module.startswith(f"{n}.") for n in names):
            return number
    raise AssertionError(f"{module} stands on no floor")


def imports(path: Path) -> set[str]:
    """Modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pipeline"):
            base = node.module.removeprefix("pipeline").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES else base)
    return found - {""}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    upwards = {other for other in imports(MODULES[module]) if floor(other) > floor(module)}
    assert not upwards


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(("hops.", "runtimes."))])
def test_hops_and_runtimes_import_neither_each_other_nor_checks(module: str) -> None:
    adapters = {f"hops.{hop.module}" for hop in HOPS} | {f"runtimes.{name}" for name in RUNTIMES}
    assert not imports(MODULES[module]) & (adapters | {"checks", "tasks", "steps"})


def test_only_tasks_and_reporter_know_doit() -> None:
    knowing = {m for m, path in MODULES.items() if re.search(r"^\s*(from|import) doit\b", path.read_text(), re.M)}
    assert knowing == {"tasks", "commands", "programs", "releasing", "told", "calling"}


def test_every_setting_of_the_command_line_is_known() -> None:
    read = {name for path in MODULES.values() for name in re.findall(r"(?:get_var|_yes)\(\"(\w+)\"", path.read_text())}
    assert read == set(told.SETTINGS)


def test_only_jobs_call_convert() -> None:
    calling = {m for m, path in MODULES.items() if re.search(r"\bhop\.convert\(", path.read_text())}
    assert calling == {"doing"}


def test_dodo_is_short() -> None:
    assert len((ROOT / "dodo.py").read_text().splitlines()) < 150


@pytest.mark.parametrize("module", MODULES)
def test_module_is_one_thing(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 300


def test_table_of_hops_is_a_chain_in_order() -> None:
    known = {"sb3"}
    for hop in HOPS:
        assert hop.source in known, f"{hop.kind} starts from a kind that no earlier line makes"
        assert hop.kind not in known, f"{hop.kind} is made twice"
        assert (PIPELINE / "hops" / f"{hop.module}.py").is_file()
        assert hop.toolchain in toolchains.TOOLCHAINS
        assert hop.runtimes and set(hop.runtimes) <= set(RUNTIMES)
        known.add(hop.kind)


def test_every_runtime_is_used_and_has_its_module() -> None:
    assert {name for hop in HOPS for name in hop.runtimes} == set(RUNTIMES)
    for runtime in RUNTIMES.values():
        assert (PIPELINE / "runtimes" / f"{runtime.name}.py").is_file()
        assert {runtime.toolchain, *runtime.needs} <= set(toolchains.TOOLCHAINS)


def test_target_brings_its_sources() -> None:
    end = BY_KIND["tflite_quantized"]
    kinds = [hop.kind for hop in wanted(["edgetpu"])]
    assert kinds == ["onnx_core", "savedmodel_core", *end.rungs, "tflite_quantized", "edgetpu"]
    assert wanted(["all"]) == tuple(hop for hop in HOPS if not hop.asked)
    assert BY_KIND["edgetpu"].source == "tflite_quantized"


def in_doit(arguments: str) -> set[str]:
    """Top-level modules that a run of doit has imported at its end."""
    program = (
        "import sys, json, atexit\n"
        "atexit.register(lambda: print('MODULES', json.dumps(sorted({m.split('.')[0] for m in sys.modules}))))\n"
        f"from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run({arguments.split()!r}))"
    )
    host = toolchains.home() / "host" / "bin" / "python"
    done = subprocess.run([host, "-c", program], capture_output=True, text=True, cwd=ROOT, env=os.environ)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES"))
    return set(json.loads(line.removeprefix("MODULES")))


@pytest.mark.parametrize("arguments", ["list", "list --all --status", "help run"])
def test_listing_imports_no_framework(arguments: str) -> None:
    assert not in_doit(arguments) & HEAVY


def test_modules_for_toolchains_import_with_the_standard_library_alone() -> None:
    names = [
        f"pipeline.{m}"
        for m in MODULES
        if m.startswith(("hops", "runtimes", "agents", "bundles")) or m in ("doing", "worker")
    ]
    # Subclasses of torch's and gymnasium's classes, which are imported inside functions only; the files for users.
    subclassing = ("activations", "exported", "features", "modules", "stacking")
    own = {
        *(f"pipeline.agents.{name}" for name in subclassing),
        "pipeline.hops.numpy_policy",
        "pipeline.hops.run_policy",
    }
    program = f"import {', '.join(sorted(set(names) - own))}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"]
    )
    assert done.returncode == 0


def test_examples_are_read() -> None:
    names = [path.stem for path in config.paths(ROOT / "configs")]
    assert names == ["cartpole_a2c", "cartpole_ppo", "pendulum_sac"]


def test_locks_open_with_the_command_that_makes_them() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        head = lock.read_text().splitlines()[:2]
        assert "uv pip compile" in head[1] and "--generate-hashes" in head[1], lock.name


def test_lock_hashes_everything_but_torch() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert "torch==" not in lock.read_text().replace("onnxruntime", "").replace("pytorch", "")


def test_repository_names_no_download_address_and_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.split()
    address = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)\b|index-url|\"resolved\"")
    for name in listed:
        path = ROOT / name
        if not path.is_file():
            continue
        if path.suffix in (".txt", ".in", ".json", ".toml", ".py", ".mjs", ".cpp", ".md") or name in (
            "doit",
            ".ci/run",
        ):
            text = path.read_text(encoding="utf-8")
            assert name == "tests/test_house.py" or not address.search(text), name
            assert str(ROOT) not in text, name
