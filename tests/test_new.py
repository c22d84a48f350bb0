"""``./doit new`` writes a config that loads and builds, and says what it guessed; ``./doit inspect`` shows archives."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pipeline import artifacts, config, errors, tasks
from pipeline.agents import drafting
from pipeline.hops import KINDS
from pipeline.spec import Agent
from running import Run, doit

ORDERED = "!!python/object/apply:collections.OrderedDict\n- - - batch_size\n    - 256\n"


class Still(gymnasium.Env):
    """An environment of given spaces that always looks the same, but never as 0."""

    def __init__(self, observed: spaces.Space, acts: spaces.Space) -> None:
        self.observation_space, self.action_space = observed, acts
        observed.seed(1)
        self.sight = observed.sample()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        return self.sight, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return self.sight, 0.0, False, False, {}


FLAT = spaces.Box(-5, 5, (4,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 4), np.uint8)


def save(path: Path, observed: spaces.Space = FLAT, *, pkl: Path | None = None, steps: int = 0, **how: Any) -> Path:
    """A tiny PPO agent, trained for a few steps; its statistics where ``pkl`` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    venv: Any = DummyVecEnv([lambda: Still(observed, spaces.Discrete(2))])
    venv = VecNormalize(venv) if pkl or how.pop("normalize", False) else venv
    policy = (
        "CnnPolicy" if observed == IMAGE else "MultiInputPolicy" if isinstance(observed, spaces.Dict) else "MlpPolicy"
    )
    agent = PPO(policy, venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu", **how)
    if steps:
        agent.learn(steps)
    agent.save(path)
    if pkl:
        pkl.parent.mkdir(parents=True, exist_ok=True)
        venv.save(str(pkl))
    return path


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return tmp_path / "configs"


def loaded(path: Path, configs: Path, name: str = "") -> tuple[Agent, str]:
    """The agent of a drafted config, and the config's text."""
    name = name or drafting.fit_name(path, tasks.RESERVED)
    drafting.write(path, configs / f"{name}.toml")
    text = (configs / f"{name}.toml").read_text(encoding="utf-8")
    assert "\t" not in text and max(map(len, text.splitlines())) < 250
    return config.load(configs / f"{name}.toml", KINDS, tasks.RESERVED), text


# --- what is known ---------------------------------------------------------------------------------


def test_config_names_its_archive_and_says_what_it_is(tmp_path: Path, configs: Path) -> None:
    zip_path = save(tmp_path / "agents" / "lander.zip")
    agent, text = loaded(zip_path, configs)
    assert Path(agent.zip).samefile(zip_path)
    assert 'zip = "../agents/lander.zip"\n' in text
    assert text.startswith(
        "# PPO, stable_baselines3.common.policies.ActorCriticPolicy, saved by Stable-Baselines3 2.9.2\n"
    )
    assert "# observes Box(4) float32, from -5 to 5\n# acts in Discrete(2)\n" in text
    assert agent.vecnormalize == "none"
    assert agent.environment.id == ""
    assert '# [environment]\n# id = "…"' in text


def test_config_in_the_folder_of_the_archive_names_it_alone(tmp_path: Path) -> None:
    _, text = loaded(save(tmp_path / "a.zip"), tmp_path)
    assert 'zip = "a.zip"\n' in text


@pytest.mark.parametrize("stem", ['a "quoted" name', "ünïcode ☃", "back\\slash", "a\x7fb", "new\nline"])
def test_any_path_is_a_string_of_the_config(tmp_path: Path, configs: Path, stem: str) -> None:
    agent, _ = loaded(save(tmp_path / f"{stem}.zip"), configs)
    assert Path(agent.zip).name == f"{stem}.zip"


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("best model (2)", "best_model_2"),
        ("über", "ber"),
        ("☃", "agent"),
        ("test", "test_agent"),
        ("onnx", "onnx_agent"),
        ("inspect", "inspect_agent"),
        ("x" * 99, "x" * 64),
        ("-_x", "x"),
    ],
)
def test_name_is_made_fit(stem: str, wanted: str) -> None:
    name = drafting.fit_name(Path(f"{stem}.zip"), tasks.RESERVED)
    assert name == wanted
    assert config.fit(name) and name not in tasks.RESERVED


