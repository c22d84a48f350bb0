"""The jobs on a folder: read, observe, evaluate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import jobs, modules

from .making import LOPSIDED, Case, Tiny, repack, serialized, statistics
from .worlds import STILL, WALK, environment

NONE = environment("")
SEEN = spaces.Box(-np.inf, np.inf, (3,), np.float32)
STEPS = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Reads a tiny agent -> its ``sb3`` artifact and contract."""

    def make(tiny: Tiny, **fields: Any) -> tuple[Path, dict[str, Any]]:
        target = tmp_path / "sb3"
        target.mkdir()
        held = {"agent": "tiny", "zip": str(tiny.zip), "vecnormalize": str(tiny.pkl or "none"), "algorithm": ""}
        jobs.read(target, {**held, "outputs": [], **fields})
        return target, contracts.load(target)

    return make


@pytest.fixture
def observe(read: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Reads and observes a tiny agent -> observation, reference, about and contract."""

    def make(tiny: Tiny, world: dict[str, Any] = NONE, outputs: list[str] = (), **fields: Any) -> dict[str, Any]:
        source, contract = read(tiny, outputs=list(outputs))
        target = tmp_path / "observations"
        target.mkdir()
        held = {"environment": world, "episodes": 2, "samples": 24, "edges": 8, "seed": 5}
        jobs.observe(source, target, {**held, **fields})
        assert sorted(p.name for p in target.iterdir()) == ["about.json", "observations.npz", "reference.npz"]
        return {
            "observation": np.load(target / "observations.npz")["observation"],
            "reference": dict(np.load(target / "reference.npz")),
            "about": json.loads((target / "about.json").read_text()),
            "contract": contract,
        }

    return make


# --- read ------------------------------------------------------------------------------------------


def test_contract_tells_the_agent(a_tiny_agent: Tiny, read: Callable[..., Any]) -> None:
    _, contract = read(a_tiny_agent)
    reference = a_tiny_agent.reference
    action = reference.predict(a_tiny_agent.observations(2))
    assert (contract["agent"], contract["kind"], contract["part"]) == ("tiny", "sb3", "policy")
    assert contract["algorithm"] == a_tiny_agent.cls.__name__
    assert contract["inputs"] == [
        {
            "name": "observation",
            "shape": ["batch", *a_tiny_agent.observed.shape],
            "dtype": "float32",
            "layout": "batch first",
        }
    ]
    assert contract["outputs"][0] == {
        "name": "action",
        "shape": ["batch", *action.shape[1:]],
        "dtype": str(action.dtype),
    }
    assert [output["name"] for output in contract["outputs"]] == ["action", reference.parts.decision]
    assert contract["parameters"] == modules.parameters(reference.parts)
    assert (contract["prologue"], contract["epilogue"]) == (reference.parts.prologue, reference.parts.epilogue)


def test_files_are_copied_and_named_by_their_hash(a_tiny_ppo_agent: Tiny, read: Callable[..., Any]) -> None:
    target, contract = read(a_tiny_ppo_agent)
    held = {"agent.zip": a_tiny_ppo_agent.zip.read_bytes(), "vecnormalize.pkl": a_tiny_ppo_agent.pkl.read_bytes()}
    assert {name: (target / name).read_bytes() for name in held} == held
    assert contract["source"] == {name: hashlib.sha256(content).hexdigest() for name, content in held.items()}


def test_artifact_opens_as_the_agent(a_tiny_ppo_agent: Tiny, read: Callable[..., Any]) -> None:
    target, _ = read(a_tiny_ppo_agent)
    observation = a_tiny_ppo_agent.observations()
    np.testing.assert_array_equal(jobs.open_agent(target).predict(observation), a_tiny_ppo_agent.predict(observation))


def test_agent_without_statistics_has_no_prologue(a_tiny_ppo_agent: Tiny, read: Callable[..., Any]) -> None:
    target, contract = read(a_tiny_ppo_agent, vecnormalize="none")
    assert contract["prologue"] == []
    assert not (target / "vecnormalize.pkl").exists()


def test_further_outputs_are_stated_in_order(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    _, contract = read(made("ppo_box"), outputs=["value", "log_std", "mean"])
    assert [output["name"] for output in contract["outputs"]] == ["action", "mean", "log_std", "value"]
    assert [output["shape"] for output in contract["outputs"]] == [["batch", n] for n in (2, 2, 2, 1)]


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [
        ("ppo_discrete", "log_std", "logits, value"),
        ("ppo_gsde", "log_std", "mean, value"),
        ("dqn_discrete", "value", "q_values"),
        ("sac_box", "q_values", "mean, log_std"),
        ("ppo_box", "valeu", "mean, value, log_std"),
    ],
)
def test_output_that_the_agent_lacks_is_named(
    made: Callable[[str], Tiny], read: Callable[..., Any], case: str, name: str, expected: str
) -> None:
    with pytest.raises(errors.ConfigWrongValue) as refused:
        read(made(case), outputs=[name])
    assert f"outputs has '{name}', which this {made(case).cls.__name__} agent does not have" in refused.value.what
    assert refused.value.expected == expected


@pytest.mark.parametrize("algorithm", ["PPO", "ppo", ""])
def test_algorithm_of_the_config_may_be_written_small(
    made: Callable[[str], Tiny], read: Callable[..., Any], algorithm: str
) -> None:
    assert read(made("ppo_box"), algorithm=algorithm)[1]["algorithm"] == "PPO"


def test_algorithm_that_differs_is_told_with_both(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    with pytest.raises(errors.UnknownAlgorithm) as refused:
        read(made("ppo_box"), algorithm="SAC")
    assert (refused.value.expected, refused.value.found) == ("SAC", "PPO")


def test_errors_name_the_users_files(made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path) -> None:
    """Not the copies of them."""
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"<html>")
    other = tmp_path / "other.pkl"
    statistics(Case("PPO", STEPS).save(tmp_path).venv()).save(str(other))
    for fields, error, path in (
        ({"zip": str(broken)}, errors.NotAnAgent, broken),
        ({"vecnormalize": str(other)}, errors.StatisticsUnfit, other),
    ):
        with pytest.raises(error) as refused:
            read(made("ppo_box"), **fields)
        assert refused.value.file == str(path)
        for left in tmp_path.glob("sb3"):
            left.rmdir()


def test_errors_of_the_policy_name_the_archive(
    made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path
) -> None:
    forged = repack(made("ppo_box").zip, tmp_path / "forged.zip", policy_kwargs=serialized({"banana": 1}))
    with pytest.raises(errors.UnsupportedPolicy, match="banana") as refused:
        read(made("ppo_box"), zip=str(forged))
    assert refused.value.file == str(forged)


def test_statistics_that_never_clip_are_read(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", normalize=True).save(tmp_path)
    statistics(tiny.venv(), clip_obs=np.inf).save(str(tiny.pkl))
    _, contract = read(tiny)
    observation = tiny.observations()
    normalized = contracts.prologue(contract["prologue"], observation)
    np.testing.assert_allclose(normalized, tiny.normalized(observation), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_stated_dtype_of_the_action_is_what_is_exported(read: Callable[..., Any], tmp_path: Path, dtype: type) -> None:
    import torch

    tiny = Case("PPO", acts=spaces.Box(-1, 1, (2,), dtype)).save(tmp_path)
    target, contract = read(tiny)
    module = modules.Exported(jobs.open_agent(target).parts, "policy", ["action"], [3])
    (action,) = module(torch.from_numpy(tiny.observations()))
    assert contract["outputs"][0]["dtype"] == str(action.numpy().dtype)


# --- observe ---------------------------------------------------------------------------------------


def test_reference_answers_every_observation(made: Callable[[str], Tiny], observe: Callable[..., Any]) -> None:
    tiny = made("ppo_discrete")
    held = observe(tiny, outputs=["value"])
    observation = held["observation"]
    assert (held["about"]["samples"], held["about"]["edges"]) == (24, 8)
    assert observation.shape == (32, 3)
    assert sorted(held["reference"]) == ["action", "logits", "preferences", "value"]
    np.testing.assert_array_equal(held["reference"]["action"], tiny.predict(observation))


def test_box_actions_have_no_preferences(made: Callable[[str], Tiny], observe: Callable[..., Any]) -> None:
    assert sorted(observe(made("sac_box"))["reference"]) == ["action", "mean"]


@pytest.mark.parametrize(
    ("case", "origin"),
    [("ppo_box", "draws from the observation space"), ("ppo_normalized", "VecNormalize's statistics")],
)
def test_origin_without_an_environment(
    made: Callable[[str], Tiny], observe: Callable[..., Any], case: str, origin: str
) -> None:
    about = observe(made(case))["about"]
    assert origin in about["origin"]
    assert about["rollouts"] is False
    assert about["returns"] == []


def test_environment_gives_observations_and_returns(observe: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    held = observe(tiny, environment(WALK), episodes=3, samples=6, seed=9)
    assert held["about"]["origin"] == f"3 episodes of {WALK} from seed 9"
    assert held["about"]["rollouts"] is True
    assert len(held["about"]["returns"]) == 3
    assert held["about"]["samples"] == 6
    assert set(held["observation"][:6, 0]) <= {9.0, 10.0, 11.0}


def test_fewer_steps_than_samples_are_all_kept(observe: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    held = observe(tiny, environment(WALK), episodes=1, samples=400, edges=0, seed=9)
    assert (held["about"]["samples"], held["about"]["edges"]) == (3, 0)
    assert len(held["observation"]) == 3


def test_golden_answers_belong_to_golden_observations(made: Callable[[str], Tiny], observe: Callable[..., Any]) -> None:
    tiny = made("ppo_discrete")
    golden = observe(tiny)["about"]["golden"]
    observation = np.array(golden["inputs"]["observation"], np.float32)
    assert len(observation) == jobs.GOLDEN
    np.testing.assert_array_equal(golden["outputs"]["action"], tiny.predict(observation))


def test_same_seed_observes_the_same(made: Callable[[str], Tiny], tmp_path: Path) -> None:
    held = {"agent": "t", "zip": str(made("ppo_box").zip), "vecnormalize": "none", "algorithm": "", "outputs": []}
    jobs.read(tmp_path, held)
    written = []
    for run, seed in enumerate((1, 1, 2)):
        target = tmp_path / str(run)
        target.mkdir()
        jobs.observe(tmp_path, target, {"environment": NONE, "episodes": 1, "samples": 16, "edges": 4, "seed": seed})
        written.append((target / "about.json").read_bytes() + (target / "observations.npz").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_golden_vectors_answer_the_observations_as_they_are_written(
    observe: Callable[..., Any], tmp_path: Path
) -> None:
    tiny = Case("PPO", spaces.Box(-np.inf, np.inf, (3,), np.float64), LOPSIDED, normalize=True).save(tmp_path)
    world = environment(STILL, kwargs={"mean": 1e8, "dtype": "float64"})
    far = statistics(tiny.venv())
    far.obs_rms.mean[:], far.obs_rms.var[:] = 1e8, 1.0
    far.save(str(tiny.pkl))
    golden = observe(tiny, world, edges=0)["about"]["golden"]
    written = np.float32(golden["inputs"]["observation"])
    np.testing.assert_allclose(golden["outputs"]["action"], tiny.predict(written), atol=1e-6)


@pytest.mark.parametrize(
    ("world", "error"),
    [
        (environment("NoSuchThing-v0"), errors.EnvironmentMissing),
        (environment(STILL), errors.EnvironmentUnfit),
        (environment(WALK, kwargs={"bad": 1}), errors.ObservationsNotFinite),
    ],
    ids=["missing", "unfit", "not finite"],
)
def test_errors_of_the_environment_leave_nothing_behind(
    observe: Callable[..., Any], tmp_path: Path, world: dict[str, Any], error: type[errors.SlipwayError]
) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    with pytest.raises(error):
        observe(tiny, world)
    assert list((tmp_path / "observations").iterdir()) == []


# --- evaluate --------------------------------------------------------------------------------------


def test_returns_of_source_artifact_and_random(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    source, _ = read(tiny)
    settings = {"environment": environment(WALK), "episodes": 6, "seed": 3}
    jobs.evaluate(source, tmp_path, lambda observation: np.zeros(len(observation), np.int64), settings)
    returns = json.loads((tmp_path / "episodes.json").read_text())
    assert sorted(returns) == ["artifact", "random", "source"]
    assert returns["artifact"] == [3.0, 4.0, 5.0, 3.0, 4.0, 5.0]
    assert all(0 <= found <= most for found, most in zip(returns["random"], returns["artifact"], strict=True))


def test_artifact_that_decides_alike_returns_alike(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("SAC", SEEN, spaces.Box(-1, 2, (2,))).save(tmp_path)
    source, _ = read(tiny)
    settings = {"environment": environment(STILL), "episodes": 3, "seed": 3}
    jobs.evaluate(source, tmp_path, tiny.reference.predict, settings)
    returns = json.loads((tmp_path / "episodes.json").read_text())
    assert returns["artifact"] == returns["source"]
    assert returns["random"] != returns["source"]


def test_artifact_that_fails_is_not_covered_up(read: Callable[..., Any], tmp_path: Path) -> None:
    def ends(_: np.ndarray) -> np.ndarray:
        raise errors.ConverterFailed("the artifact's process ended in the middle of an episode")

    source, _ = read(Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path))
    with pytest.raises(errors.ConverterFailed):
        jobs.evaluate(source, tmp_path, ends, {"environment": environment(WALK), "episodes": 1, "seed": 0})
    assert not (tmp_path / "episodes.json").exists()


def test_damaged_artifact_is_told(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    target, _ = read(made("ppo_discrete"))
    (target / "agent.zip").write_bytes((target / "agent.zip").read_bytes()[:-5])
    with pytest.raises(errors.AgentFileDamaged):
        jobs.open_agent(target)
