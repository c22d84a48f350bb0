"""The gate as pictures: what they say, and that they say the same everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import errors, gate
from pipeline.agents import pictures, plots

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
BOX = {"type": "Box", "shape": [1], "low": [-1.0], "high": [1.0], "dtype": "float32"}
DISCRETE = {"type": "Discrete", "n": 2, "start": 0}
LAYERS = [
    {"name": "onnx_tf_prefix_/trunk/trunk.0/MatMul;onnx_tf_prefix_/trunk/trunk.0/Add", "low": -1.0, "high": 1.0}
    | {"step": 0.01, "inherited": 0.01, "weights": 0.02, "steps": 0.03, "error": 0.0374},
    {"name": "PartitionedCall:0", "low": -9.0, "high": 9.0}
    | {"step": 0.01, "inherited": 0.03, "weights": 0.01, "steps": 0.02, "error": 0.5},
]  # fmt: skip


def vector(size: int, name: str = "observation") -> dict[str, Any]:
    return {"name": name, "role": "observation", "shape": ["batch", size], "dtype": "float32", "layout": "batch first"}


def case(
    folder: Path,
    inputs: dict[str, np.ndarray],
    error: np.ndarray,
    takes: list[dict[str, Any]] | None = None,
    acts: dict[str, Any] = BOX,
    states: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """An artifact whose answers are off by ``error`` [rows]: its folder, and what a job is given."""
    takes = takes or [vector(inputs["observation"].shape[-1])]
    contract = {"takes": takes, "action_space": acts, "decision": "mean", "epilogue": [], "states": states}
    (folder / "policy.json").write_text(json.dumps(contract))
    (folder / "about.json").write_text(json.dumps({"samples": len(error)}))
    (folder / "layers.json").write_text(json.dumps(LAYERS))
    rows = np.zeros((len(error) + 8, 1), np.float32)  # the last ones are edges, which are not judged
    wrong = rows.copy()
    wrong[: len(error), 0], wrong[len(error) :] = error, 1.0
    if acts is BOX:
        reference, outputs = {"action": rows, "mean": rows}, {"action": wrong, "mean": wrong}
    else:
        decided = rows[:, 0].astype(int)
        reference, outputs = (
            {"action": decided, "mean": rows},
            {"action": (wrong[:, 0] > 0.9).astype(int), "mean": wrong},
        )
    np.savez(folder / "reference.npz", **reference)
    np.savez(folder / "outputs.npz", **outputs)
    np.savez(folder / "observations.npz", **inputs)
    environment = {"id": "", "wrappers": [], "frame_stack": 1}
    rung = {
        "rung": "int8",
        "folder": str(folder),
        "episodes": "",
        "status": "passed",
        "chosen": True,
        "closed_loop": {},
    }
    settings = {"agent": "tiny", "environment": environment, "return_kept": 0.98, "rungs": [rung]}
    return folder, {**settings, "observations": str(folder), "outputs": str(folder)}


def act(folder: Path, settings: dict[str, Any], lost: list[float], status: str = "passed") -> None:
    """Let a further rung act: it loses so much against the source in every episode."""
    returns = {"source": [100.0, 110.0, 90.0, 100.0], "random": [0.0, 10.0, -10.0, 0.0]}
    returns["artifact"] = [source - less for source, less in zip(returns["source"], lost, strict=True)]
    path = folder / f"episodes{len(settings['rungs'])}.json"
    path.write_text(json.dumps({"returns": returns, "reward_threshold": 95.0}))
    rung = {"rung": f"rung{len(settings['rungs'])}", "folder": str(folder), "episodes": str(path), "status": status}
    loop = gate.figures(returns, 95.0, settings["return_kept"])
    settings["rungs"][-1]["chosen"] = False
    settings["rungs"].append({**rung, "chosen": True, "closed_loop": loop})
    settings["environment"] = {"id": "CartPole-v1", "wrappers": [], "frame_stack": 1}


def told(artifact: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return pictures.dependence(json.loads((artifact / "policy.json").read_text()), settings)[0]


def cloud(rows: int, columns: int) -> np.ndarray:
    return RNG.normal(size=(rows + 8, columns)).astype(np.float32)


@pytest.fixture
def an_artifact(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Dimension 2 causes its error, where it is far from 0."""
    values = cloud(400, 4)
    return case(tmp_path, {"observation": values}, 0.1 * np.abs(values[:400, 2]) + 0.005 * RNG.random(400))


# --- what depends on what ---------------------------------------------------------------------------