def test_keys_of_a_dict_are_told(tmp_path: Path, configs: Path) -> None:
    space = spaces.Dict(front=spaces.Box(0, 255, (36, 36, 3), np.uint8), speed=FLAT)
    agent, text = loaded(save(tmp_path / "a.zip", space), configs)
    assert "# observes Dict of front, speed\n#   front Box(3, 36, 36) uint8, from 0 to 255 (an image" in text
    assert agent.images == "channel-last"
    assert 'images = "channel-last"  # how you hold images' in text


def test_four_channels_may_be_four_frames(tmp_path: Path, configs: Path) -> None:
    agent, text = loaded(save(tmp_path / "BreakoutNoFrameskip-v4.zip", IMAGE), configs)
    assert "# frame_stack = 4  # if its four channels are four frames" in text
    assert agent.environment.frame_stack == 1


# --- statistics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["vecnormalize.pkl", "vec_normalize.pkl", "a/vecnormalize.pkl"])
def test_statistics_beside_are_named(tmp_path: Path, configs: Path, place: str) -> None:
    agent, text = loaded(save(tmp_path / "a.zip", pkl=tmp_path / place), configs)
    assert Path(agent.vecnormalize).samefile(tmp_path / place)
    assert f'vecnormalize = "../{place}"' in text
    assert "CAUTION" not in text


@pytest.mark.parametrize("stem", ["best_model", "best_model_2"])
def test_final_statistics_of_the_best_checkpoint_are_a_caution(tmp_path: Path, configs: Path, stem: str) -> None:
    agent, text = loaded(save(tmp_path / f"{stem}.zip", pkl=tmp_path / "vecnormalize.pkl"), configs)
    assert "CAUTION: these are the statistics of the end of the training" in text
    assert agent.vecnormalize != "none"


def test_missing_statistics_are_a_caution_where_they_show(tmp_path: Path, configs: Path) -> None:
    agent, text = loaded(save(tmp_path / "a.zip", normalize=True, steps=8), configs)
    assert "CAUTION: it was trained with VecNormalize (its last observations are normalized)" in text
    assert agent.vecnormalize == "none"


def test_training_without_statistics_is_not_doubted(tmp_path: Path, configs: Path) -> None:
    _, text = loaded(save(tmp_path / "a.zip", steps=8), configs)
    assert "VecNormalize" not in text


def test_missing_statistics_are_a_caution_where_the_zoo_says_so(tmp_path: Path, configs: Path) -> None:
    venv = DummyVecEnv([lambda: Still(FLAT, FLAT)])
    SAC("MlpPolicy", venv, buffer_size=10, device="cpu").save(tmp_path / "a.zip")
    assert "None was found beside it" in loaded(tmp_path / "a.zip", configs, "one")[1]
    (tmp_path / "config.yml").write_text(ORDERED + "  - - normalize\n    - true\n")
    assert (
        "CAUTION: it was trained with VecNormalize (config.yml says so)"
        in loaded(tmp_path / "a.zip", configs, "two")[1]
    )
    (tmp_path / "config.yml").write_text(ORDERED)
    assert "VecNormalize" not in loaded(tmp_path / "a.zip", configs, "three")[1]


def test_statistics_of_another_agent_are_left_out(tmp_path: Path, configs: Path) -> None:
    save(tmp_path / "other.zip", spaces.Box(-1, 1, (7,)), pkl=tmp_path / "vecnormalize.pkl")
    agent, text = loaded(save(tmp_path / "a.zip"), configs)
    assert agent.vecnormalize == "none"
    assert (
        "# vecnormalize.pkl stands beside the archive, and is left out: vecnormalize.pkl has obs_rms.mean of another"
        in text
    )


def test_statistics_of_one_frame_tell_the_stack(tmp_path: Path, configs: Path) -> None:
    save(tmp_path / "other.zip", spaces.Box(-1, 1, (2,)), pkl=tmp_path / "vecnormalize.pkl")
    agent, _ = loaded(save(tmp_path / "CartPole-v1.zip"), configs)
    assert agent.environment.frame_stack == 2
    assert agent.vecnormalize != "none"


