"""What the benchmark programs do with their figures: reading, judging, telling. Nothing is timed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    charts,
    deciders,
    deciding,
    deciding_page,
    fleet,
    fleet_page,
    fleets,
    logs,
    scaling,
    scaling_page,
    setup,
    setup_page,
    watching,
)
from pipeline import config, toolchains
from pipeline.hops import KINDS
from running import ROOT

MACHINE = {"processor": "a processor", "cores": 2, "system": "Linux"}
LOG = """some tool's words
run: 0.20 s, 0.10 s of CPU, peak 120 MiB
warning: run: no figure
evaluate: 2.50 s, 1.75 s of CPU, peak 398 MiB
"""


@pytest.fixture
def some_logs(tmp_path: Path) -> Path:
    """An artifacts folder with the logs of one agent."""
    folder = tmp_path / "an_agent" / "log"
    folder.mkdir(parents=True)
    (folder / "tflite_int8.litert.run.txt").write_text(LOG)
    (folder / "observations.txt").write_text("observe: 1.00 s, 0.50 s of CPU, peak 300 MiB\n")
    (folder / "edgetpu.convert.txt").write_text("")
    return tmp_path


def marked(page: str) -> list[str]:
    """The last cell of each judged row of a page."""
    return [
        line.split("|")[-2].strip() for line in page.splitlines() if "✓" in line or "✗" in line or "– nothing" in line
    ]


def test_logs_tell_what_each_job_took(some_logs: Path) -> None:
    jobs = logs.read(some_logs)
    assert [(job.agent, job.hop, job.do, job.cpu, job.peak) for job in jobs] == [
        ("an_agent", "observations", "observe", 0.5, 300),
        ("an_agent", "tflite_int8", "run", 0.1, 120),
        ("an_agent", "tflite_int8", "evaluate", 1.75, 398),
    ]
    assert logs.by_kind(jobs)["evaluate"] == {"count": 1, "cpu": 1.75, "seconds": 2.5}
    assert logs.by_hop(jobs)["tflite_int8"] == {"run": 0.1, "evaluate": 1.75}


def test_steps_own_log_line_is_what_the_benchmark_reads() -> None:
    source = (ROOT / "pipeline" / "steps" / "making.py").read_text()
    assert "s of CPU, peak {ended['peak_kib'] / 1024:.0f} MiB" in source


def watched(**further: Any) -> watching.Watched:
    """A run of 10 s of CPU: doit itself 2 s, the warm process of TensorFlow 3 s, whose fork is no start."""
    warm = "/x/tensorflow-0123456789ab/bin/python -m pipeline.worker --warm "
    processes = {
        1: watching.Process(0, "python -m doit", 2.0),
        2: watching.Process(1, warm, 3.0),
        3: watching.Process(2, warm, 1.0),
    }
    return watching.Watched(seconds=6.0, cpu=10.0, peak=10**9, pid=1, processes=processes, **further)


def test_all_of_a_runs_cpu_is_told_apart(some_logs: Path) -> None:
    found = fleet.shares(watched(), logs.read(some_logs), {"an_agent:tflite_int8:litert:check": 0.5})
    assert found["warm process: tensorflow"]["cpu"] == 3.0
    assert found["doit itself"]["cpu"] == 1.5
    assert found["checks"]["cpu"] == 0.5
    assert sum(held["cpu"] for held in found.values()) == pytest.approx(10.0)
    assert sum(charts.grouped(found).values()) == pytest.approx(10.0)


def a_fleet(some_logs: Path, reason: str = "") -> dict[str, Any]:
    """Figures of a fleet of one agent."""
    jobs, checks = logs.read(some_logs), {"an_agent:tflite_int8:litert:check": 0.5}
    recipes = {"an_agent": {"onnx": {"seconds": 70.0, "cpu": 50.0, "reason": reason}}}
    found = {
        "agents_of": "a folder of agents",
        "agents": 1,
        "passed": 1,
        "verdicts": {"passed": 20, "not_run": 1},
        "run": {"seconds": 6.0, "cpu": 10.0, "peak": 10**9, "at_once": 2},
        "cached": {"seconds": 0.1, "ran": 0, "taken": 69},
        "shares": fleet.shares(watched(), jobs, checks),
        "per_hop": fleet.per_hop(jobs, checks, {"tflite_int8": 0.3}),
        "per_agent": fleet.per_agent(jobs),
        "largest_job": 398,
        "floor_cpu": 8.0,
        "recipe": fleet.followed(recipes),
        "recipes": recipes,
        "machine": MACHINE,
    }
    return {**found, "goals": [goal.__dict__ for goal in fleet.goals(found)]}


def test_fleet_is_judged_by_the_floor_and_the_recipe(some_logs: Path) -> None:
    page = fleet_page.page(a_fleet(some_logs))
    assert marked(page) == ["✓", "✓", "✓", "✗ missed", "✓", "✓"]  # 1.25 times the floor; 11.7 and 5 times the recipe
    assert "| closed loop of artifacts | 1 | 1.8 | 18% | 1.75 |" in page
    assert "| `tflite_int8` |  |  |  |  | 0.30 | 0.10 | 1.75 | 0.50 |  |" in page


def test_recipe_that_works_for_no_agent_judges_nothing(some_logs: Path) -> None:
    page = fleet_page.page(a_fleet(some_logs, reason="Unsqueeze is not implemented"))
    assert marked(page) == ["✓", "✓", "– nothing to judge", "– nothing to judge", "✓", "✓"]
    assert "1 × `onnx: Unsqueeze is not implemented`" in page


def rows_of(seconds: list[float]) -> list[dict[str, Any]]:
    """A series, with doit alone at 0.5 s."""
    fixed = {"idle": 0.9, "doit_alone": 0.5, "list": 0.2, "inspect": 0.4}
    counted = zip(scaling.COUNTS, seconds, strict=True)
    return [{"count": n, "tasks": 22 * n, "seconds": took, "cpu": 2 * took, **fixed} for n, took in counted]


@pytest.mark.parametrize(
    ("seconds", "mark"), [([9, 15, 36, 96, 306], "✓"), ([9, 15, 36, 96, 376], "✗ missed"), ([9, 15, 36, 96, 96], "✓")]
)
def test_cost_of_a_further_agent_must_not_grow(seconds: list[float], mark: str) -> None:
    series = {"few targets": rows_of(seconds), "all targets": rows_of(seconds)[:3]}
    goals = scaling.goals(series, {"./doit list": 0.2, "./doit help": 0.7})
    told = {"machine": MACHINE, "source": "an_agent", "targets": scaling.SERIES, "commands": {"./doit list": 0.2}}
    page = scaling_page.page({**told, "series": series, "goals": [goal.__dict__ for goal in goals]})
    assert marked(page) == [mark, mark, "✓", "✓", "✗ missed"]


def test_too_few_numbers_of_agents_judge_no_slope() -> None:
    assert scaling.flat(rows_of([9, 15, 36, 96, 306])[:3], "seconds")[1] is None


def test_doit_alone_goes_through_as_many_tasks(tmp_path: Path) -> None:
    place = scaling.configs(tmp_path / "configs", 2, ["onnx"])
    host = toolchains.home() / "host" / "bin" / "python"
    call = [host, "-m", "benchmarks.nothing", place, tmp_path / "artifacts", tmp_path / "doit"]
    count = int(subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    told = json.loads((tmp_path / "doit" / "tasks.json").read_text())
    assert told["default"] == ["copy_000", "copy_001"]
    alone = [host, "-m", "doit", "-f", tmp_path / "doit" / "dodo.py", "-d", tmp_path / "doit"]
    done = subprocess.run(alone, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(done) == len([line for line in done if line.startswith("-- ")])  # all of them up to date
    assert len(done) == count


def test_what_was_started_is_watched_and_waited_for(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'sum(range(10**6))'])"
    call = [sys.executable, "-c", program]
    found = subprocess.run(
        [sys.executable, "-c", f"from benchmarks import watching as w; f = w.run({call!r}, w.Path('.')); print(f.code, f.cpu > 0)"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.split() == ["0", "True"], found.stderr


def decided(microseconds: float) -> dict[str, Any]:
    """Figures of a method that takes so long, beside predict's 300."""
    one = deciding.figures([np.full(9, microseconds * 1e3)] * 2, 1, [np.full(9, 300e3)] * 2)
    batches = {str(batch): one for batch in deciding.BATCHES}
    return {"batches": batches, "start": 0.2, "bytes": 1000, "as_predict": True, "agreement": "256/256"}


