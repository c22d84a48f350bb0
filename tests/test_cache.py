"""What is up to date is what the manifests say, and only what a change touches is built again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import gymnasium
import pytest
import torch
from stable_baselines3 import A2C

from pipeline import artifacts
from running import ROOT, Built, doit

AGENT = "kept"
CONFIG = 'zip = "agent.zip"\nvecnormalize = "none"\ntargets = ["tflite", "tflite_int8", "weights"]\n[calibration]\ndrawn = true\n'
OBSERVED = {"sb3", "observations", "calibration"}


def save_agent(path: Path) -> None:
    """An untrained one; its weights are doubled, so that its decisions are no close calls."""
    torch.manual_seed(0)
    agent = A2C("MlpPolicy", gymnasium.make("Acrobot-v1"), policy_kwargs={"net_arch": [24, 16]}, device="cpu")
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.mul_(2.0)
    agent.save(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("cache")
    configs = folder / "configs"
    configs.mkdir()
    save_agent(configs / "agent.zip")
    (configs / f"{AGENT}.toml").write_text(CONFIG)
    run = doit(configs=configs, artifacts=folder / "artifacts")
    assert run.code == 0, run.text
    return Built(configs, folder / "artifacts", run)


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Built:
    """The built agent, for a test to break."""
    shutil.copytree(built.configs, tmp_path / "configs")
    shutil.copytree(built.artifacts, tmp_path / "artifacts")
    return Built(tmp_path / "configs", tmp_path / "artifacts", built.run)


def again(built: Built, *arguments: str) -> set[str]:
    """Build once more; names of the steps that ran, without the agent's."""
    run = doit(*arguments, configs=built.configs, artifacts=built.artifacts)
    assert run.code == 0, run.text
    return {name.partition(":")[2] for name in run.done}


def digests(built: Built) -> dict[str, str]:
    """Everything that is built, without logs and locks."""
    artifacts._digests.clear()
    found = artifacts.digests(built.artifacts)
    return {name: digest for name, digest in found.items() if "/log/" not in name and not name.startswith(".")}


def edit(built: Built, text: str) -> None:
    (built.configs / f"{AGENT}.toml").write_text(CONFIG + text)


def test_second_run_does_nothing(built: Built) -> None:
    run = doit(configs=built.configs, artifacts=built.artifacts)
    assert (run.code, run.done) == (0, set())
    assert "everything is up to date" in run.text
    assert f"{AGENT}  " in run.text, "the table is shown all the same"


def test_tool_of_doit_agrees_that_nothing_is_to_do(built: Built) -> None:
    listed = subprocess.run(
        [ROOT / "doit", "list", "--all", "--status", f"configs={built.configs}", f"artifacts={built.artifacts}"],
        capture_output=True,
        text=True,
    ).stdout
    stale = [line for line in listed.splitlines() if re.match(rf"R {AGENT}:\S+:", line)]
    assert stale == []


@pytest.mark.parametrize(
    ("setting", "rerun"),
    [
        ("[int8]\ndecisions = 0.5\n", {"tflite_int8:litert:check"}),
        ("[tolerance]\nabsolute = 1e-3\n", None),
        (
            "samples = 200\n",
            {
                "calibration",
                *(f"{kind}:{step}" for kind in ("onnx_core",) for step in ("convert", "onnxruntime:run", "onnxruntime:check")),
                *(f"savedmodel_core:{step}" for step in ("convert", "tensorflow:run", "tensorflow:check")),
                *(f"tflite_int8:{step}" for step in ("convert", "litert:run", "litert:check")),
            },
        ),
    ],
)  # fmt: skip
def test_setting_reruns_what_reads_it(copy: Built, setting: str, rerun: set[str] | None) -> None:
    edit(copy, setting)
    done = again(copy)
    if rerun is None:
        rerun = {name for name in done if name.endswith(":check")} - {"tflite_int8:litert:check"}
        assert len(rerun) == 6
    assert done == rerun


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty", "manifest", "outputs"])
def test_damage_rebuilds_that_branch_only_and_to_the_same_bytes(copy: Built, damage: str) -> None:
    before = digests(copy)
    folder = copy.artifacts / AGENT / "savedmodel"
    path = folder / "saved_model" / "saved_model.pb"
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        stat = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif damage == "truncate":
        os.truncate(path, 0)
    elif damage == "delete":
        shutil.rmtree(folder)
    elif damage == "empty":
        for child in folder.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / "tensorflow" / "outputs.npz").write_bytes(b"")
    done = again(copy)
    wanted = {"savedmodel:tensorflow:run"} if damage == "outputs" else {"savedmodel:convert"}
    assert wanted <= done
    assert not {name for name in done if not name.startswith(("savedmodel:", "tflite:"))}
    assert digests(copy) == before