# --- the environment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("CartPole-v1.zip", "CartPole-v1"),
        ("logs/ppo/CartPole-v1_3/best_model.zip", "CartPole-v1"),
        ("ppo-LunarLander-v2.zip", "LunarLander-v2"),
        ("mine.zip", ""),
    ],
)
def test_environment_is_guessed_and_optional(tmp_path: Path, configs: Path, place: str, wanted: str) -> None:
    agent, text = loaded(save(tmp_path / place), configs)
    assert agent.environment.id == wanted
    assert agent.environment.optional is bool(wanted)
    assert ("not in the archive; taken from its name" in text) is bool(wanted)


def test_zoo_tells_environment_frames_and_wrappers(tmp_path: Path, configs: Path) -> None:
    zip_path = save(tmp_path / "Thing-v1_1" / "Thing-v1.zip")
    beside = zip_path.with_suffix("")
    beside.mkdir()
    wrapper = "sb3_contrib.common.wrappers.TimeFeatureWrapper"
    (beside / "config.yml").write_text(ORDERED + f"  - - env_wrapper\n    - {wrapper}\n  - - frame_stack\n    - 2\n")
    (beside / "args.yml").write_text("- - - env\n    - Other-v2\n  - - gym_packages\n    - - panda_gym\n")
    agent, text = loaded(zip_path, configs)
    assert (agent.environment.id, agent.environment.frame_stack) == ("Other-v2", 2)
    assert agent.environment.wrappers == ["sb3_contrib.common.wrappers:TimeFeatureWrapper"]
    assert agent.environment.imports == []
    assert '# imports = ["panda_gym"]' in text


def test_modules_that_a_strangers_file_names_are_not_imported(tmp_path: Path, configs: Path) -> None:
    zip_path = save(tmp_path / "Thing-v1.zip")
    (tmp_path / "config.yml").write_text(ORDERED + "  - - env_wrapper\n    - antigravity.Wrapper\n")
    agent, text = loaded(zip_path, configs)
    assert agent.environment.wrappers == []
    assert '# wrappers = ["antigravity:Wrapper"]' in text


def test_python_tags_of_yaml_are_text(tmp_path: Path, configs: Path) -> None:
    zip_path, marker = save(tmp_path / "Thing-v1.zip"), tmp_path / "marker"
    text = f"!!python/object/apply:os.system\n- touch {marker}\n"
    for name in ("config.yml", "args.yml", "env_kwargs.yml"):
        (tmp_path / name).write_text(text)
    loaded(zip_path, configs)
    assert not marker.exists()


# --- what is refused -------------------------------------------------------------------------------


def repacked(source: Path, target: Path, **fields: object) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            held = old.read(name)
            new.writestr(name, json.dumps(json.loads(held) | fields) if name == "data" else held)
    return target


def code(command: str) -> dict[str, str]:
    pickled = b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR."
    return {":serialized:": base64.b64encode(pickled).decode()}


def test_hostile_archive_gets_no_config(tmp_path: Path, configs: Path) -> None:
    marker = tmp_path / "marker"
    bad = repacked(save(tmp_path / "good.zip"), tmp_path / "bad.zip", observation_space=code(f"touch {marker}"))
    with pytest.raises(errors.PickleRefused, match=r"refers to posix\.system"):
        drafting.write(bad, configs / "bad.toml")
    assert not marker.exists()
    assert not configs.exists()


def test_features_extractor_by_value_gets_its_remedies(tmp_path: Path, configs: Path) -> None:
    class MyExtractor(FlattenExtractor):
        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return observations * 2

    MyExtractor.__module__ = "__main__"
    held = base64.b64encode(cloudpickle.dumps({"features_extractor_class": MyExtractor})).decode()
    agent, text = loaded(
        repacked(save(tmp_path / "g.zip"), tmp_path / "a.zip", policy_kwargs={":serialized:": held}), configs
    )
    assert "# policy_kwargs holds the features extractor MyExtractor by value\n" in text
    assert '# import_allowed = ["package.module:MyExtractor"]' in text
    assert "# trust = true  # runs whatever code the archive holds" in text
    assert agent.trust is False and agent.import_allowed == []


