"""One bad agent of every kind beside a good one, in a single run: each gets one clear error, the good one is built."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from running import Run, doit

ENV = '[environment]\nid = "CartPole-v1"\n'
RECIPE = '[recipe]\nalgorithm = "PPO"\nsteps = 64\n'


def rewritten(source: Path, target: Path, **members: bytes | None) -> None:
    """A copy of a zip with members replaced or, where None, left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = members.get(name.replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)


def weights(source: Path, change: Callable[[dict], None]) -> bytes:
    with zipfile.ZipFile(source) as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    change(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def poison(state: dict) -> None:
    state["action_net.weight"][0, 3] = float("nan")


def reshape(state: dict) -> None:
    state["mlp_extractor.policy_net.0.weight"] = torch.zeros(64, 8)


def data(source: Path, **fields: object) -> bytes:
    with zipfile.ZipFile(source) as archive:
        return json.dumps({**json.loads(archive.read("data")), **fields}).encode()


def serialized(value: object) -> dict[str, str]:
    """A field as SB3 writes what JSON cannot hold; bytes are a pickle already."""
    held = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":serialized:": base64.b64encode(held).decode()}


class Own(BaseFeaturesExtractor):
    """Of this file, so cloudpickle names it."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, features_dim=4)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return seen


def save_honest(folder: Path) -> Path:
    """Untrained agents; the one that most others are forged from."""

    def cartpole() -> gymnasium.Env:
        return gymnasium.make("CartPole-v1")

    torch.manual_seed(0)
    good = folder / "good.zip"
    PPO("MlpPolicy", cartpole(), device="cpu").save(good)
    DQN("MlpPolicy", cartpole(), device="cpu", buffer_size=10).save(folder / "dqn.zip")
    PPO("MlpPolicy", VecFrameStack(DummyVecEnv([cartpole]), 3), device="cpu").save(folder / "stacked.zip")
    PPO("MlpPolicy", cartpole(), device="cpu", policy_kwargs={"features_extractor_class": Own}).save(folder / "own.zip")
    for name, env in (("four", "CartPole-v1"), ("short", "Pendulum-v1")):
        VecNormalize(DummyVecEnv([lambda env=env: gymnasium.make(env)])).save(str(folder / f"{name}.pkl"))
    return good


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    good = save_honest(folder)
    content = good.read_bytes()
    (folder / "empty.zip").touch()
    (folder / "cut.zip").write_bytes(content[:-100])
    (folder / "page.zip").write_bytes(b"<!DOCTYPE html><html>")
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no agent")
    rewritten(good, folder / "nan.zip", policy_pth=weights(good, poison))
    rewritten(good, folder / "shape.zip", policy_pth=weights(good, reshape))
    rewritten(good, folder / "kwarg.zip", data=data(good, policy_kwargs={"banana": 1}))
    code = serialized(b"cposix\nsystem\n(S'true'\ntR.")
    rewritten(good, folder / "code.zip", data=data(good, observation_space=code))
    nested = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})
    rewritten(good, folder / "nested.zip", data=data(good, observation_space=serialized(nested)))
    rewritten(good, folder / "pair.zip", data=data(good, observation_space=serialized(spaces.Tuple([nested]))))
    rewritten(good, folder / "bits.zip", data=data(good, action_space=serialized(spaces.MultiBinary([2, 2]))))
    softmax = serialized({"activation_fn": torch.nn.Softmax})
    rewritten(good, folder / "softmax.zip", data=data(good, policy_kwargs=softmax))
    (folder / "junk.pkl").write_bytes(pickle.dumps({"mean": np.zeros(4)}))
    configs = {
        "good": 'zip = "good.zip"\ntargets = ["weights"]\n',
        "zip_missing": 'zip = "gone.zip"\n',
        "zip_empty": 'zip = "empty.zip"\n',
        "zip_cut": 'zip = "cut.zip"\n',
        "zip_page": 'zip = "page.zip"\n',
        "zip_other": 'zip = "other.zip"\n',
        "weights_nan": 'zip = "nan.zip"\n',
        "weights_shape": 'zip = "shape.zip"\n',
        "policy_kwarg": 'zip = "kwarg.zip"\n',
        "code": 'zip = "code.zip"\n',
        "statistics_shape": 'zip = "good.zip"\nvecnormalize = "short.pkl"\n',
        "statistics_junk": 'zip = "good.zip"\nvecnormalize = "junk.pkl"\n',
        "algorithm_other": 'zip = "good.zip"\nalgorithm = "SAC"\n',
        "output_unknown": 'zip = "good.zip"\noutputs = ["log_std"]\n',
        "stochastic_none": 'zip = "dqn.zip"\nstochastic = true\n',
        "trust_algorithm": 'zip = "good.zip"\ntrust = true\nalgorithm = "PPPO"\n',
        "trust_cut": 'zip = "cut.zip"\ntrust = true\nalgorithm = "PPO"\n',
        "stack_env": 'zip = "stacked.zip"\n' + ENV,
        "stack_statistics": 'zip = "stacked.zip"\nvecnormalize = "four.pkl"\n',
        "stack_none": 'zip = "good.zip"\n[environment]\nid = "FrozenLake-v1"\nframe_stack = 2\n',
        "extractor": 'zip = "own.zip"\n',
        "extractor_other": 'zip = "own.zip"\nimport_allowed = ["no_such_package:Own"]\n',
        "space_nested": 'zip = "nested.zip"\n',
        "space_tuple": 'zip = "pair.zip"\n',
        "space_bits": 'zip = "bits.zip"\n',
        "activation": 'zip = "softmax.zip"\n',
        "env_unknown": 'zip = "good.zip"\n[environment]\nid = "CartPole-v9"\n',
        "env_package": 'zip = "good.zip"\n[environment]\nid = "CartPole-v1"\nimports = ["no_such_package"]\n',
        "env_other": 'zip = "good.zip"\n[environment]\nid = "Pendulum-v1"\n',
        "env_wrapper": 'zip = "good.zip"\n' + ENV + 'wrappers = ["gymnasium.wrappers:NoSuchWrapper"]\n',
        "recipe_algorithm": ENV + RECIPE.replace("PPO", "PPPO"),
        "recipe_argument": ENV + RECIPE + "hyperparameters = { n_stepz = 8 }\n",
        "typo": 'zip = "good.zip"\n[tolerence]\nabsolute = 1e-5\n',
        "negative": 'zip = "good.zip"\n[tolerance]\nabsolute = -1e-5\n',
        "opset_low": 'zip = "good.zip"\n[onnx]\nopset = 9\n',
        "toml": "zip = \n",
        "Good": 'zip = "good.zip"\n',
        "my agent": 'zip = "good.zip"\n',
        "interpreter": 'zip = "good.zip"\npython = "/no/such/python"\n',
        "slow": 'zip = "good.zip"\ntimeout = 6\n' + ENV + "[observations]\nepisodes = 3000\n",
    }
    for name, text in configs.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return doit(configs=folder, artifacts=folder / "artifacts")


@pytest.mark.parametrize(
    ("agent", "kind", "telling"),
    [
        ("zip_missing", "AgentFileMissing", r"gone.zip does not exist (looked in"),
        ("zip_empty", "AgentFileDamaged", "empty.zip is empty (0 bytes)"),
        ("zip_cut", "AgentFileDamaged", "cut short: no zip directory at its end. Fetch or save the file again"),
        ("zip_page", "NotAnAgent", "is not a zip (it starts with '<!DOCTYPE html><html'). Fetch the real file"),
        ("zip_other", "NotAnAgent", "has no member 'data': not a Stable-Baselines3 agent"),
        ("weights_nan", "WeightsNotFinite", "1 of 128 numbers in action_net.weight are NaN or infinite, the first at [0,3]"),
        ("weights_shape", "WeightsUnfit", "policy_net.0.weight does not fit the spaces and policy_kwargs. Expected 64x4, found 64x8"),
        ("policy_kwarg", "UnsupportedPolicy", "policy_kwargs has 'banana', unknown to ActorCriticPolicy"),
        ("code", "PickleRefused", "observation_space: the pickle refers to posix.system, which is not on the allowed list"),
        ("statistics_shape", "StatisticsUnfit", "obs_rms.mean of another shape than the agent observes. Expected (4,), found (3,)"),
        ("statistics_junk", "StatisticsUnfit", "does not hold a VecNormalize"),
        ("algorithm_other", "UnknownAlgorithm", "the archive differ in their algorithm. Expected SAC, found PPO"),
        ("output_unknown", "ConfigWrongValue", "'log_std', which this PPO agent does not have. Expected logits, value"),
        ("stochastic_none", "ConfigWrongValue", "Stochastic is set, but DQN policies have no distribution"),
        ("trust_algorithm", "UnknownAlgorithm", "Algorithm 'PPPO' is unknown. Expected PPO, A2C, TRPO, MaskablePPO"),
        ("trust_cut", "NotAnAgent", "SB3's own loader refuses it ("),
        ("stack_env", "EnvironmentUnfit", "If it was trained with VecFrameStack, set environment.frame_stack = 3"),
        ("stack_statistics", "StatisticsUnfit", "Expected 12 numbers, found 4. Give the statistics saved with this agent, or, if it was trained with VecFrameStack, set environment.frame_stack = 3 in the config"),
        ("stack_none", "EnvironmentUnfit", "The observations of FrozenLake-v1 cannot be stacked: only Box observations can be stacked, found Discrete(16). Leave frame_stack out"),
        ("extractor", "PickleRefused", "policy_kwargs holds the features extractor Own by name. Nothing was executed"),
        ("extractor_other", "UnsupportedPolicy", "policy_kwargs holds the features extractor Own. Expected FlattenExtractor, NatureCNN, CombinedExtractor"),
        ("space_nested", "UnsupportedPolicy", "A Dict inside a Dict under 'a' is not supported: SB3 has no policy for it"),
        ("space_tuple", "PickleRefused", "observation_space: the pickle refers to gymnasium.spaces.tuple.Tuple, which is not on the allowed list"),
        ("space_bits", "UnsupportedPolicy", "MultiBinary actions of several dimensions are not supported by SB3 either"),
        ("activation", "PickleRefused", "policy_kwargs: the pickle refers to torch.nn.modules.activation.Softmax, which is not on the allowed list"),
        ("env_unknown", "EnvironmentMissing", "No environment 'CartPole-v9'"),
        ("env_package", "EnvironmentMissing", "needs a package: No module named 'no_such_package'. Install its package"),
        ("env_other", "EnvironmentUnfit", "The agent and Pendulum-v1 differ in their spaces. Expected an environment that observes Box("),
        ("env_wrapper", "EnvironmentMissing", "The wrapper gymnasium.wrappers:NoSuchWrapper cannot be imported"),
        ("recipe_algorithm", "UnknownAlgorithm", "Algorithm 'PPPO' is unknown; did you mean 'PPO'? Expected A2C, DDPG, DQN"),
        ("recipe_argument", "TrainingFailed", "unexpected keyword argument 'n_stepz'"),
        ("typo", "ConfigUnknownKey", "Unknown key 'tolerence'; did you mean 'tolerance'? Correct or remove the key"),
        ("negative", "ConfigWrongValue", "`tolerance`: want a number from 0 to 1, found -1e-05"),
        ("opset_low", "ConfigWrongValue", "`onnx`: want opset 14 (onnx-tf 1.10 takes no other safely), found 9"),
        ("toml", "ConfigUnreadable", "The config is not TOML: Invalid value (at line 1, column 7)"),
        ("good", "AgentNameUnfit", "Agents 'Good' and 'good' would share one folder where case is ignored"),
        ("my agent", "AgentNameUnfit", "unfit for a path. Expected letters, digits, '-' and '_'"),
        ("interpreter", "ToolchainBroken", "/no/such/python: It does not run (No such file or directory). Install there: torch"),
        ("slow", "JobTimedOut", "Observe was stopped after 6 s, twice. Raise `timeout` in the config"),
    ],
)  # fmt: skip
def test_bad_agent_gets_one_clear_error(run: Run, agent: str, kind: str, telling: str) -> None:
    line = run.error(agent)
    assert line.startswith(f"{kind}: agent {agent}")
    assert telling in line
    assert ", file " in line


def test_the_other_agent_is_built(run: Run, folder: Path) -> None:
    # 'Good' and 'good' meet, and the first of them in order is built.
    assert "Good:weights:weights:check" in run.done
    assert (folder / "artifacts" / "Good" / "weights" / "policy.json").is_file()


def test_run_fails_without_a_traceback(run: Run) -> None:
    assert run.code != 0
    assert "Traceback" not in run.text
    assert "typo  ✗ its config is refused" in run.text


def test_refused_archives_leave_nothing_behind(run: Run, folder: Path) -> None:
    for agent in ("zip_cut", "code", "weights_nan", "statistics_shape"):
        assert {path.name for path in (folder / "artifacts" / agent).iterdir()} == {"log"}
    assert not list((folder / "artifacts" / ".staging").iterdir())


def test_folder_of_artifacts_that_is_a_file_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    run = doit(configs=folder, artifacts=tmp_path / "artifacts")
    assert run.code == 2
    assert "ArtifactsNotWritable" in run.text
    assert "Traceback" not in run.text
