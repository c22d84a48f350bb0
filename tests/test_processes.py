"""Jobs run in forks of warm processes; what ends badly is told, and the next job runs."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts, config, errors, processes, steps, toolchains
from pipeline import contract as contracts
from pipeline.hops import BY_KIND, HOPS, KINDS
from pipeline.processes import Limits, Place
from pipeline.spec import Agent
from pipeline.steps import making, verdicts
from running import Built

PLACE = making.place(Agent("a", "a.toml"), "device")
HOP = "of_a_test"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A job that runs some lines of Python, which know the folder ``target``."""
    path = toolchains.ROOT / "pipeline" / "hops" / f"{HOP}.py"
    (tmp_path / "policy.json").write_text("{}")

    def write(lines: str) -> dict[str, Any]:
        body = "\n    ".join(lines.splitlines())
        path.write_text(f"import os, time\n\n\ndef convert(source, target, contract, settings):\n    {body}\n")
        folders = {"source": str(tmp_path), "target": str(tmp_path)}
        return {"do": "convert", "module": HOP, "kind": "x", "golden": "", "tools": {}, "settings": {}, **folders}

    yield write
    path.unlink(missing_ok=True)


def run(job: dict[str, Any], tmp_path: Path, **limits: float) -> dict[str, Any]:
    return processes.run(PLACE, job, tmp_path / "log.txt", Limits(**{"seconds": 60, **limits}))


def test_process_is_kept_for_the_next_job(job: Any, tmp_path: Path) -> None:
    run(job("print('parent', os.getppid())"), tmp_path)
    run(job("print('parent', os.getppid())"), tmp_path)
    said = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("parent")]
    assert len(said) == 2 and len(set(said)) == 1


def test_jobs_run_side_by_side_in_forks_of_one_process(job: Any, tmp_path: Path) -> None:
    """Each waits until all three are there."""
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "policy.json").write_text("{}")
    asked = job(
        "import pathlib\n(target / 'here').touch()\nprint('parent', os.getppid())\n"
        "while len(list(target.parent.glob('*/here'))) < 3:\n    time.sleep(0.01)"
    )
    homes = [tmp_path / str(number) for number in range(3)]
    threads = [threading.Thread(target=run, args=({**asked, "target": str(home)}, home)) for home in homes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len({(home / "log.txt").read_text() for home in homes}) == 1


def test_job_that_dies_is_done_again_by_a_new_process(job: Any, tmp_path: Path) -> None:
    asked = job(
        "print('parent', os.getppid(), flush=True)\nfirst = target / 'first'\nif not first.exists():\n"
        "    first.touch()\n    os.abort()"
    )
    run(asked, tmp_path)
    said = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("parent")]
    assert len(said) == len(set(said)) == 2


def test_job_that_dies_twice_is_told(job: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.ConverterFailed, match="Convert died by SIGABRT, twice"):
        run(job("print('again', flush=True)\nos.abort()"), tmp_path)
    assert (tmp_path / "log.txt").read_text().count("again") == 2


def test_job_that_takes_too_long_is_stopped(job: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.JobTimedOut, match=r"was stopped after 1 s, twice. Raise `timeout` in the config"):
        run(job("time.sleep(60)"), tmp_path, seconds=1)


def test_job_that_grows_too_large_is_stopped(job: Any, tmp_path: Path) -> None:
    with pytest.raises(
        errors.MemoryExceeded, match=r"Expected at most 0.2 GiB. Give a job more, in GiB: ./doit memory=4"
    ):
        run(job("held = b'x' * 10**9\ntime.sleep(60)"), tmp_path, memory=0.2 * processes.GIB)


