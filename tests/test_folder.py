"""A folder of archives: what is found in it, one table for all of it, and SB3's own guide as the baseline."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import config, folder, survey
from running import Run, doit

ZOO_CONFIG = (
    "!!python/object/apply:collections.OrderedDict\n- - - env_wrapper\n    - a.B\n  - - frame_stack\n    - {}\n"
)


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path, skip: Path = Path("/nowhere")) -> list[str]:
    return [agent.name for agent in folder.scan(root, skip)]


def test_layout_of_rl_zoo_is_read(tmp_path: Path) -> None:
    touched(tmp_path, "ppo/CartPole-v1_1/CartPole-v1.zip", "ppo/CartPole-v1_1/CartPole-v1/vecnormalize.pkl")
    (tmp_path / "ppo/CartPole-v1_1/CartPole-v1/config.yml").write_text(ZOO_CONFIG.format(4))
    (agent,) = folder.scan(tmp_path, tmp_path / "artifacts")
    assert agent.name == "ppo-CartPole-v1_1"
    assert agent.zip == str(tmp_path / "ppo/CartPole-v1_1/CartPole-v1.zip")
    assert agent.vecnormalize == str(tmp_path / "ppo/CartPole-v1_1/CartPole-v1/vecnormalize.pkl")
    assert (agent.environment.id, agent.environment.optional, agent.environment.frame_stack) == ("CartPole-v1", True, 4)
    assert agent.algorithm == "", "the archive tells"


@pytest.mark.parametrize(
    ("files", "statistics"),
    [
        (["a.zip"], "none"),
        (["a.zip", "vecnormalize.pkl"], "vecnormalize.pkl"),
        (["a.zip", "vec_normalize.pkl"], "vec_normalize.pkl"),
        (["a.zip", "a/vecnormalize.pkl", "vecnormalize.pkl"], "a/vecnormalize.pkl"),
        (["Hopper-v4_2/best_model.zip", "Hopper-v4_2/Hopper-v4/vecnormalize.pkl"], "Hopper-v4_2/Hopper-v4/vecnormalize.pkl"),
    ],
)  # fmt: skip
def test_statistics_are_found(tmp_path: Path, files: list[str], statistics: str) -> None:
    (agent,) = folder.scan(touched(tmp_path, *files), tmp_path / "artifacts")
    assert agent.vecnormalize == (statistics if statistics == "none" else str(tmp_path / statistics))


@pytest.mark.parametrize(
    ("file", "known"),
    [("Ant-v3.zip", "Ant-v3"), ("ppo/Ant-v3_7/best_model.zip", "Ant-v3"), ("walker.zip", ""), ("-v3.zip", "")],
)
def test_environment_is_what_looks_like_an_id(tmp_path: Path, file: str, known: str) -> None:
    (agent,) = folder.scan(touched(tmp_path, file), tmp_path / "artifacts")
    assert agent.environment.id == known


@pytest.mark.parametrize(
    ("text", "frames"),
    [("frame_stack: 4", 4), (ZOO_CONFIG.format(2), 2), ("n_stack: 4", 1), ("frame_stack: 0", 1), ("frame_stack: 999", 1)],
)  # fmt: skip
def test_frame_stack_is_what_the_config_states(tmp_path: Path, text: str, frames: int) -> None:
    touched(tmp_path, "model.zip")
    (tmp_path / "config.yml").write_text(text)
    (agent,) = folder.scan(tmp_path, tmp_path / "artifacts")
    assert agent.environment.frame_stack == frames


def test_names_are_fit_and_unique_where_case_is_ignored(tmp_path: Path) -> None:
    long = "x" * 80
    touched(
        tmp_path, "a b/ä.zip", "PPO.zip", "ppo.zip", "onnx.zip", f"{long}.zip", f"y{long}.zip", "_.zip", "c/d/e.zip"
    )
    found = [agent.name for agent in folder.scan(tmp_path, tmp_path / "artifacts", reserved=("onnx",))]
    assert set(found) == {"a_b-_", "PPO", "ppo-2", "onnx-2", "x" * 64, "x" * 62 + "-2", "agent", "c-d-e"}
    assert all(config.fit(name) for name in found)
    assert not config.duplicates(found)


def test_archives_of_ours_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    touched(tmp_path, "a.zip", "artifacts/a/sb3/agent.zip", ".cache/b.zip", "c.ZIP", "d.zip.part")
    (tmp_path / "folder.zip").mkdir()
    assert names(tmp_path, tmp_path / "artifacts") == ["a", "c"]


@pytest.mark.parametrize(("place", "telling"), [("gone", "It does not exist"), ("", "It holds no *.zip"), ("file", "not a folder")])  # fmt: skip
def test_folder_without_archives_is_one_clear_error(tmp_path: Path, place: str, telling: str) -> None:
    if place == "file":
        (tmp_path / "file").touch()
    run = doit(f"folder={tmp_path / place}", configs=tmp_path, artifacts=tmp_path / "artifacts")
    assert run.code == 2
    assert run.text.startswith(f"FolderUnfit: file {tmp_path / place}".rstrip("/"))
    assert telling in run.text and len(run.text.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["baseline=yes"], ["folder=.", "baseline=maybe"]])
def test_baseline_is_yes_or_no_and_goes_with_a_folder(tmp_path: Path, arguments: list[str]) -> None:
    run = doit(*arguments, configs=tmp_path, artifacts=tmp_path / "artifacts")
    assert run.code == 2
    assert run.text.startswith("ConfigWrongValue: Baseline is yes or no, and goes with folder.")


# --- a run -----------------------------------------------------------------------------------------


class Call:
    """Calls something when it is unpickled: what an archive can do to whoever loads it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def with_code(source: Path, target: Path, key: str, call: Call) -> None:
    """A copy of an archive in which the field ``key`` is a call."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                code = base64.b64encode(pickle.dumps(call)).decode()
                content = json.dumps({**json.loads(content), key: {":type:": "object", ":serialized:": code}}).encode()
            new.writestr(name, content)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Path:
    from stable_baselines3 import DQN, SAC

    root = tmp_path_factory.mktemp("zoo")
    place = root / "ppo" / "CartPole-v1_1"
    (place / "CartPole-v1").mkdir(parents=True)
    shutil.copy(tiny_zip, place / "CartPole-v1.zip")
    shutil.copy(tiny_zip.with_suffix(".pkl"), place / "CartPole-v1" / "vecnormalize.pkl")
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=100).save(root / "sac" / "Pendulum-v1_1" / "Pendulum-v1.zip")
    DQN("MlpPolicy", "CartPole-v1", buffer_size=100).save(root / "policy.zip")
    (root / "cut.zip").write_bytes(tiny_zip.read_bytes()[:-100])
    with_code(tiny_zip, root / "hostile.zip", "observation_space", Call(open, str(root / "hostile.txt"), "w"))
    with_code(tiny_zip, root / "sly.zip", "lr_schedule", Call(open, str(root / "sly.txt"), "w"))
    with_code(tiny_zip, root / "leaves.zip", "lr_schedule", Call(os._exit, 7))
    shutil.copy(tiny_zip, root / "Gone-v0.zip")
    return root


def survey_of(zoo: Path, *arguments: str) -> Run:
    return doit(f"folder={zoo}", *arguments, configs=zoo / "configs", artifacts=zoo / "artifacts")


@pytest.fixture(scope="module")
def first(zoo: Path) -> Run:
    return survey_of(zoo, "onnx", "weights", "edgetpu")


@pytest.fixture(scope="module")
def baseline(zoo: Path, first: Run) -> Run:
    assert not (zoo / "sly.txt").exists(), "an archive was executed without baseline=yes"
    return survey_of(zoo, "baseline=yes", "weights", "documented")


def row(run: Run, agent: str) -> list[str]:
    """The cells of an agent's row; the columns stand two blanks apart."""
    (line,) = [line for line in run.text.splitlines() if re.match(rf"{re.escape(agent)}  ", line)]
    return re.split(r" {2,}", line)


