"""The job that observes: inputs, what predict answers to them, golden vectors, and draws of a stochastic policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import observing

from .making import Case, Tiny, statistics
from .observed import NONE, Observed
from .stubs import FLAT, IMAGE, LOPSIDED
from .worlds import OPEN, STILL, WALK, environment

STEPS = spaces.Box(-np.inf, np.inf, (2,), np.float32)


# --- what is answered ------------------------------------------------------------------------------


def test_reference_answers_every_observation(made: Callable[[str], Tiny], observe: Callable[..., Observed]) -> None:
    tiny = made("ppo_discrete")
    found = observe(tiny, outputs=("value",))
    assert (found.about["samples"], found.about["edges"]) == (24, 8)
    assert found.inputs["observation"].shape == (32, 3)
    assert sorted(found.reference) == ["action", "logits", "preferences", "value"]
    np.testing.assert_array_equal(found.reference["action"], tiny.predict(found.inputs))


@pytest.mark.parametrize(
    "case",
    [
        *("ppo_of_several", "ppo_of_image", "dqn_of_index", "sac_of_several_normalized", "maskableppo_of_several"),
        *("maskableppo_switches", "ppo_stacked_normalized", "ppo_of_first", "ppo_of_indices", "td3_of_bit_table"),
    ],
)
def test_every_kind_of_input_is_drawn_stored_and_answered(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], case: str
) -> None:
    tiny = made(case)
    found = observe(tiny)
    for entry in found.contract["takes"]:
        values = found.inputs[entry["name"]]
        assert (list(values.shape[1:]), str(values.dtype)) == (entry["shape"][1:], entry["dtype"])
        assert len(values) == 32
    assert list(found.inputs) == [entry["name"] for entry in found.contract["takes"]]
    np.testing.assert_array_equal(found.reference["action"], tiny.reference.outputs(found.inputs, ["action"])["action"])
    contracts.check_inputs(found.contract, found.inputs)


def test_box_actions_have_no_preferences(made: Callable[[str], Tiny], observe: Callable[..., Observed]) -> None:
    assert sorted(observe(made("sac_box")).reference) == ["action", "mean"]


def test_bits_have_no_preferences(made: Callable[[str], Tiny], observe: Callable[..., Observed]) -> None:
    assert sorted(observe(made("ppo_switches")).reference) == ["action", "logits"]


def test_images_are_stored_in_one_byte_a_number(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], tmp_path: Path
) -> None:
    observe(made("ppo_of_image"))
    stored = np.load(tmp_path / "observations" / "observations.npz")["observation"]
    assert (stored.dtype, stored.shape) == (np.uint8, (32, 48, 40, 3))


@pytest.mark.parametrize(
    ("case", "origin"),
    [
        ("ppo_box", "draws from the observation space (standard normal where it has no bounds)"),
        ("ppo_normalized", "draws from VecNormalize's statistics"),
        ("ppo_of_image", "draws from the observation space"),
    ],
)
def test_origin_without_an_environment(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], case: str, origin: str
) -> None:
    about = observe(made(case)).about
    assert about["origin"] == origin
    assert about["rollouts"] is False
    assert about["returns"] == []


def test_same_seed_observes_the_same(made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path) -> None:
    source, _ = read(made("ppo_box"))
    held = {
        "environment": NONE,
        "episodes": 1,
        "samples": 16,
        "edges": 4,
        "calibration": False,
        "file": "",
        "drawn": True,
    }
    written = []
    for run, seed in enumerate((1, 1, 2)):
        target = tmp_path / str(run)
        target.mkdir()
        observing.observe(source, target, {**held, "seed": seed})
        written.append((target / "about.json").read_bytes() + (target / "observations.npz").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


# --- environments ----------------------------------------------------------------------------------


def test_environment_gives_observations_and_returns(observe: Callable[..., Observed], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    found = observe(tiny, environment(WALK), episodes=3, samples=6, seed=9)
    assert found.about["origin"] == f"3 episodes of {WALK} from seed 9"
    assert found.about["rollouts"] is True
    assert len(found.about["returns"]) == 3
    assert found.about["samples"] == 6
    assert set(found.inputs["observation"][:6, 0]) <= {9.0, 10.0, 11.0}


def test_fewer_steps_than_samples_are_all_kept(observe: Callable[..., Observed], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    found = observe(tiny, environment(WALK), episodes=1, samples=400, edges=0, seed=9)
    assert (found.about["samples"], found.about["edges"]) == (3, 0)
    assert len(found.inputs["observation"]) == 3


def test_rollouts_hold_masks_and_images(observe: Callable[..., Observed], tmp_path: Path) -> None:
    acts, observed = spaces.MultiDiscrete([3, 2]), spaces.Dict({"eye": IMAGE, "at": FLAT})
    tiny = Case("MaskablePPO", observed, acts, policy="MultiInputPolicy").save(tmp_path)
    found = observe(tiny, environment(OPEN, kwargs={"observed": observed, "acts": acts}), samples=10)
    assert found.inputs["eye"].shape == (18, 48, 40, 3)
    assert found.inputs["action_mask"][:10].tolist() == [[True, True, False, True, False]] * 10
    assert (found.reference["action"][:10] <= [1, 0]).all()


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
    observe: Callable[..., Observed], tmp_path: Path, world: dict[str, Any], error: type[errors.SlipwayError]
) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    with pytest.raises(error):
        observe(tiny, world)
    assert list((tmp_path / "observations").iterdir()) == []


@pytest.mark.parametrize("name", ["NoSuchThing-v0", STILL])
def test_optional_environment_that_cannot_be_used_is_told_and_observations_are_drawn(
    observe: Callable[..., Observed], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    found = observe(tiny, environment(name, optional=True))
    assert found.about["origin"].startswith("draws from the observation space")
    assert found.about["origin"].endswith(f"; {name} is not here")
    assert (found.about["rollouts"], found.about["returns"]) == (False, [])
    assert len(found.inputs["observation"]) == 32
    assert name in capsys.readouterr().out


def test_optional_environment_that_breaks_is_no_excuse(observe: Callable[..., Observed], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    with pytest.raises(errors.ObservationsNotFinite):
        observe(tiny, environment(WALK, kwargs={"bad": 1}, optional=True))


# --- golden vectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["ppo_discrete", "ppo_normalized", "maskableppo_choices", "td3_of_index", "sac_box"])
def test_golden_answers_belong_to_golden_inputs(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], case: str
) -> None:
    tiny = made(case)
    found = observe(tiny)
    inputs = found.golden()
    assert set(inputs) == {entry["name"] for entry in found.contract["takes"]}
    assert {len(values) for values in inputs.values()} == {observing.GOLDEN}
    np.testing.assert_array_equal(found.about["golden"]["outputs"]["action"], tiny.predict(inputs))
    for name, values in inputs.items():
        rows = {row.tobytes() for row in found.inputs[name][:24]}
        assert {row.tobytes() for row in values} <= rows, "edges are no examples"


@pytest.mark.parametrize("case", ["ppo_of_image", "dqn_stacked_images", "maskableppo_of_several"])
def test_golden_images_stay_legible(made: Callable[[str], Tiny], observe: Callable[..., Observed], case: str) -> None:
    found = observe(made(case))
    inputs = found.golden()
    assert {len(values) for values in inputs.values()} == {1}
    np.testing.assert_array_equal(found.about["golden"]["outputs"]["action"], made(case).predict(inputs))


def test_golden_vectors_answer_the_observations_as_they_are_written(
    observe: Callable[..., Observed], tmp_path: Path
) -> None:
    tiny = Case("PPO", spaces.Box(-np.inf, np.inf, (3,), np.float64), LOPSIDED, normalize=True).save(tmp_path)
    world = environment(STILL, kwargs={"mean": 1e8, "dtype": "float64"})
    far = statistics(tiny.plain_venv())
    far.obs_rms.mean[:], far.obs_rms.var[:] = 1e8, 1.0
    far.save(str(tiny.pkl))
    golden = observe(tiny, world, edges=0).about["golden"]
    written = np.float32(golden["inputs"]["observation"])
    np.testing.assert_allclose(golden["outputs"]["action"], tiny.predict({"observation": written}), atol=1e-6)
