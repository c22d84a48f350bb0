"""configs/*.toml: what is read, and how everything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config, errors
from pipeline.hops import KINDS

RECIPE = '[recipe]\nalgorithm = "PPO"\n[environment]\nid = "CartPole-v1"\n'


def load(folder: Path, text: str, name: str = "agent") -> object:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, KINDS, ("test", "onnx"))


def refusal(folder: Path, text: str, name: str = "agent") -> errors.SlipwayError:
    with pytest.raises(errors.SlipwayError) as caught:
        load(folder, text, name)
    return caught.value


def test_recipe_is_enough(tmp_path: Path) -> None:
    agent = load(tmp_path, RECIPE)
    assert (agent.name, agent.recipe.algorithm, agent.environment.id) == ("agent", "PPO", "CartPole-v1")


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    assert Path(load(tmp_path, 'zip = "a.zip"').zip) == tmp_path / "a.zip"


def test_agent_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        load(tmp_path, RECIPE).timeout = 3


def test_part_of_a_table_keeps_the_other_defaults(tmp_path: Path) -> None:
    agent = load(tmp_path, RECIPE + "[float16]\nepisodes = 5\n")
    assert (agent.float16.episodes, agent.float16.action) == (5, 0.01)


@pytest.mark.parametrize(
    ("text", "kind", "telling"),
    [
        ("a b", errors.ConfigUnreadable, "at line 1, column 3"),
        (RECIPE + "[tolerence]\n", errors.ConfigUnknownKey, "'tolerence'; did you mean 'tolerance'?"),
        (RECIPE + "[tolerance]\nabsolut = 1\n", errors.ConfigUnknownKey, "did you mean 'tolerance.absolute'?"),
        (
            RECIPE + "banana = 1\n",
            errors.ConfigUnknownKey,
            "unknown key 'environment.banana'; known: frame_stack, id, imports",
        ),
        ("name = 'x'\n" + RECIPE, errors.ConfigUnknownKey, "'name' cannot be set"),
        ("targets = 'tflite'\n" + RECIPE, errors.ConfigWrongValue, "`targets`: Expected a list, got a text"),
        (
            "targets = ['tfilte']\n" + RECIPE,
            errors.ConfigWrongValue,
            "targets has 'tfilte', which is unknown; did you mean 'tflite'?",
        ),
        ("targets = []\n" + RECIPE, errors.ConfigWrongValue, "targets is empty"),
        (RECIPE + "[tolerance]\nabsolute = -1.0\n", errors.ConfigWrongValue, "want absolute from 0 to 1, found -1.0"),
        (RECIPE + "[tolerance]\nabsolute = nan\n", errors.ConfigWrongValue, "want absolute from 0 to 1, found nan"),
        (RECIPE + "[tolerance]\nabsolute = 5\n", errors.ConfigWrongValue, "want absolute from 0 to 1, found 5"),
        (
            RECIPE + "[tolerance]\nabsolute = 'x'\n",
            errors.ConfigWrongValue,
            "`tolerance.absolute`: Expected a number, got a text",
        ),
        (RECIPE + "[int8]\nreturn_kept = 1.5\n", errors.ConfigWrongValue, "found 1.5"),
        (RECIPE + "[onnx]\nopset = 11\n", errors.ConfigWrongValue, "want opset 14"),
        (RECIPE + "[onnx]\nweb_opset = 27\n", errors.ConfigWrongValue, "want web_opset from 18 to 26, found 27"),
        (RECIPE + "[observations]\nepisodes = 0\n", errors.ConfigWrongValue, "want episodes above 0, found 0"),
        (RECIPE.replace('"PPO"', '"PPO"\nsteps = 0'), errors.ConfigWrongValue, "want steps above 0, found 0"),
        ("[environment]\nid = 'x'\n", errors.ConfigWrongValue, "there is no agent to build"),
        ("[recipe]\nalgorithm = 'PPO'\n", errors.ConfigWrongValue, "[recipe] needs [environment] id"),
        ("zip = 'gone.zip'", errors.AgentFileMissing, "gone.zip does not exist (looked in"),
    ],
)
def test_refused(tmp_path: Path, text: str, kind: type, telling: str) -> None:
    error = refusal(tmp_path, text)
    assert type(error) is kind
    assert telling in error.what
    assert error.agent == "agent"
    assert str(tmp_path / "agent.toml") in error.file
    assert error.remedy


def test_refusal_names_the_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, RECIPE + "\n[tolerance]\nabsolut = 1\n")
    assert error.file.endswith("agent.toml:7")
    same = "[observations]\nsamples = 100\n[calibration]\nepisodes = 2\nsamples = 3\n"
    assert refusal(tmp_path, RECIPE + same).file.endswith("agent.toml:9")
    assert refusal(tmp_path, RECIPE + "[tolerance]\nrelative = 2\n").file.endswith("agent.toml:6")
    assert refusal(tmp_path, f"targets = []\n{RECIPE}").file.endswith("agent.toml:1")


@pytest.mark.parametrize("name", ["a b", "-x", "ä", "x" * 65, "a.b"])
def test_name_unfit_for_a_path_is_refused(tmp_path: Path, name: str) -> None:
    assert isinstance(refusal(tmp_path, RECIPE, name), errors.AgentNameUnfit)


def test_name_of_a_task_is_refused(tmp_path: Path) -> None:
    assert "'onnx' is the name of a task" in refusal(tmp_path, RECIPE, "onnx").what


def test_names_that_differ_in_case_only_meet() -> None:
    assert config.duplicates(["CartPole", "pendulum", "cartpole"]) == {"cartpole": "CartPole"}


def test_statistics_beside_the_archive_must_be_stated(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "vecnormalize.pkl").touch()
    error = refusal(tmp_path, 'zip = "a.zip"')
    assert isinstance(error, errors.StatisticsMissing)
    assert 'vecnormalize = "none"' in error.remedy
    assert load(tmp_path, 'zip = "a.zip"\nvecnormalize = "none"').vecnormalize == "none"
    assert load(tmp_path, 'zip = "a.zip"\nvecnormalize = "vecnormalize.pkl"').vecnormalize.endswith(".pkl")


def test_missing_statistics_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    assert "gone.pkl does not exist" in refusal(tmp_path, 'zip = "a.zip"\nvecnormalize = "gone.pkl"').what


def test_error_is_one_line_with_everything_in_it() -> None:
    error = errors.CheckFailed("it differs", file="x.json", expected="1", found="2", agent="a", hop="onnx")
    remedy = errors.CheckFailed.remedy
    assert str(error) == f"CheckFailed: agent a, hop onnx, file x.json: It differs. Expected 1, found 2. {remedy}."
    assert str(errors.from_json(error.to_json())) == str(error)
