"""The job that opens an agent: the artifact that all others start from, and its contract."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import exported, jobs

from .making import Case, Tiny, repack, serialized, statistics
from .test_exported import assert_near, made_of, run

SEEN = spaces.Box(-np.inf, np.inf, (3,), np.float32)
STEPS = spaces.Box(-np.inf, np.inf, (2,), np.float32)


# --- read ------------------------------------------------------------------------------------------


def test_contract_tells_the_agent(a_tiny_agent: Tiny, read: Callable[..., Any]) -> None:
    _, contract = read(a_tiny_agent)
    reference = a_tiny_agent.reference
    answers = run(made_of(reference), a_tiny_agent.inputs(2))
    assert (contract["agent"], contract["kind"], contract["part"]) == ("tiny", "sb3", "policy")
    assert (contract["slipway"], contract["algorithm"]) == (2, a_tiny_agent.cls.__name__)
    assert contract["takes"] == contract["inputs"]
    if a_tiny_agent.frames == 1:
        assert contract["takes"] == reference.parts.inputs
    new = [state["output"] for state in reference.parts.states]
    assert [output["name"] for output in contract["outputs"]] == ["action", reference.parts.decision, *new]
    for output in contract["outputs"]:
        values = answers[output["name"]]
        assert output == {**output, "shape": ["batch", *values.shape[1:]], "dtype": str(values.dtype)}
    assert contract["parameters"] == exported.parameters(reference.parts)
    for name in ("prologue", "epilogue", "decision", "states"):
        assert contract[name] == getattr(reference.parts, name)
    assert contract["distribution"] == {}
    assert contract["warnings"] == []


def test_contract_survives_its_text(a_tiny_agent: Tiny, read: Callable[..., Any]) -> None:
    """Numbers, infinities and all: what is read back decides alike."""
    _, contract = read(a_tiny_agent)
    core, inputs = made_of(a_tiny_agent.reference, "core"), a_tiny_agent.inputs(8)
    told = {**contract, "part": "core", "inputs": exported.inputs_of(a_tiny_agent.reference.parts, "core")}
    found = contracts.decide(told, lambda ready: run(core, ready), inputs)
    assert_near(found, a_tiny_agent.answer(inputs))


def test_files_are_copied_and_named_by_their_hash(a_tiny_ppo_agent: Tiny, read: Callable[..., Any]) -> None:
    target, contract = read(a_tiny_ppo_agent)
    held = {"agent.zip": a_tiny_ppo_agent.zip.read_bytes(), "vecnormalize.pkl": a_tiny_ppo_agent.pkl.read_bytes()}
    assert {name: (target / name).read_bytes() for name in held} == held
    assert contract["source"] == {name: hashlib.sha256(content).hexdigest() for name, content in held.items()}


def test_artifact_opens_as_the_agent(a_tiny_ppo_agent: Tiny, read: Callable[..., Any]) -> None:
    target, _ = read(a_tiny_ppo_agent)
    inputs = a_tiny_ppo_agent.inputs()
    np.testing.assert_array_equal(jobs.open_agent(target).predict(inputs)[0], a_tiny_ppo_agent.predict(inputs))


@pytest.mark.parametrize("images", ["channel-last", "channel-first"])
def test_layout_of_images_is_the_configs(made: Callable[[str], Tiny], read: Callable[..., Any], images: str) -> None:
    tiny = made("ppo_of_image")
    target, contract = read(tiny, images=images)
    shape = [48, 40, 3] if images == "channel-last" else [3, 48, 40]
    assert contract["images"] == images
    assert contract["takes"][0] == {**contract["takes"][0], "layout": images, "shape": ["batch", *shape]}
    inputs = tiny.inputs()
    given = inputs["observation"] if images == "channel-last" else inputs["observation"].transpose(0, 3, 1, 2)
    found, _ = jobs.open_agent(target).predict({"observation": given})
    np.testing.assert_array_equal(found, tiny.predict(inputs))


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
        ("ppo_switches", "log_std", "logits, value"),
        ("recurrentppo_box", "value", "mean, log_std"),
        ("td3_box", "log_std", "scaled_action"),
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
    inputs = tiny.inputs()
    normalized = contracts.prologue(contract["prologue"], inputs)["observation"]
    np.testing.assert_allclose(normalized, tiny.normalized(inputs["observation"]), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_stated_dtype_of_the_action_is_what_is_exported(read: Callable[..., Any], tmp_path: Path, dtype: type) -> None:
    tiny = Case("PPO", acts=spaces.Box(-1, 1, (2,), dtype)).save(tmp_path)
    target, contract = read(tiny)
    action = run(made_of(jobs.open_agent(target), names=["action"]), tiny.inputs())["action"]
    assert contract["outputs"][0]["dtype"] == str(action.dtype)


# --- outputs that a draw needs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "outputs", "distribution"),
    [
        ("ppo_box", ["action", "mean", "log_std"], {"noise": "normal", "log_std": "log_std"}),
        ("sac_gsde", ["action", "mean", "log_std"], {"noise": "normal", "log_std": "log_std"}),
        ("ppo_discrete", ["action", "logits"], {"noise": "gumbel"}),
        ("maskableppo_switches", ["action", "logits"], {"noise": "gumbel"}),
        ("ppo_switches", ["action", "logits"], {"noise": "logistic"}),
        (
            "recurrentppo_box",
            ["action", "mean", "log_std", "new_h0", "new_c0"],
            {"noise": "normal", "log_std": "log_std"},
        ),
    ],
)
def test_stochastic_policy_gives_what_a_draw_needs(
    made: Callable[[str], Tiny], read: Callable[..., Any], case: str, outputs: list[str], distribution: dict[str, str]
) -> None:
    _, contract = read(made(case), stochastic=True)
    assert [output["name"] for output in contract["outputs"]] == outputs
    assert contract["distribution"] == distribution


@pytest.mark.parametrize("case", ["dqn_discrete", "qrdqn_discrete", "td3_box", "ddpg_box", "ars_discrete"])
def test_policy_without_a_distribution_cannot_be_stochastic(
    made: Callable[[str], Tiny], read: Callable[..., Any], case: str
) -> None:
    with pytest.raises(errors.ConfigWrongValue) as refused:
        read(made(case), stochastic=True)
    name = made(case).cls.__name__
    assert refused.value.what == f"stochastic is set, but {name} policies have no distribution"


# --- stacked frames --------------------------------------------------------------------------------


def test_statistics_of_one_frame_need_a_declared_stack(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    """Else they may as well belong to another agent."""
    with pytest.raises(errors.StatisticsUnfit) as refused:
        read(made("ppo_stacked_normalized"), frame_stack=1)
    assert refused.value.what == "the statistics are of another shape than the agent observes"
    assert (refused.value.expected, refused.value.found) == ("9 numbers", "3")
    assert "set environment.frame_stack = 3 in the config" in refused.value.remedy
    assert refused.value.file == str(made("ppo_stacked_normalized").pkl)


@pytest.mark.parametrize("declared", [2, 9])
def test_stack_of_another_height_is_refused_too(
    made: Callable[[str], Tiny], read: Callable[..., Any], declared: int
) -> None:
    with pytest.raises(errors.StatisticsUnfit, match="set environment.frame_stack = 3"):
        read(made("ppo_stacked_normalized"), frame_stack=declared)


def test_declared_stack_is_told_of_every_observation(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    _, contract = read(made("dqn_stacked_images"))
    assert [(entry["frames"], "padding" in entry) for entry in contract["takes"]] == [(2, False)]


def test_best_model_beside_other_statistics_is_warned_of(
    made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path
) -> None:
    tiny = made("ppo_normalized")
    best = tmp_path / "best_model.zip"
    best.write_bytes(tiny.zip.read_bytes())
    _, contract = read(tiny, zip=str(best))
    assert contract["warnings"] == [
        "best_model.zip may be older than v.pkl: use statistics that were saved at its moment"
    ]


@pytest.mark.parametrize(
    ("dtype", "mean", "told"),
    [
        (np.float64, 1e5, "float64 and lie up to 1e+05 deviations from 0; rounded to float32, as artifacts take them, they are off by up to 6e-03 deviations"),
        (np.float64, 10.0, ""),
        (np.float32, 1e5, ""),
    ],
)  # fmt: skip
def test_observations_that_float32_does_not_resolve_are_warned_of(
    read: Callable[..., Any], tmp_path: Path, dtype: type, mean: float, told: str
) -> None:
    tiny = Case("PPO", spaces.Box(-np.inf, np.inf, (2,), dtype), normalize=True).save(tmp_path)
    held = VecNormalize.load(str(tiny.pkl), tiny.plain_venv())
    held.obs_rms.mean, held.obs_rms.var = np.array([0.0, -mean]), np.ones(2)
    held.save(str(tiny.pkl))
    _, contract = read(tiny)
    assert contract["warnings"] == ([f"observations are {told}"] if told else [])


def test_damaged_artifact_is_told(made: Callable[[str], Tiny], read: Callable[..., Any]) -> None:
    target, _ = read(made("ppo_discrete"))
    (target / "agent.zip").write_bytes((target / "agent.zip").read_bytes()[:-5])
    with pytest.raises(errors.AgentFileDamaged):
        jobs.open_agent(target)