def test_every_archive_is_a_row(first: Run) -> None:
    assert first.code != 0, "agents failed"
    assert row(first, "cut")[1] == "AgentFileDamaged"
    assert row(first, "hostile")[1] == "PickleRefused"
    for name in ("ppo-CartPole-v1_1", "policy", "sly", "leaves", "Gone-v0"):
        assert row(first, name)[1] == "yes", first.text
        assert re.fullmatch(r"✓ (\d+)/\1", row(first, name)[2])
    assert re.fullmatch(r"✓ \de-\d\d", row(first, "sac-Pendulum-v1_1")[2])
    assert "Traceback" not in first.text


def test_row_ends_with_the_seconds_that_its_steps_took(first: Run) -> None:
    for name in ("cut", "ppo-CartPole-v1_1"):
        steps = re.findall(rf"^ *([\d.]+) s  \w+ +{name}:", first.text, re.MULTILINE)
        assert float(row(first, name)[-1]) == pytest.approx(sum(map(float, steps)), abs=0.06 * len(steps))


def test_summary_counts_agents_hops_and_kinds(first: Run) -> None:
    assert "\n8 agents: 6 loaded, 6 passed every full-precision hop\n" in first.text
    assert "\nnot loaded: AgentFileDamaged 1, PickleRefused 1\n" in first.text
    assert re.search(r"^  weights +6 passed$", first.text, re.MULTILINE)
    assert re.search(r"^  edgetpu +0 passed, 6 not run$", first.text, re.MULTILINE)
    assert re.search(r"^– not run: edgetpu in edgetpu: .*not found", first.text, re.MULTILINE)