@pytest.mark.parametrize(("microseconds", "mark"), [(7, "✓"), (8, "✗ missed")])
def test_runtimes_are_judged_by_predict(microseconds: float, mark: str) -> None:
    agents = {
        name: {"sb3": decided(300), "onnxruntime": decided(20), "tflite": decided(microseconds),
               "tfjs": {"reason": "no node here"}}
        for name in deciding.AGENTS
    }  # fmt: skip
    methods = {key: {"says": held.says, "batch_1": held.batch_1} for key, held in deciding.METHODS.items()}
    goals = [goal.__dict__ for goal in deciding.goals(agents)]
    told = {"rounds": 2, "slice": 0.05, "starts": 3, "methods": methods, "machine": MACHINE}
    page = deciding_page.page({**told, "agents": agents, "goals": goals})
    assert marked(page) == ["✓", mark]
    assert "not run: no node here" in page


def test_runtime_that_was_not_measured_misses_its_figure() -> None:
    agents: dict[str, Any] = {name: {"sb3": decided(300)} for name in deciding.AGENTS}
    assert [goal.reached for goal in deciding.goals(agents)] == [False, False]


def test_actions_that_are_not_predicts_are_seen() -> None:
    box = {"action_space": {"type": "Box", "shape": [1], "low": [-2.0], "high": [2.0]}}
    wanted = np.zeros((4, 1))
    assert deciding.agreement(wanted, wanted + 1e-3, box)["as_predict"]
    assert not deciding.agreement(wanted, wanted + 0.1, box)["as_predict"]
    discrete = {"action_space": {"type": "Discrete", "n": 2}}
    assert deciding.agreement(wanted, np.eye(4)[:, :1], discrete) == {"as_predict": False, "agreement": "3/4"}