def test_dimension_that_causes_the_error_comes_first(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    found = told(*an_artifact)
    strongest, *others = found["strongest"]
    assert (strongest["label"], strongest["index"], found["output"]) == ("observation[2]", [2], "action")
    assert strongest["share"] > 0.8 > 0.1 > found["chance"]
    assert all(other["share"] < 0.1 for other in others) and len(others) == 3


def test_error_that_no_dimension_causes_is_within_chance(tmp_path: Path) -> None:
    found = told(*case(tmp_path, {"observation": cloud(400, 8)}, RNG.random(400)))
    assert 0 <= found["strongest"][0]["share"] < 0.06 and 0 < found["chance"] < 0.06


def test_edges_are_not_judged(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    assert told(*an_artifact)["mean"] < 0.1  # theirs is 0.5


def test_measure_is_the_correlation_ratio_of_the_ranks() -> None:
    group = np.repeat([0, 1], 48)
    error = np.where(group == 1, 1.0, 0.0) + np.linspace(0, 0.1, 96)
    shares, chance = pictures.explained(np.stack([group, group * 0], axis=1).astype(float), error)
    # Two groups that do not overlap: H = 12 n (n / 4)^2 / (n (n + 1)), of n - 1.
    between = 12 * 96 * 24**2 / (96 * 97) / 95
    assert shares[0] == pytest.approx(1 - (1 - between) * 95 / 94, abs=1e-5)
    assert shares[1] == 0 and (chance < shares[0]).all()


@pytest.mark.parametrize("share", [0.04, 0.5, 0.96])
def test_values_that_repeat_are_bins_of_their_own(share: float) -> None:
    values = np.arange(200) < share * 200
    found, _ = pictures.explained(values[:, None].astype(float), values.astype(float))
    assert found[0] == pytest.approx(1, abs=1e-5)


def test_error_that_is_always_the_same_depends_on_nothing(tmp_path: Path) -> None:
    found = told(*case(tmp_path, {"observation": cloud(64, 2)}, np.zeros(64)))
    assert [part["share"] for part in found["strongest"]] == [0, 0]


def test_every_key_of_a_dict_is_shown_and_the_strongest_16_of_many(tmp_path: Path) -> None:
    goal, position = cloud(200, 20), cloud(200, 3)
    takes = [vector(20, "goal"), {**vector(3, "position_"), "key": "my position"}]
    inputs = {"goal": goal, "position_": position}
    found = told(*case(tmp_path, inputs, np.abs(position[:200, 0]), takes))
    assert found["strongest"][0]["label"] == "my position[0]"
    assert (len(found["strongest"]), found["dimensions"]) == (16, 23)


@pytest.mark.parametrize("layout", ["channel-last", "channel-first"])
def test_image_is_mapped_and_its_strongest_cell_named(tmp_path: Path, layout: str) -> None:
    values = RNG.integers(0, 255, (208, 100, 50, 2), np.uint8)
    values[:, 70, 30] = values[:, 71, 31] = values[:, 70, 31] = values[:, 71, 30] = values[:, 70, 30]
    error = values[:200, 70, 30, 1] / 255
    if layout == "channel-first":
        values = np.moveaxis(values, -1, 1)
    entry = {**vector(0), "shape": ["batch", *values.shape[1:]], "layout": layout}
    artifact, settings = case(tmp_path, {"observation": values}, error, [entry])
    found = told(artifact, settings)["strongest"]
    assert [(part["label"], part["cell"]) for part in found] == [("observation at [70, 30]", 2)]
    assert found[0]["share"] > 0.9


def test_rows_of_a_recurrent_policy_are_sequences_one_after_the_other(tmp_path: Path) -> None:
    values = cloud(248, 2)
    takes = [vector(2), {**vector(3, "h0"), "role": "state"}, {**vector(1, "keep"), "role": "keep"}]
    inputs = {"observation": values.reshape(2, 128, 2), "keep": np.ones((2, 128, 1), np.float32)}
    found = told(*case(tmp_path, inputs, np.abs(values[:248, 1]), takes, states=True))
    assert [part["index"] for part in found["strongest"]] == [[1], [0]]


def test_dimensions_of_known_environments_have_names(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    artifact, settings = an_artifact
    settings["environment"]["id"] = "CartPole-v1"
    assert told(artifact, settings)["strongest"][0]["label"] == "pole angle (rad)"
    settings["environment"]["wrappers"] = ["mine:Shuffled"]
    assert told(artifact, settings)["strongest"][0]["label"] == "observation[2]"


def test_other_decisions_are_counted(tmp_path: Path) -> None:
    error = np.where(np.arange(100) < 7, 1.0, 0.1)
    found = told(*case(tmp_path, {"observation": cloud(100, 2)}, error, acts=DISCRETE))
    assert (found["output"], found["differ"]) == ("mean", 7)


# --- returns and layers -----------------------------------------------------------------------------


def test_gate_is_drawn_where_just_enough_is_kept(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    artifact, settings = an_artifact
    act(artifact, settings, [9.0, 0.0, 4.0, 11.0], "failed")
    act(artifact, settings, [2.0, 2.0, 2.0, 2.0])
    found, _ = pictures.returns(settings)
    lost, kept = found["rungs"]
    assert (kept["kept"], kept["artifact"], kept["gate"]) == (0.98, 98, 98)
    assert (lost["kept"], lost["artifact"], lost["gate"], lost["status"]) == (0.94, 94, 98, "failed")
    assert (found["random"], found["source"], found["solved_at"]) == (0, 100, 95)


def test_layers_say_what_was_cut_off(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    found, _ = pictures.layers(an_artifact[1])
    assert [layer["label"] for layer in found["rungs"][0]["layers"]] == ["trunk.0", "output"]
    assert [layer["cut"] for layer in found["rungs"][0]["layers"]] == [0, pytest.approx(0.4986, abs=1e-4)]


def test_without_an_environment_there_is_no_picture_of_returns(
    an_artifact: tuple[Path, dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    artifact, settings = an_artifact
    pictures.draw(artifact, artifact, settings)
    assert sorted(path.stem for path in artifact.glob("*.svg")) == ["errors", "layers"]
    assert "returns is not drawn: the config names no environment" in capfd.readouterr().out
    figures = json.loads((artifact / pictures.FILE).read_text())
    assert list(figures["returns"]) == ["missing"] and figures["errors"]["strongest"]


# --- how it is drawn --------------------------------------------------------------------------------


def test_same_figures_give_the_same_bytes_whatever_the_user_has_set(
    an_artifact: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    artifact, settings = an_artifact
    act(artifact, settings, [9.0, 0.0, 4.0, 11.0], "failed")
    act(artifact, settings, [1.0, 1.0, 2.0, 0.0])
    made = []
    for name, style in (("one", ""), ("two", "font.size: 30\nsvg.fonttype: none\naxes.facecolor: red\n")):
        place = tmp_path / name
        (place / "made").mkdir(parents=True)
        (place / "matplotlibrc").write_text(style)
        given = [str(artifact), str(place / "made"), json.dumps(settings)]
        program = "import json, sys, pathlib as p; from pipeline.agents import pictures as d; a, b, c = sys.argv[1:]; "
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "HOME": str(place)}
        surroundings |= {"PYTHONHASHSEED": name.replace("one", "1").replace("two", "2"), "TZ": name}
        command = [sys.executable, "-c", f"{program}d.draw(p.Path(a), p.Path(b), json.loads(c))", *given]
        subprocess.run(command, check=True, cwd=place, env=surroundings)
        assert sorted(path.name for path in place.iterdir()) == ["made", "matplotlibrc"]
        made.append({path.name: path.read_bytes() for path in (place / "made").iterdir()})
    assert made[0] == made[1]
    names = {f"{name}.{kind}" for name in ("returns", "errors", "layers") for kind in ("svg", "png")}
    assert set(made[0]) == {*names, "pictures.json"}
    assert not [name for name, content in made[0].items() if b"nan" in content and name.endswith(".svg")]


def test_no_text_is_cut_off(an_artifact: tuple[Path, dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib")
    artifact, settings = an_artifact
    settings["agent"] = "A_NAME_THAT_SOMEBODY_GAVE_TO_AN_AGENT_IN_A_HURRY_AND_NEVER_CHANGED"
    act(artifact, settings, [9.0, 0.0, 4.0, 11.0], "failed")
    act(artifact, settings, [100.0, 190.0, 22.0, 2.0], "failed")  # and chosen, by a waiver
    contract = json.loads((artifact / "policy.json").read_text())
    with plots.ready():
        drawn = [
            plots.returns(settings, *pictures.returns(settings)),
            plots.errors(settings, *pictures.dependence(contract, settings)),
            plots.layers(settings, *pictures.layers(settings)),
        ]
        for figure in drawn:
            figure.draw_without_rendering()
            drawn_on = figure.get_tightbbox()  # in inches
            assert drawn_on.x0 >= 0 and drawn_on.y0 >= 0, figure.get_suptitle()
            assert drawn_on.x1 <= figure.get_figwidth() and drawn_on.y1 <= figure.get_figheight(), figure.get_suptitle()


@pytest.mark.filterwarnings("error")
def test_artifact_without_an_error_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    artifact, settings = case(tmp_path, {"observation": cloud(64, 2) * 0}, np.zeros(64))
    act(artifact, settings, [0.0, 0.0, 0.0, 0.0])
    pictures.draw(artifact, artifact, settings)
    assert {path.stem for path in artifact.glob("*.png")} == {"returns", "errors", "layers"}


def test_without_matplotlib_it_is_not_run(
    an_artifact: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, settings = an_artifact
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(errors.NotRun, match="atplotlib is not installed"):
        pictures.draw(artifact, artifact, settings)
    assert "MPLCONFIGDIR" not in os.environ


def test_with_an_old_matplotlib_it_is_not_run(
    an_artifact: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    artifact, settings = an_artifact
    monkeypatch.setattr(plots, "OLDEST", (99, 0))
    with pytest.raises(errors.NotRun, match="is too old"):
        pictures.draw(artifact, artifact, settings)
