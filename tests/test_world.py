"""The world misbehaves: toolchains that vanish, clocks that go back. A run says so, and the next one puts it right."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import artifacts, toolchains
from running import ROOT, Built, doit

AGENT = "kept"
CONFIG = 'zip = "agent.zip"\nvecnormalize = "none"\ntargets = ["tflite", "weights"]\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Built:
    folder = tmp_path_factory.mktemp("world")
    (folder / "configs").mkdir()
    shutil.copy(tiny_zip, folder / "configs" / "agent.zip")
    (folder / "configs" / f"{AGENT}.toml").write_text(CONFIG)
    run = doit(configs=folder / "configs", artifacts=folder / "artifacts")
    assert run.code == 0, run.text
    return Built(folder / "configs", folder / "artifacts", run)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The toolchains, of which ``device`` may be damaged: its files are links, and not links to folders."""
    place = tmp_path / "toolchains"
    place.mkdir()
    device = toolchains.folder("device")
    for path in toolchains.home().iterdir():
        if path.is_dir() and path.name != device.name:
            (place / path.name).symlink_to(path.resolve())
    subprocess.run(["cp", "-al", device.resolve(), place / device.name], check=True)
    return place


def digests(folder: Path) -> dict[str, str]:
    """Everything that is built, without logs and locks."""
    found = artifacts.digests(folder)
    return {name: digest for name, digest in found.items() if "/log/" not in name and not name.startswith(".")}


def test_half_deleted_toolchain_is_named_and_costs_only_its_branches(built: Built, home: Path, tmp_path: Path) -> None:
    device = home / toolchains.folder("device").name
    packages = next(device.glob("lib/python*/site-packages"))
    (packages / "onnxruntime").rename(packages / "elsewhere")
    run = doit(configs=built.configs, artifacts=tmp_path / "made", SLIPWAY_TOOLCHAINS=str(home))
    assert run.code != 0
    assert "Traceback" not in run.text
    wanted = (
        rf"^ToolchainBroken: agent {AGENT}, hop onnx:onnxruntime:run, file {device}/bin/python: A process of the toolchain "
        r"does not start: ModuleNotFoundError: No module named 'onnxruntime'\. "
        r"Delete its folder under \.toolchains and run \./doit again\.$"
    )
    assert re.search(wanted, run.text, re.MULTILINE), run.text
    (packages / "elsewhere").rename(packages / "onnxruntime")
    after = doit(configs=built.configs, artifacts=tmp_path / "made", SLIPWAY_TOOLCHAINS=str(home))
    assert after.code == 0, after.text
    assert not run.done & after.done, "what had finished is not run again"
    assert digests(tmp_path / "made") == digests(built.artifacts)


def test_toolchain_that_cannot_be_made_is_told_once(built: Built, home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home / toolchains.folder("device").name)
    nothing = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}
    run = doit(configs=built.configs, artifacts=tmp_path / "made", SLIPWAY_TOOLCHAINS=str(home), **nothing)
    assert run.code == 1
    assert run.failed == {"toolchains:device"}
    assert run.text.count("ToolchainBroken: ") == 1
    assert "Traceback" not in run.text
    assert f"{AGENT}:onnx:convert" in run.done
    assert not [name for name in run.done if name.endswith((":run", ":check"))], "they wait for it"


def test_toolchain_that_is_deleted_while_a_run_goes_on(built: Built, home: Path, tmp_path: Path) -> None:
    """It is made again, or the steps that need it say that it is broken; the next run has what it needs."""
    command = [ROOT / "doit", f"configs={built.configs}", f"artifacts={tmp_path / 'made'}"]
    variables = {**os.environ, "SLIPWAY_TOOLCHAINS": str(home)}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    assert run.stdout is not None
    said = ""
    while f"{AGENT}:onnx:convert" not in said:
        line = run.stdout.readline()
        assert line, said
        said += line
    shutil.rmtree(home / toolchains.folder("device").name, ignore_errors=True)
    said += run.communicate(timeout=300)[0]
    assert "Traceback" not in said, said
    assert run.returncode == 0 or "ToolchainBroken" in said or "ConverterFailed" in said, said
    after = doit(configs=built.configs, artifacts=tmp_path / "made", SLIPWAY_TOOLCHAINS=str(home))
    assert after.code == 0, after.text
    assert digests(tmp_path / "made") == digests(built.artifacts)


def test_times_in_the_future_change_nothing(built: Built, tmp_path: Path) -> None:
    """As after a clock was set back: neither what was made before nor what is changed now is misjudged."""
    shutil.copytree(built.configs, tmp_path / "configs")
    shutil.copytree(built.artifacts, tmp_path / "made")
    later = time.time() + 1e8
    for path in tmp_path.rglob("*"):
        os.utime(path, (later, later))
    run = doit(configs=tmp_path / "configs", artifacts=tmp_path / "made")
    assert (run.code, run.done) == (0, set())
    model = tmp_path / "made" / AGENT / "tflite" / "policy.tflite"
    model.write_bytes(model.read_bytes()[::-1])
    run = doit(configs=tmp_path / "configs", artifacts=tmp_path / "made")
    assert run.done == {f"{AGENT}:tflite:{step}" for step in ("convert", "litert:run", "litert:check")}
    assert digests(tmp_path / "made") == digests(built.artifacts)


def test_interrupt_is_one_line_from_the_first_import_on(tmp_path: Path) -> None:
    """Whatever is being imported: here that is the first thing, which interrupts."""
    (tmp_path / "pipeline").mkdir()
    shutil.copy(ROOT / "pipeline" / "__main__.py", tmp_path / "pipeline")
    (tmp_path / "pipeline" / "__init__.py").touch()
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a process in the background does not
    program = f"import os, signal; {heard}; os.kill(os.getpid(), signal.SIGINT)"
    (tmp_path / "pipeline" / "calling.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "pipeline"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert done.stderr == "interrupted; what had finished is kept\n"
