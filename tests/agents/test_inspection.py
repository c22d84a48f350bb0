"""An archive is shown as it is, as far as it can be read; nothing in it is executed, and torch is not needed."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pipeline import errors, toolchains
from pipeline.agents import archive, inspection, listing
from running import ROOT

from .conftest import Tripwire
from .forging import EXECUTING, EXHAUSTING, old_tensors, zipped_tensors
from .making import Tiny, described, members, quickly, repack, serialized, write_zip

FIELDS = ("policy_class", "observation_space", "action_space", "policy_kwargs")


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    return tmp_path / "agent.zip"


@pytest.fixture(scope="module")
def a_warm_reader(a_tiny_ppo_agent: Tiny) -> None:
    """What inspecting imports is imported."""
    listing.text(inspection.inspect(a_tiny_ppo_agent.zip), 100)


def inspected(path: Path) -> dict[str, Any]:
    """The facts; JSON holds them, and the text has no control characters."""
    facts = inspection.inspect(path)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert listing.text(facts, 100).replace("\n", "").isprintable()
    return facts


def shown(path: Path) -> str:
    return listing.text(inspected(path), 120)


def brief(space: spaces.Space) -> dict[str, Any]:
    found = described(space)
    for key in {"low", "high"} & found.keys():
        found[key] = found[key][0] if len(set(found[key])) == 1 else found[key]
    return found | ({"image": False} if found["type"] == "Box" else {})


# --- what is shown ---------------------------------------------------------------------------------


def test_facts_are_those_of_the_agent(a_tiny_agent: Tiny) -> None:
    facts, loaded = inspected(a_tiny_agent.zip), a_tiny_agent.loaded
    assert facts["verdict"] == "Slipway can read this archive"
    assert facts["refusal"] is None
    assert facts["algorithm"] == a_tiny_agent.cls.__name__
    assert facts["policy_class"] == f"{type(loaded.policy).__module__}.{type(loaded.policy).__qualname__}"
    assert facts["training"]["num_timesteps"] == loaded.num_timesteps
    assert facts["versions"]["Stable-Baselines3"] == "2.9.2"
    assert facts["bytes"] == a_tiny_agent.zip.stat().st_size
    state = loaded.policy.state_dict()
    assert facts["tensors"] == {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in state.items()
    }
    distinct = {tensor.data_ptr(): tensor.numel() for tensor in state.values()}
    assert facts["parameters"] == sum(distinct.values())


def test_spaces_are_described(made: Callable[[str], Tiny]) -> None:
    for case in ("ppo_box", "dqn_table", "ppo_grid"):
        agent = made(case)
        facts = inspected(agent.zip)
        assert facts["observation_space"] == brief(agent.observed)
        assert facts["action_space"] == brief(agent.acts)


def test_old_weights_are_shown(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    state = archive.read(a_tiny_ppo_agent.zip).weights
    torch.save(state, zip_path.with_suffix(".pth"), _use_new_zipfile_serialization=False)
    repack(a_tiny_ppo_agent.zip, zip_path, {"policy.pth": zip_path.with_suffix(".pth").read_bytes()})
    assert inspected(zip_path)["tensors"] == inspected(a_tiny_ppo_agent.zip)["tensors"]


def test_names_in_policy_kwargs_are_text(made: Callable[[str], Tiny]) -> None:
    kwargs = inspected(made("dqn_elu").zip)["policy_kwargs"]
    assert kwargs == {"activation_fn": "torch.nn.modules.activation.ELU", "net_arch": [9]}


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        (spaces.Box(-1, 1, (3,)), "Box(3) float32, from -1 to 1"),
        (spaces.Box(-np.inf, np.inf, (2, 3)), "Box(2, 3) float32, from -inf to inf"),
        (spaces.Box(np.arange(9.0), np.arange(9.0) + 1), "Box(9) float32, from [0, 1, 2, 3, …] to [1, 2, 3, 4, …]"),
        (spaces.Discrete(4), "Discrete(4)"),
        (spaces.Discrete(4, start=-1), "Discrete(4), starting at -1"),
        (spaces.MultiDiscrete([3, 2]), "MultiDiscrete(3, 2)"),
        (spaces.MultiBinary(5), "MultiBinary(5)"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 255, (3, 8, 8), np.uint8)), "Dict of a, b"),
    ],
    ids=str,
)
def test_space_is_told_in_a_line(a_tiny_ppo_agent: Tiny, zip_path: Path, space: spaces.Space, wanted: str) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, observation_space=serialized(space))
    assert f"observations                {wanted}\n" in shown(zip_path)


def test_keys_of_a_dict_and_images_are_told(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    space = spaces.Dict(front=spaces.Box(0, 255, (3, 8, 8), np.uint8), speed=spaces.Box(-1, 1, (2,)))
    repack(a_tiny_ppo_agent.zip, zip_path, observation_space=serialized(space))
    text = shown(zip_path)
    assert "  front                     Box(3, 8, 8) uint8, from 0 to 255 (an image: channels, height, width)\n" in text
    assert "  speed                     Box(2) float32, from -1 to 1\n" in text


def test_text_tells_network_members_and_references(made: Callable[[str], Tiny]) -> None:
    text = shown(made("ppo_box").zip)
    assert "9,029 parameters in 13 tensors, float32" in text
    assert "  mlp_extractor.policy_net  0.weight 64×3, 0.bias 64, 2.weight 64×64, 2.bias 64\n" in text
    assert "  log_std                   2\n" in text
    assert "  policy_class              stable_baselines3.common.policies.ActorCriticPolicy\n" in text
    assert "stable_baselines3.common.buffers.RolloutBuffer ✗" in text.split("no build reads")[1]
    assert "✗" not in text.split("no build reads")[0].split("allowed list)")[1]
    assert text.endswith("\n✓ Slipway can read this archive")


def test_class_by_value_is_named(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    class MyExtractor(FlattenExtractor):
        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return observations * 2

    MyExtractor.__module__ = "__main__"
    kwargs = {"features_extractor_class": MyExtractor, "activation_fn": lambda: torch.nn.Tanh()}
    repack(a_tiny_ppo_agent.zip, zip_path, policy_kwargs=serialized(kwargs))
    facts = inspected(zip_path)
    assert facts["policy_kwargs"]["features_extractor_class"] == "the class MyExtractor, by value"
    assert facts["policy_kwargs"]["activation_fn"] == "a function, by value"
    assert facts["refusal"]["what"] == "policy_kwargs holds the features extractor MyExtractor by value"


# --- statistics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["vecnormalize.pkl", "agent/vecnormalize.pkl"])
def test_statistics_beside_are_shown(a_tiny_ppo_agent: Tiny, zip_path: Path, place: str) -> None:
    zip_path.write_bytes(a_tiny_ppo_agent.zip.read_bytes())
    pkl = zip_path.parent / place
    pkl.parent.mkdir(exist_ok=True)
    pkl.write_bytes(a_tiny_ppo_agent.pkl.read_bytes())
    facts = inspected(zip_path)
    held = facts["vecnormalize"]
    assert held["file"] == str(pkl)
    assert (held["clip_obs"], held["epsilon"], held["norm_obs"], held["shapes"]) == (10.0, 1e-8, True, {"": [3]})
    assert "stable_baselines3.common.running_mean_std.RunningMeanStd" in held["references"]["refers_to"]
    assert facts["refusal"] is None
    assert "mean and variance of shape (3,)" in listing.text(facts, 120)


def test_statistics_that_do_not_belong_are_told(made: Callable[[str], Tiny], zip_path: Path) -> None:
    zip_path.write_bytes(made("ppo_box").zip.read_bytes())
    pkl = zip_path.with_name("vecnormalize.pkl")
    pkl.write_bytes(made("ppo_table_normalized").pkl.read_bytes())
    facts = inspected(zip_path)
    assert facts["refusal"]["error"] == "StatisticsUnfit"
    assert facts["refusal"]["file"] == str(pkl)
    assert facts["vecnormalize"]["shapes"] == {"": [2, 3]}


@pytest.mark.parametrize("attack", sorted(EXECUTING))
def test_hostile_statistics_are_shown_unexecuted(
    a_tiny_ppo_agent: Tiny, zip_path: Path, a_warm_reader: None, tripwire: Tripwire, marker: Path, attack: str
) -> None:
    zip_path.write_bytes(a_tiny_ppo_agent.zip.read_bytes())
    pkl = zip_path.with_name("vecnormalize.pkl")
    pkl.write_bytes(EXECUTING[attack].replace(b"MARKER", str(marker).encode()))
    with tripwire.set():
        facts = inspection.inspect(zip_path)
    assert set(tripwire.events) == {f"open {zip_path}", f"open {pkl}"}
    assert not marker.exists()
    assert facts["refusal"]["error"] in ("PickleRefused", "StatisticsUnfit")
    assert facts["refusal"]["file"] == str(pkl)


class Still(gymnasium.Env):
    """An environment that always looks the same, but never as 0."""

    observation_space, action_space = spaces.Box(-5, 5, (3,)), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        return np.full(3, 2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.full(3, 2, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize(("settings", "wanted"), [({}, True), ({"norm_obs": False}, False), (None, False)])
def test_training_with_vecnormalize_shows_in_the_archive(
    zip_path: Path, settings: dict[str, Any] | None, wanted: bool
) -> None:
    venv: Any = DummyVecEnv([Still])
    venv = venv if settings is None else VecNormalize(venv, **settings)
    PPO("MlpPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(8).save(zip_path)
    facts = inspected(zip_path)
    assert facts["was_normalized"] is wanted
    assert ("its last observations are normalized" in listing.text(facts, 200)) is wanted


def test_training_that_never_began_tells_nothing(a_tiny_ppo_agent: Tiny) -> None:
    assert inspected(a_tiny_ppo_agent.zip)["was_normalized"] is None


# --- what is hostile or broken ---------------------------------------------------------------------


def refusal_of(path: Path) -> errors.SlipwayError:
    with pytest.raises(errors.SlipwayError) as refused:
        archive.read(path)
    return refused.value


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("attack", sorted(EXECUTING))
def test_hostile_archive_is_shown_unexecuted_with_its_refusal(
    a_tiny_ppo_agent: Tiny,
    zip_path: Path,
    a_warm_reader: None,
    tripwire: Tripwire,
    marker: Path,
    attack: str,
    name: str,
) -> None:
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode())
    repack(a_tiny_ppo_agent.zip, zip_path, **{name: serialized(forged)})
    with tripwire.set(zip_path):
        facts = inspected(zip_path)
    assert tripwire.events == []
    assert not marker.exists()
    assert facts["verdict"] == str(refusal_of(zip_path))
    assert facts["parameters"] == 9029
    assert facts["members"].keys() == members(zip_path).keys()
    if name != "policy_class":
        assert facts["algorithm"] == "PPO"
    assert f"data: {name}" in facts["references"]


@pytest.mark.parametrize("attack", sorted(EXECUTING))
def test_hostile_weights_are_shown_unexecuted(
    a_tiny_ppo_agent: Tiny, zip_path: Path, a_warm_reader: None, tripwire: Tripwire, marker: Path, attack: str
) -> None:
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode())
    inner = write_zip(zip_path.with_suffix(".pth"), zipped_tensors(forged)).read_bytes()
    for pth in (inner, old_tensors(forged), forged):
        repack(a_tiny_ppo_agent.zip, zip_path, {"policy.pth": pth})
        with tripwire.set(zip_path):
            facts = inspected(zip_path)
        assert tripwire.events == []
        assert facts["verdict"] == str(refusal_of(zip_path))
        assert facts["algorithm"] == "PPO"
        assert facts["tensors"] == {}
    assert not marker.exists()


def test_attack_is_marked_in_the_text(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, observation_space=serialized(EXECUTING["posix.system"]))
    text = shown(zip_path)
    assert "  observation_space         posix.system ✗\n" in text
    assert "observations                not known\n" in text
    assert "✗ PickleRefused: file" in text
    assert "refers to posix.system, which is not on the allowed list. Nothing was executed." in text


@pytest.mark.parametrize("name", sorted(EXHAUSTING))
@pytest.mark.parametrize("field", ["observation_space", "policy_kwargs", "_last_obs", "never_read"])
def test_archive_that_exhausts_is_shown_at_once(a_tiny_ppo_agent: Tiny, zip_path: Path, name: str, field: str) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, **{field: serialized(EXHAUSTING[name])})
    with quickly(3):
        inspected(zip_path)


def test_damaged_archive_is_shown_as_far_as_it_can_be(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    held = members(a_tiny_ppo_agent.zip)

    def forge(opened: Any) -> None:
        opened.getinfo("policy.optimizer.pth").CRC ^= 1

    facts = inspected(write_zip(zip_path, held, forge=forge))
    assert facts["refusal"]["what"] == "member policy.optimizer.pth of agent.zip is damaged (checksum mismatch)"
    assert facts["parameters"] == 9029
    assert facts["members"].keys() == held.keys()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\x1b[2Jb"])
def test_archive_with_a_member_that_leaves_it_is_shown(a_tiny_ppo_agent: Tiny, zip_path: Path, name: str) -> None:
    write_zip(zip_path, {**members(a_tiny_ppo_agent.zip), name: b"x"})
    facts = inspected(zip_path)
    assert errors.printable(name) in facts["members"]
    assert facts["algorithm"] in ("PPO", None)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04", b"PK" + bytes(5000)], ids=repr)
def test_other_file_is_told_from_an_archive(zip_path: Path, content: bytes) -> None:
    zip_path.write_bytes(content)
    facts = inspected(zip_path)
    assert facts["verdict"] == str(refusal_of(zip_path))
    assert facts["bytes"] == len(content)


def test_cut_archive_is_told(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    whole = a_tiny_ppo_agent.zip.read_bytes()
    for cut in range(0, len(whole), len(whole) // 20):
        zip_path.write_bytes(whole[:cut])
        assert inspected(zip_path)["refusal"]["error"] in ("AgentFileDamaged", "NotAnAgent")


def test_absent_file_is_told(tmp_path: Path) -> None:
    facts = inspected(tmp_path / "gone.zip")
    assert facts["refusal"]["error"] == "AgentFileMissing"
    assert f"looked in {tmp_path}" in facts["verdict"]


def test_numbers_that_json_does_not_know_are_words(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, gamma=math.inf, learning_rate=math.nan, seed=10**400)
    training = inspected(zip_path)["training"]
    assert (training["gamma"], training["learning_rate"]) == ("inf", "nan")
    assert training["seed"] == "1" + "0" * 19 + "…"


def test_unsupported_agent_is_refused_by_name(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    space = spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2)))
    repack(a_tiny_ppo_agent.zip, zip_path, observation_space=serialized(space))
    assert inspected(zip_path)["refusal"]["error"] == "UnsupportedPolicy"


# --- public agents, and what it takes --------------------------------------------------------------


def test_public_archives_are_shown(zoo: Path) -> None:
    for path in sorted(zoo.glob("*/*/*.zip")):
        facts = inspected(path)
        algorithm = path.parts[-3].upper()
        assert facts["refusal"] is None, path
        assert facts["algorithm"] == algorithm or algorithm == "HER"
        assert facts["parameters"] == sum({
            tensor.data_ptr(): tensor.numel() for tensor in archive.read(path).weights.values()
        }.values())  # fmt: skip
        pkl = path.with_suffix("") / "vecnormalize.pkl"
        assert (facts["vecnormalize"] or {}).get("file") == (str(pkl) if pkl.is_file() else None)
        if facts["was_normalized"] is not None:
            assert facts["was_normalized"] == pkl.is_file()
        read = [scan for scan in facts["references"].values() if scan["read"]]
        assert len(read) >= 4
        assert not any(scan["not_allowed"] or scan["ended"] for scan in read)


def test_neither_torch_nor_any_library_of_agents_is_imported(a_tiny_ppo_agent: Tiny) -> None:
    program = (
        "import sys, pathlib; from pipeline.agents import inspection, listing\n"
        f"print(listing.text(inspection.inspect(pathlib.Path({str(a_tiny_ppo_agent.zip)!r})), 100))\n"
        "print('IMPORTED', *{name.partition('.')[0] for name in sys.modules})"
    )
    host = toolchains.home() / "host" / "bin" / "python"
    done = subprocess.run([host, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert "✓ Slipway can read this archive" in done.stdout, done.stderr
    imported = set(done.stdout.split("IMPORTED")[1].split())
    assert not imported & {"torch", "stable_baselines3", "sb3_contrib", "gymnasium", "cloudpickle", "pickle5"}


def test_inspecting_takes_less_than_a_second(a_tiny_agent: Tiny, a_warm_reader: None) -> None:
    with quickly(0.5):
        listing.text(inspection.inspect(a_tiny_agent.zip), 100)
