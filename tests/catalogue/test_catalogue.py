"""Every bad input of the catalogue gets its one line, its exit code, and leaves nothing; the others are built."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest
import torch
from agents.stubs import FLAT, FOUR, Stub
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import errors_page
from running import Run, doit

from . import ANSWERS, FAILURES, IN_ONE_RUN, ROWS
from .row import Bench, Row

BUILT = ("good", "Good_twin")
BAD = next(row for row in ROWS if row.name == "targets_unknown")


def _cartpole() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1")


def _bench(folder: Path) -> Bench:
    """Untrained agents, the first of which others are forged from."""
    torch.manual_seed(0)
    small = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    PPO("MlpPolicy", _cartpole(), **small).save(folder / "good.zip")
    (folder / "good.toml").write_text('zip = "good.zip"\ntargets = ["weights"]\n')
    return Bench(folder, (folder / "good.zip").read_bytes())


def _others(folder: Path) -> None:
    small = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    DQN("MlpPolicy", _cartpole(), buffer_size=10, **small).save(folder / "dqn.zip")
    PPO("MlpPolicy", VecFrameStack(DummyVecEnv([_cartpole]), 3), **small).save(folder / "stacked.zip")
    several = DummyVecEnv([lambda: Stub(spaces.Dict(seen=FLAT, wanted=FLAT), FOUR)])
    PPO("MultiInputPolicy", several, **small).save(folder / "dict.zip")
    named = DummyVecEnv([lambda: Stub(spaces.Dict(seen=FLAT, goal=FLAT), FOUR)])
    VecNormalize(named, norm_obs_keys=["seen", "goal"]).save(str(folder / "dict.pkl"))


def _prepare(row: Row, bench: Bench) -> None:
    bench.name = row.name
    if row.make:
        row.make(bench)
    if not row.ask and not bench.path(".toml").exists():
        bench.path(".toml").write_text(row.config or f'zip = "{row.name}.zip"\ntargets = ["weights"]\n')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configs of all rows that are no command."""
    bench = _bench(tmp_path_factory.mktemp("catalogue"))
    _others(bench.folder)
    for row in IN_ONE_RUN:
        _prepare(row, bench)
    return bench.folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return doit(configs=folder, artifacts=folder / "artifacts")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder with one good config, for commands."""
    return _bench(tmp_path_factory.mktemp("commands"))


def _tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_page_is_the_catalogue() -> None:
    """``./doit catalogue`` writes it anew."""
    assert errors_page.PATH.read_text(encoding="utf-8") == errors_page.text()


def test_every_bad_input_that_is_known_of_has_its_answer() -> None:
    """Section 5 of ../shared/reliability-facts.md counts 54."""
    assert {number for found in (*ROWS, *ANSWERS) for number in found.fact} == set(range(1, 55))


def test_every_line_says_what_to_do() -> None:
    assert [row.name for row in ROWS if not re.search(r"[.?] \S.*\.$", row.line)] == []
    assert len(ROWS) == len({row.name for row in ROWS}) >= 60


@pytest.mark.parametrize("row", IN_ONE_RUN, ids=lambda row: row.name)
def test_agent_gets_the_line(run: Run, folder: Path, row: Row) -> None:
    lines = re.findall(rf"^\w+: agent {re.escape(row.name)}[,:] .*$", run.text, re.MULTILINE)
    assert lines == [row.says(folder)]


@pytest.mark.parametrize("row", IN_ONE_RUN, ids=lambda row: row.name)
def test_agent_leaves_nothing_but_its_log(run: Run, folder: Path, row: Row) -> None:
    home = folder / "artifacts" / row.name
    assert {path.name for path in home.iterdir()} <= {"log", *_before(row)} if home.exists() else True


def _before(row: Row) -> set[str]:
    """What an agent is whose environment, or whose observations, are found to be wrong when it has been read."""
    return {"sb3"} if ", hop observations," in row.line else set()


def test_good_agents_are_built_beside_them(run: Run, folder: Path) -> None:
    for name in BUILT:
        assert f"{name}:weights:weights:check" in run.done
        assert (folder / "artifacts" / name / "weights" / "policy.json").is_file()


def test_run_of_refusals_has_an_exit_code_of_its_own_and_no_traceback(run: Run, folder: Path) -> None:
    assert run.code == 2
    assert "Traceback" not in run.text
    assert not list((folder / "artifacts" / ".staging").iterdir())
    assert not list(folder.rglob("executed"))


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run of what fails, with a bad config beside it; and its folder."""
    bench = _bench(tmp_path_factory.mktemp("failing"))
    for row in (*FAILURES, BAD):
        _prepare(row, bench)
    return doit(configs=bench.folder, artifacts=bench.folder / "artifacts"), bench.folder


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.name)
def test_failure_gets_the_line(failing: tuple[Run, Path], row: Row) -> None:
    """Its figures, … in the line, are the machine's."""
    run, folder = failing
    found = run.error(row.name)
    assert re.fullmatch(".+".join(map(re.escape, row.says(folder).split("…"))), found), found


def test_failure_decides_the_exit_code_where_something_is_refused_too(failing: tuple[Run, Path]) -> None:
    run, folder = failing
    assert run.error(BAD.name) == BAD.says(folder)
    assert run.code == 1
    assert "good:weights:weights:check" in run.done


@pytest.mark.parametrize("row", [row for row in ROWS if row.ask], ids=lambda row: row.name)
def test_command_gets_the_line(bench: Bench, tmp_path: Path, row: Row) -> None:
    _prepare(row, bench)
    before = _tree(bench.folder)
    ask = [argument.replace("{here}", str(bench.folder)) for argument in row.ask]
    ran = doit(*ask, configs=bench.folder, artifacts=tmp_path / "artifacts")
    *listed, line = ran.text.strip().splitlines()
    assert line.removeprefix("✗ ") == row.says(bench.folder)
    assert not listed or row.ask[0] == "inspect"
    assert ran.code == row.code
    assert _tree(bench.folder) == before
    assert not list(tmp_path.iterdir())
