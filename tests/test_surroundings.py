"""What stands beside an archive is found as rl_zoo3 lays it out, and its YAML is read as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from agents.making import quickly

from pipeline import surroundings
from pipeline.surroundings import Training

ORDERED = "!!python/object/apply:collections.OrderedDict\n- - - batch_size\n    - 256\n"


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("zip_path", "pkl"),
    [
        ("CartPole-v1_1/CartPole-v1.zip", "CartPole-v1_1/CartPole-v1/vecnormalize.pkl"),
        ("CartPole-v1_1/best_model.zip", "CartPole-v1_1/CartPole-v1/vecnormalize.pkl"),
        ("hub/ppo-CartPole-v1.zip", "hub/vec_normalize.pkl"),
        ("mine/agent.zip", "mine/vecnormalize.pkl"),
        ("mine/rl_model_500_steps.zip", "mine/rl_model_vecnormalize_500_steps.pkl"),
    ],
)
def test_statistics_are_found(tmp_path: Path, zip_path: str, pkl: str) -> None:
    archive, wanted = touch(tmp_path / zip_path), touch(tmp_path / pkl)
    assert surroundings.statistics(archive) == wanted


def test_statistics_of_the_archive_go_before_those_beside(tmp_path: Path) -> None:
    archive, own = touch(tmp_path / "a.zip"), touch(tmp_path / "a" / "vecnormalize.pkl")
    touch(tmp_path / "vecnormalize.pkl")
    assert surroundings.statistics(archive) == own


def test_statistics_of_another_checkpoint_are_not_taken(tmp_path: Path) -> None:
    touch(tmp_path / "rl_model_vecnormalize_900_steps.pkl")
    assert surroundings.statistics(touch(tmp_path / "rl_model_500_steps.zip")) is None


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("CartPole-v1.zip", "CartPole-v1"),
        ("ppo-CartPole-v1.zip", "CartPole-v1"),
        ("PPO_LunarLander-v2.zip", "LunarLander-v2"),
        ("ppo_lstm-CartPoleNoVel-v1.zip", "CartPoleNoVel-v1"),
        ("MiniGrid-Empty-5x5-v0.zip", "MiniGrid-Empty-5x5-v0"),
        ("ALE-Breakout-v5.zip", "ALE/Breakout-v5"),
        ("CartPole-v1_final.zip", "CartPole-v1"),
        ("Ant-v3_2/best_model.zip", "Ant-v3"),
        ("best_model.zip", ""),
        ("my-model-v2x.zip", ""),
        ("os:CartPole-v1.zip", ""),
    ],
)
def test_environment_is_guessed_from_names(tmp_path: Path, place: str, wanted: str) -> None:
    assert surroundings.environment(touch(tmp_path / "agents" / place)) == wanted


def told(tmp_path: Path, config: str = "", args: str = "") -> Training:
    archive = touch(tmp_path / "CartPole-v1.zip")
    for name, text in (("config", config), ("args", args)):
        if text:
            touch(tmp_path / "CartPole-v1" / f"{name}.yml", text)
    return surroundings.training(archive)


def test_nothing_is_known_without_files(tmp_path: Path) -> None:
    assert told(tmp_path) == Training()


@pytest.mark.parametrize(
    "text",
    [
        ORDERED + "  - - frame_stack\n    - 4\n  - - normalize\n    - true\n",
        "batch_size: 256\nframe_stack: 4\nnormalize: true\n",
        ORDERED + "  - - frame_stack\n    - 4\n  - - normalize\n    - '{''norm_obs'': True}'\n",
    ],
    ids=["ordered", "mapping", "with arguments"],
)
def test_frames_and_normalization_are_read(tmp_path: Path, text: str) -> None:
    found = told(tmp_path, text)
    assert (found.frame_stack, found.normalized, found.files) == (4, True, ("config.yml",))


@pytest.mark.parametrize("text", [ORDERED, ORDERED + "  - - normalize\n    - false\n"])
def test_training_without_normalization_is_known_to_be(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text).normalized is False


@pytest.mark.parametrize(
    ("text", "wanted", "has_arguments"),
    [
        ("  - - env_wrapper\n    - a.b.AtariWrapper\n", ("a.b.AtariWrapper",), False),
        ("  - - env_wrapper\n    - - a.b.One\n      - c.Two\n", ("a.b.One", "c.Two"), False),
        ("  - - env_wrapper\n    - - a.One:\n          skip: 4\n  - - x\n    - d.Three\n", ("a.One",), True),
        ("env_wrapper: a.b.One\n", ("a.b.One",), False),
    ],
)  # fmt: skip
def test_wrappers_are_read(tmp_path: Path, text: str, wanted: tuple[str, ...], has_arguments: bool) -> None:
    found = told(tmp_path, ORDERED + text if text.startswith(" ") else text)
    assert (found.wrappers, found.has_arguments) == (wanted, has_arguments)


def test_arguments_of_the_training_are_read(tmp_path: Path) -> None:
    text = "- - - algo\n    - ppo\n  - - env\n    - Pendulum-v1\n  - - env_kwargs\n    - g: 9\n  - - gym_packages\n    - - panda_gym\n"
    found = told(tmp_path, args=text)
    assert (found.environment, found.packages, found.has_arguments) == ("Pendulum-v1", ("panda_gym",), True)


def test_no_arguments_are_none(tmp_path: Path) -> None:
    assert not told(tmp_path, args="- - - env_kwargs\n    - null\n").has_arguments


@pytest.mark.parametrize("name", ["os:CartPole-v1", "../CartPole-v1", "CartPole-v1; x", "CartPole-v1\n"])
def test_id_that_would_import_something_is_not_taken(tmp_path: Path, name: str) -> None:
    found = told(tmp_path, args=f"- - - env\n    - {name}\n").environment
    assert found == "" or re.fullmatch(r"[\w/-]+", found)
    assert ":" not in found


@pytest.mark.parametrize("frames", ["0", "-1", "999", "four", "4.0", "!!python/object:os.system"])
def test_impossible_frames_are_none(tmp_path: Path, frames: str) -> None:
    assert told(tmp_path, ORDERED + f"  - - frame_stack\n    - {frames}\n").frame_stack == 1


@pytest.mark.parametrize(
    "text",
    [
        "- " * 100_000,
        "a." * 100_000,
        "  - - env_wrapper\n    - " + "a." * 100_000,
        " " * 200_000,
        "env: " + " " * 200_000,
    ],
    ids=["dashes", "dots", "dots of a wrapper", "blanks", "blanks of a value"],
)
def test_forged_text_takes_no_time(tmp_path: Path, text: str) -> None:
    with quickly(0.5):
        told(tmp_path, text, text)


def test_text_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    archive = touch(tmp_path / "a.zip")
    (tmp_path / "config.yml").write_bytes(b"\xff\xfe\nframe_stack: 3\n")
    assert surroundings.training(archive).frame_stack == 3