def test_others_go_on_while_one_dies(job: Any, tmp_path: Path) -> None:
    """The process that is retired waits for what it was given."""
    for name in ("slow", "dead"):
        (tmp_path / name).mkdir()
    asked = job(
        "if target.name == 'dead':\n    os.abort()\n(target / 'begun').touch()\ntime.sleep(2)\n(target / 'end').touch()"
    )
    slow = threading.Thread(target=run, args=({**asked, "target": str(tmp_path / "slow")}, tmp_path / "slow"))
    slow.start()
    while not (tmp_path / "slow" / "begun").exists():
        time.sleep(0.01)
    with pytest.raises(errors.ConverterFailed):
        run({**asked, "target": str(tmp_path / "dead")}, tmp_path)
    slow.join(30)
    assert (tmp_path / "slow" / "end").exists()


def test_toolchain_that_does_not_start_is_told(job: Any, tmp_path: Path) -> None:
    place = Place(PLACE.interpreter, ("no_such_module",))
    with pytest.raises(errors.ToolchainBroken) as caught:
        processes.run(place, job("pass"), tmp_path / "log.txt", Limits(60))
    assert "No module named 'no_such_module'" in str(caught.value)
    assert "Delete its folder under .toolchains and run ./doit again" in str(caught.value)


@pytest.mark.parametrize("kind", [hop.kind for hop in HOPS if not (hop.asked or hop.rungs or hop.program)])
def test_process_that_has_done_nothing_before_makes_the_same_bytes(
    shipped_agents: Built, tmp_path: Path, kind: str
) -> None:
    """A cold process, which has neither imported nor rehearsed, against the warm one of the build."""
    home, hop = shipped_agents.artifacts / "pendulum_sac", BY_KIND[kind]
    stored = artifacts.manifest(home / kind)
    assert stored is not None
    if stored.status == "not_run":
        pytest.skip(f"{kind}: {stored.reason}")
    contract = contracts.load(home / kind)
    reads = {name: {"opset": contract.get("opset", 14)}[name] for name in hop.reads}
    settings = {**hop.settings, **reads, **{name: str(home / name) for name in hop.inputs}}
    golden = str(home / "observations" / "about.json") if hop.source == "sb3" else ""
    asked = {"do": "convert", "module": hop.module, "kind": kind, "source": str(home / hop.source), "golden": golden}
    asked |= {"tools": {hop.toolchain: toolchains.versions(hop.toolchain)}, "settings": settings}
    target = tmp_path / "made"
    target.mkdir()
    asked |= {"target": str(target), "log": str(tmp_path / "log.txt"), "result": str(tmp_path / "result.json")}
    (tmp_path / "job.json").write_text(json.dumps(asked))
    command = [toolchains.python(hop.toolchain), "-m", "pipeline.worker", str(tmp_path / "job.json")]
    done = subprocess.run(command, cwd=toolchains.ROOT, env=toolchains.environment())
    assert done.returncode == 0, (tmp_path / "log.txt").read_text()
    assert artifacts.digests(target) == stored.files


def test_runtime_whose_toolchain_cannot_be_is_not_run(shipped_agents: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = toolchains.ready
    monkeypatch.setattr(toolchains, "ready", lambda name: name != "libtorch" and ready(name))
    monkeypatch.setattr(toolchains, "compiler", lambda: None)
    agent = config.load(shipped_agents.configs / "cartpole_a2c.toml", KINDS)
    kind, runtime = "torchscript", "libtorch"
    found = {step.name: step for step in steps.steps(agent, shipped_agents.artifacts)}
    path = shipped_agents.artifacts / agent.name / kind / runtime / verdicts.FILE
    try:
        assert not found[f"{kind}:{runtime}:run"].fresh()
        found[f"{kind}:{runtime}:run"].act()
        found[f"{kind}:{runtime}:check"].act()
        verdict = verdicts.read(path)
        assert verdict is not None and verdict[0].status == "not_run"
        assert verdict[0].reason == "no C++ compiler found (c++, g++, clang++)"
    finally:
        monkeypatch.undo()
        found[f"{kind}:{runtime}:run"].act()
        found[f"{kind}:{runtime}:check"].act()
    verdict = verdicts.read(path)
    assert verdict is not None and verdict[0].status == "passed"