def test_config_that_is_there_is_not_overwritten(tmp_path: Path, configs: Path) -> None:
    zip_path = save(tmp_path / "a.zip")
    configs.mkdir()
    (configs / "A.toml").write_text("mine")
    with pytest.raises(errors.AgentNameUnfit, match="A config of that name is there already"):
        drafting.write(zip_path, configs / "a.toml")
    assert [path.name for path in configs.iterdir()] == ["A.toml"]


# --- the commands ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("commands") / "CartPole-v1.zip", pkl=None)


def ran(tmp_path: Path, *arguments: str) -> Run:
    return doit(*arguments, configs=tmp_path / "configs", artifacts=tmp_path / "artifacts")


def test_new_config_is_built_as_it_is(tmp_path: Path, a_zip: Path) -> None:
    """Its environment is a guess, and does not fit: observations are drawn."""
    run = ran(tmp_path, "new", str(a_zip))
    assert run.code == 0, run.text
    assert run.text.endswith("CartPole-v1.toml is written. Read its comments, then: ./doit CartPole-v1\n")
    assert run.text.count("\n") == 1
    built = ran(tmp_path, "CartPole-v1:weights")
    assert built.code == 0, built.text
    assert (tmp_path / "artifacts" / "CartPole-v1" / "weights" / "policy.json").is_file()


def test_new_takes_a_name_and_refuses_what_cannot_be_one(tmp_path: Path, a_zip: Path) -> None:
    assert ran(tmp_path, "new", str(a_zip), "mine").code == 0
    for name in ("mine", "test", "../x", "a b"):
        run = ran(tmp_path, "new", str(a_zip), name)
        assert (run.code, run.text.count("\n")) == (2, 1), run.text
        assert run.text.startswith("AgentNameUnfit: ")
        assert "./doit new FILE NAME" in run.text
    assert [path.name for path in (tmp_path / "configs").iterdir()] == ["mine.toml"]
    assert not (tmp_path / "x.toml").exists()


@pytest.mark.parametrize("command", ["new", "inspect"])
def test_command_without_a_file_says_what_it_wants(tmp_path: Path, command: str) -> None:
    run = ran(tmp_path, command)
    assert run.code == 2
    assert re.search(rf"\./doit {command} FILE", run.text)
    assert "Traceback" not in run.text


def test_inspect_shows_archives_and_nothing_else(tmp_path: Path, a_zip: Path) -> None:
    run = ran(tmp_path, "inspect", str(a_zip), str(a_zip))
    assert run.code == 0
    assert run.text.count("✓ Slipway can read this archive") == 2
    assert run.text.endswith("✓ Slipway can read this archive\n")
    assert "steps run" not in run.text and "decides as predict" not in run.text
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("before", [True, False])
def test_inspect_answers_machines_a_line_a_file(tmp_path: Path, a_zip: Path, before: bool) -> None:
    arguments = [str(a_zip), str(tmp_path / "gone.zip")]
    run = ran(tmp_path, "inspect", *(["--json", *arguments] if before else [*arguments, "--json"]))
    first, second = map(json.loads, run.text.splitlines())
    assert run.code == 2
    assert first["algorithm"] == "PPO"
    assert second["refusal"]["error"] == "AgentFileMissing"


def test_hostile_archive_is_shown_with_its_refusal_and_code_2(tmp_path: Path, a_zip: Path) -> None:
    marker = tmp_path / "marker"
    run = ran(tmp_path, "inspect", str(repacked(a_zip, tmp_path / "b.zip", action_space=code(f"touch {marker}"))))
    assert run.code == 2
    assert "  action_space              posix.system ✗\n" in run.text
    assert "✗ PickleRefused: file" in run.text.splitlines()[-1]
    assert not marker.exists()


def test_inspect_does_not_wait_for_a_build(tmp_path: Path, a_zip: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    with artifacts.lock(tmp_path / "artifacts"):
        assert ran(tmp_path, "inspect", str(a_zip)).code == 0


def test_public_agents_get_configs_that_load(shared: Path, configs: Path) -> None:
    for path in sorted((shared / "zoo").glob("*/*/*.zip")):
        agent, text = loaded(path, configs)
        assert agent.environment.id == path.stem
        assert (agent.vecnormalize != "none") == (path.with_suffix("") / "vecnormalize.pkl").is_file()
        assert "not known" not in text
        shutil.rmtree(configs)