def test_float_steps_around_a_core_are_the_contracts() -> None:
    from pipeline import contract as contracts

    prologue = [
        {
            "op": "normalize",
            "input": "observation",
            "mean": [1.0, 2.0],
            "variance": [4.0, 9.0],
            "epsilon": 1e-8,
            "clip": 1.0,
        },
        {"op": "equalize", "input": "observation", "middle": [0.1, 0.2], "half": [0.5, 0.6]},
    ]
    epilogue = [{"op": "tanh"}, {"op": "unscale", "low": [-2.0], "high": [4.0]}]
    told = {"prologue": prologue, "epilogue": epilogue, "decision": "mean"}
    act = deciders._around(told, lambda x: x[:, :1], np.dtype("float32"), (0.0, 0), (0.0, 0))
    for row in np.random.default_rng(0).normal(0, 4, (8, 1, 2)).astype(np.float32):
        core = contracts.prologue(prologue, {"observation": row})["observation"][:, :1]
        np.testing.assert_allclose(act(row), contracts.epilogue(epilogue, core, {}), atol=1e-6)


def made(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "cpu": 1.0, "peak": 10**8, "bytes": 10**9, "each": {"hub": 0.9}}


def test_setup_is_judged_by_pip_only_where_all_is_made() -> None:
    found = {"ours": {"empty": made(200), "full": made(40)}, "pip": {"empty": made(90), "full": made(50)}}
    for all_of_them, marks in ((True, ["✓", "✓", "✗ missed"]), (False, ["– nothing to judge"] * 3)):
        goals = [goal.__dict__ for goal in setup.goals(found, all_of_them)]
        page = setup_page.page({**found, "goals": goals, "lock": "a.txt", "made": ["hub"], "machine": MACHINE})
        assert marked(page) == marks


def test_setup_leaves_the_users_caches_alone(tmp_path: Path) -> None:
    found = setup.environment(tmp_path)
    for name in ("SLIPWAY_TOOLCHAINS", "UV_CACHE_DIR", "PIP_CACHE_DIR", "npm_config_cache"):
        assert Path(found[name]).is_relative_to(tmp_path)
    assert setup.each("    0.9 s  done    toolchains:hub\n") == {"hub": 0.9}


def test_generated_fleet_has_a_config_for_every_shape(tmp_path: Path) -> None:
    fleets.generate(tmp_path / "fleet")
    agents = fleets.agents(f"configs={tmp_path / 'fleet'}", tmp_path / "artifacts")
    assert len(agents) == len(fleets.SHAPES) == 18
    assert all(Path(agent.zip).is_file() and agent.int8.waiver for agent in agents)
    assert [agent.name for agent in agents] == [config.load(p, KINDS).name for p in config.paths(tmp_path / "fleet")]