def test_touched_files_rebuild_nothing(copy: Built) -> None:
    for path in copy.artifacts.rglob("*"):
        os.utime(path)
    for path in copy.configs.iterdir():
        os.utime(path)
    assert again(copy) == set()


def test_one_hop_can_be_named_alone(copy: Built) -> None:
    shutil.rmtree(copy.artifacts / AGENT)
    done = again(copy, f"{AGENT}:onnx")
    assert done == {"sb3", "observations", "onnx:convert", "onnx:onnxruntime:run", "onnx:onnxruntime:check"}


def test_failed_check_stops_its_branch_and_stays_failed(copy: Built) -> None:
    edit(copy, "[tolerance]\nabsolute = 1e-12\nrelative = 0.0\n")
    for _ in range(2):
        run = doit(configs=copy.configs, artifacts=copy.artifacts)
        assert run.code != 0
        assert f"{AGENT}:onnx:onnxruntime:check" in run.failed
        assert "max difference" in run.text and "needs absolute tolerance" in run.text
    row = next(line for line in run.text.splitlines() if line.startswith(f"{AGENT}  "))
    assert "✗" in row and "·" in row


@pytest.mark.parametrize(
    ("sent", "after"),
    [(signal.SIGKILL, 1), (signal.SIGKILL, 14), (signal.SIGTERM, 8), (signal.SIGINT, 2), (signal.SIGINT, 12)],
)
def test_killed_run_loses_at_most_the_running_hops(built: Built, tmp_path: Path, sent: int, after: int) -> None:
    fresh = Built(built.configs, tmp_path / "artifacts", built.run)
    command = [str(ROOT / "doit"), f"configs={fresh.configs}", f"artifacts={fresh.artifacts}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    finished: list[str] = []
    while len(finished) < after:
        line = process.stdout.readline()
        assert line, "the run ended before it was killed"
        if "  done  " in line:
            finished.append(line.split()[-1].partition(":")[2])
    process.send_signal(sent)
    begun = time.monotonic()
    said = process.communicate()[0]
    assert time.monotonic() - begun < 10
    assert process.returncode != 0
    assert "Traceback" not in said
    assert not _workers_of(fresh.artifacts)
    done = again(fresh)
    assert not done & set(finished), "what had finished is not run again"
    assert digests(fresh) == digests(built)
    assert not list((fresh.artifacts / ".staging").iterdir())


def _workers_of(folder: Path) -> list[str]:
    """Command lines of processes that still write below a folder."""
    for _ in range(50):
        found = []
        for place in Path("/proc").glob("[0-9]*/fd"):
            try:
                found += [str(link) for link in place.iterdir() if str(folder) in str(link.readlink())]
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.1)
    return found


def test_two_runs_at_once_are_told_apart(built: Built) -> None:
    with artifacts.lock(built.artifacts):
        run = doit(configs=built.configs, artifacts=built.artifacts)
    assert run.code == 2
    assert re.search(r"ArtifactsBusy: Another run \(pid \d+, since \d\d:\d\d\) holds", run.text)


def test_full_disk_is_told_and_the_next_run_goes_on(built: Built, a_small_disk: Path) -> None:
    place = a_small_disk / "artifacts"
    run = doit(configs=built.configs, artifacts=place, timeout=90)
    assert run.code != 0
    assert re.search(rf"^DiskFull: agent {AGENT}, hop .*: The disk is full\. Found", run.text, re.MULTILINE)
    assert "Traceback" not in run.text
    subprocess.run(["mount", "-o", "remount,size=30m", str(a_small_disk)], check=True)
    after = doit(configs=built.configs, artifacts=place, timeout=90)
    assert after.code == 0, after.text
    assert not run.done & after.done, "what had finished is not run again"
    assert digests(Built(built.configs, place, after)) == digests(built)