def test_where_no_environment_can_be_made_observations_are_drawn(first: Run, zoo: Path) -> None:
    rolled = {}
    for name in ("ppo-CartPole-v1_1", "policy", "Gone-v0"):
        about = json.loads((zoo / "artifacts" / name / "observations" / "about.json").read_text())
        rolled[name] = about["rollouts"]
    assert rolled == {"ppo-CartPole-v1_1": True, "policy": False, "Gone-v0": False}


def test_what_was_up_to_date_costs_no_seconds(zoo: Path, baseline: Run) -> None:
    again = survey_of(zoo, "baseline=yes", "weights", "documented")
    assert row(again, "policy")[-1] == "-"
    assert row(again, "cut")[-1] != "-", "what failed is tried again"
    assert not {name for name in again.done if not name.startswith("toolchains")}


def test_baseline_shows_what_the_guide_makes_of_each_archive(baseline: Run) -> None:
    assert "guide loads" in baseline.text and "guide: SB3's export guide followed as written." in baseline.text
    _, loaded, weights, loads, exports, action, _ = row(baseline, "policy")
    assert (loaded, weights, loads, exports, action) == ("yes", "✓ 512/512", "yes", "yes", "✓ 512/512")
    _, _, _, loads, exports, action, _ = row(baseline, "sac-Pendulum-v1_1")
    assert (loads, exports) == ("yes", "dynamo=False (else TorchExportError)")
    assert re.fullmatch(r"✗ \de[+-]\d\d", action), "the guide does not rescale"
    assert row(baseline, "cut")[1:] == ["AgentFileDamaged", row(baseline, "cut")[-1]]
    counted = (
        r"^guide, of 6: \d load as written; 1 export as written, 5 more with dynamo=False; 6 files answer as their"
    )
    assert re.search(counted + r" wrapper, \d as predict$", baseline.text, re.MULTILINE)


def test_archive_that_ends_the_process_is_a_finding(baseline: Run) -> None:
    assert row(baseline, "leaves")[3:5] == ["ConverterFailed", "dynamo=False (else TorchExportError)"]


def test_only_the_baseline_executes_what_an_archive_holds(zoo: Path, baseline: Run) -> None:
    assert "baseline=yes: SB3's own load executes what the pickles of the archives hold" in baseline.text
    assert (zoo / "sly.txt").exists(), "SB3's load executes the pickle of a field that Slipway never reads"
    assert not (zoo / "hostile.txt").exists(), "what Slipway refuses is not even loaded by the baseline"
    log = (zoo / "artifacts" / "sly" / "log" / "documented.export.txt").read_text()
    assert "SB3's own load, which executes what the archive's pickles hold" in log


def test_narrow_terminal_shows_marks_alone() -> None:
    lines = [["", "loaded", "onnx", "weights", "seconds"], ["a", "yes", "✓ 512/512", "✗ 3e-01", "1.0"]]
    assert survey._fitted(lines, 80, 2) == "   loaded  onnx       weights  seconds\na  yes     ✓ 512/512  ✗ 3e-01  1.0"
    assert survey._fitted(lines, 30, 2) == "   loaded  onnx  weights  seconds\na  yes     ✓     ✗        1.0"


@pytest.mark.parametrize(
    ("guide", "cells"),
    [
        ({}, ["", "", ""]),
        ({"loads": "yes", "uncovered": "recurrent"}, ["yes", "not covered", "–"]),
        ({"loads": "TypeError", "exporters": {"default": "A", "dynamo=False": "B"}}, ["TypeError", "no: A, B", "–"]),
        ({"loads": "yes", "exporters": {"default": "JobTimedOut"}}, ["yes", "no: JobTimedOut", "–"]),
        ({"loads": "yes", "exporters": {"default": "yes"}, "runs": "Fail"}, ["yes", "yes, runs: Fail", "–"]),
        ({"loads": "yes", "exporters": {"default": "yes"}, "runs": "yes", "wrapper": {"same": False}, "action": {"same": False, "figure": "3/4"}}, ["yes", "yes ≠", "✗ 3/4"]),
    ],
)  # fmt: skip
def test_cells_of_the_guide(guide: dict, cells: list[str]) -> None:
    assert survey._guide_cells(guide) == cells
