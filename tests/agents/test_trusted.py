"""Archives with code of their own: trusted and opened by SB3, or read without a line of it by what the config allows."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from pipeline import errors
from pipeline.agents import archive, jobs, policies, trusted

from .conftest import Tripwire
from .forging import EXECUTING, kwargs, nest, short
from .making import Case, Tiny, repack, serialized, told, write_zip
from .stubs import FLAT, FOUR
from .test_exported import assert_near, made_of, run

INSTALLED = """
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class Squared(nn.Module):
    def forward(self, x):
        return x * x


class Widened(BaseFeaturesExtractor):
    def __init__(self, observation_space, units=5, marker="", activation=nn.Tanh):
        super().__init__(observation_space, features_dim=int(units))
        self.net = nn.Sequential(nn.Linear(observation_space.shape[0], units), activation())
        if marker:
            open(marker, "w").close()

    def forward(self, seen):
        return self.net(seen) * 2
"""


def by_value() -> type[BaseFeaturesExtractor]:
    """A class that cloudpickle can only pickle by value, code and all, as those of a notebook."""

    class Widened(BaseFeaturesExtractor):
        def __init__(self, observation_space: spaces.Box, units: int = 5, marker: str = "") -> None:
            super().__init__(observation_space, features_dim=units)
            self.net = nn.Sequential(nn.Linear(observation_space.shape[0], units), nn.Tanh())
            if marker:
                Path(marker).touch()

        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            return self.net(seen) * 2

    return Widened


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of the user's own, which can be imported."""
    (tmp_path / "somebodys_extractors.py").write_text(INSTALLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    import somebodys_extractors

    yield somebodys_extractors
    del sys.modules["somebodys_extractors"]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Tiny]:
    """A tiny agent with a features extractor of its own."""

    def make(extractor: type, **arguments: Any) -> Tiny:
        given = {"features_extractor_class": extractor, "features_extractor_kwargs": arguments}
        (tmp_path / "saved").mkdir(exist_ok=True)
        return Case("PPO", FLAT, FOUR, kwargs=given, normalize=True).save(tmp_path / "saved")

    return make


def refusal(error: type[errors.SlipwayError], act: Callable[[], object]) -> str:
    with pytest.raises(errors.SlipwayError) as refused:
        act()
    assert type(refused.value) is error, refused.value
    return told(refused.value)


ALLOWED = ("somebodys_extractors:Widened",)


# --- trust = true ----------------------------------------------------------------------------------


def test_trusted_archive_is_opened_with_code_and_all(save: Callable[..., Tiny], marker: Path) -> None:
    tiny = save(by_value(), marker=str(marker))
    marker.unlink()
    opened, policy = trusted.read(tiny.zip, "")
    assert marker.exists(), "its extractor was made, so its code ran"
    assert type(policy.features_extractor).__name__ == "Widened"
    assert not policy.training
    assert (opened.algorithm, opened.version) == ("PPO", "opened by its own loader")
    assert opened.policy_class == "stable_baselines3.common.policies.ActorCriticPolicy"


def test_trust_is_told_in_the_log_and_in_the_contract(
    save: Callable[..., Tiny], read: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, contract = read(save(by_value()), trust=True)
    line = "trust = true: agent.zip is opened with SB3's own PPO.load, which runs the code in its pickles"
    assert line in capsys.readouterr().out
    assert contract["opened"]["trust"] is True
    assert contract["warnings"] == ["agent.zip was opened with SB3's own loader, which runs the code in its pickles"]


def test_trusted_agent_decides_as_sb3_and_so_does_its_export(
    save: Callable[..., Tiny], read: Callable[..., Any]
) -> None:
    tiny = save(by_value())
    target, contract = read(tiny, trust=True)
    reference = jobs.open_agent(target)
    seen = {"observation": np.stack([FLAT.sample() for _ in range(64)])}
    wanted = tiny.loaded.predict(tiny.normalized(seen["observation"]), deterministic=True)[0]
    assert len(set(wanted.tolist())) > 1
    np.testing.assert_array_equal(reference.predict(seen)[0], wanted)
    module = made_of(reference)
    assert_near(run(module, seen), reference.outputs(seen, module.outputs))
    assert [step["op"] for step in contract["prologue"]] == ["normalize"]


@pytest.mark.parametrize(
    "case",
    [
        *("ppo_of_several", "ppo_stacked_normalized", "recurrentppo_gsde", "maskableppo_choices", "ppo_gsde_squashed"),
        *("sac_box", "td3_of_image", "ddpg_box", "dqn_of_index", "qrdqn_discrete", "tqc_box", "crossq_small"),
        *("ars_linear", "ars_clipped", "trpo_switches", "a2c_box", "ppo_of_bit_table"),
    ],
)
def test_trusted_agent_is_the_one_that_is_read_without_trust(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    opened, policy = trusted.read(tiny.zip, "")
    wanted = archive.read(tiny.zip)
    for name in ("algorithm", "policy_class", "observation_space", "action_space"):
        assert getattr(opened, name) == getattr(wanted, name), name
    assert opened.weights.keys() == wanted.weights.keys()
    assert all(torch.equal(tensor, wanted.weights[name]) for name, tensor in opened.weights.items())
    assert not policy.training


def test_algorithm_of_a_trusted_archive_may_be_named_small(made: Callable[[str], Tiny]) -> None:
    assert trusted.read(made("a2c_box").zip, "a2c")[0].algorithm == "A2C"


@pytest.mark.parametrize("algorithm", ["PPPO", "os.system", "BaseAlgorithm", "VecEnv", "HER"])
def test_unknown_algorithm_is_refused_before_anything_runs(
    made: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setattr("stable_baselines3.PPO.load", None)
    text = refusal(errors.UnknownAlgorithm, lambda: trusted.read(made("ppo_box").zip, algorithm))
    assert f"algorithm '{algorithm}' is unknown. Expected PPO, A2C, TRPO" in text


def test_archive_that_does_not_tell_its_algorithm_needs_the_config(
    made: Callable[[str], Tiny], tmp_path: Path, marker: Path
) -> None:
    forged = EXECUTING["os.system"].replace(b"MARKER", str(marker).encode())
    path = repack(made("ppo_box").zip, tmp_path / "agent.zip", policy_class=serialized(forged))
    text = refusal(errors.UnknownAlgorithm, lambda: trusted.read(path, ""))
    assert "the archive does not tell its algorithm (policy_class: the pickle refers to os.system" in text
    assert "Set algorithm in the config" in text
    assert not marker.exists()


@pytest.mark.parametrize("broken", ["cut", "other", "empty", "gone"])
def test_trusted_file_that_is_no_agent_is_told(made: Callable[[str], Tiny], tmp_path: Path, broken: str) -> None:
    path = tmp_path / "agent.zip"
    if broken == "cut":
        path.write_bytes(made("ppo_box").zip.read_bytes()[:-50])
    elif broken == "other":
        write_zip(path, {"readme.txt": b"no agent"})
    elif broken == "empty":
        path.touch()
    text = refusal(errors.NotAnAgent, lambda: trusted.read(path, "PPO"))
    assert "SB3's own loader refuses it (" in text
    assert "Give the package versions that it was saved with" in text


def test_trusted_archive_of_another_algorithm_is_told(made: Callable[[str], Tiny]) -> None:
    text = refusal(errors.NotAnAgent, lambda: trusted.read(made("sac_box").zip, "PPO"))
    assert "SB3's own loader refuses it" in text


def test_trusted_weights_must_be_finite(tmp_path: Path) -> None:
    tiny = Case("PPO").save(tmp_path)
    with torch.no_grad():
        tiny.loaded.policy.action_net.weight[0, 3] = float("nan")
    tiny.loaded.save(tiny.zip)
    assert "1 of 128 numbers in action_net.weight are NaN" in refusal(
        errors.WeightsNotFinite, lambda: trusted.read(tiny.zip, "")
    )


# --- without trust ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"units": 7}])
def test_code_of_an_extractor_is_refused_unexecuted(
    save: Callable[..., Tiny], tripwire: Tripwire, marker: Path, arguments: dict[str, Any]
) -> None:
    tiny = save(by_value(), marker=str(marker), **arguments)
    marker.unlink()
    with tripwire.set(tiny.zip):
        text = refusal(errors.PickleRefused, lambda: archive.read(tiny.zip))
    assert tripwire.events == []
    assert not marker.exists()
    assert "policy_kwargs holds the features extractor Widened by value" in text
    assert "Nothing was executed" in text
    assert 'import_allowed = ["package.module:Widened"]' in text


def test_extractor_by_name_is_refused_with_what_to_set(save: Callable[..., Tiny], installed: ModuleType) -> None:
    text = refusal(errors.PickleRefused, lambda: archive.read(save(installed.Widened).zip))
    assert "policy_kwargs holds the features extractor Widened by name" in text
    assert 'import_allowed = ["somebodys_extractors:Widened"]' in text


# --- import_allowed --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["by name", "by value"])
def test_allowed_extractor_is_the_installed_one(
    save: Callable[..., Tiny], installed: ModuleType, marker: Path, how: str
) -> None:
    tiny = save(installed.Widened if how == "by name" else by_value(), units=7)
    found = policies.rebuild(archive.read(tiny.zip, lenient=True), ALLOWED)
    assert type(found.features_extractor) is installed.Widened
    wanted = tiny.loaded.policy.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("how", ["by name", "by value"])
def test_agent_with_an_allowed_extractor_decides_as_sb3(
    save: Callable[..., Tiny], installed: ModuleType, read: Callable[..., Any], how: str
) -> None:
    tiny = save(installed.Widened if how == "by name" else by_value())
    target, contract = read(tiny, import_allowed=list(ALLOWED))
    reference = jobs.open_agent(target)
    seen = {"observation": np.stack([FLAT.sample() for _ in range(64)])}
    wanted = tiny.loaded.predict(tiny.normalized(seen["observation"]), deterministic=True)[0]
    assert len(set(wanted.tolist())) > 1
    np.testing.assert_array_equal(reference.predict(seen)[0], wanted)
    assert_near(run(made_of(reference), seen), {"action": wanted})
    assert contract["opened"]["import_allowed"] == list(ALLOWED)
    assert contract["warnings"] == []


def test_reading_what_is_allowed_executes_nothing_of_the_archive(
    save: Callable[..., Tiny], installed: ModuleType, tripwire: Tripwire, marker: Path
) -> None:
    tiny = save(by_value(), marker=str(marker))
    marker.unlink()
    with tripwire.set(tiny.zip):
        opened = archive.read(tiny.zip, lenient=True)
    assert tripwire.events == []
    assert not marker.exists()
    policies.rebuild(opened, ALLOWED)
    assert marker.exists(), "the installed class was made with the arguments of the archive"


@pytest.mark.parametrize(
    "allowed", ["somebodys_extractors:Other", "other_module:Widened", "somebodys_extractors.Widened:Widened"]
)
def test_extractor_by_name_that_is_not_listed_is_refused(
    save: Callable[..., Tiny], installed: ModuleType, allowed: str
) -> None:
    opened = archive.read(save(installed.Widened).zip, lenient=True)
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(opened, (allowed,)))
    assert "policy_kwargs holds the features extractor Widened" in text
    assert 'import_allowed = ["somebodys_extractors:Widened"]' in text


def test_extractor_by_value_that_is_not_listed_is_refused(save: Callable[..., Tiny], installed: ModuleType) -> None:
    opened = archive.read(save(by_value()).zip, lenient=True)
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(opened, ("somebodys_extractors:Other",)))
    assert 'import_allowed = ["package.module:Widened"]' in text


@pytest.mark.parametrize("allowed", ["no_such_package.extractors:Widened", "math:Widened"])
def test_allowed_extractor_that_is_not_installed_is_told(save: Callable[..., Tiny], allowed: str) -> None:
    opened = archive.read(save(by_value()).zip, lenient=True)
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(opened, (allowed,)))
    assert f"{allowed} cannot be imported" in text
    assert "Install its package where Slipway imports it" in text


def test_allowed_module_that_breaks_is_told(
    save: Callable[..., Tiny], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_extractors.py").write_text("raise RuntimeError('no licence here')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = archive.read(save(by_value()).zip, lenient=True)
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(opened, ("broken_extractors:Widened",)))
    assert "broken_extractors:Widened cannot be imported: no licence here" in text


# --- arguments of an extractor ---------------------------------------------------------------------


def test_extractor_may_be_given_an_activation(save: Callable[..., Tiny], installed: ModuleType) -> None:
    tiny = save(installed.Widened, activation=nn.ELU)
    found = policies.rebuild(archive.read(tiny.zip, lenient=True), ALLOWED)
    assert type(found.features_extractor.net[1]) is nn.ELU


def test_extractor_may_be_given_what_is_allowed_too(save: Callable[..., Tiny], installed: ModuleType) -> None:
    tiny = save(installed.Widened, activation=installed.Squared)
    opened = archive.read(tiny.zip, lenient=True)
    found = policies.rebuild(opened, (*ALLOWED, "somebodys_extractors:Squared"))
    assert type(found.features_extractor.net[1]) is installed.Squared
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(opened, ALLOWED))
    assert "policy_kwargs.features_extractor_kwargs.activation is somebodys_extractors.Squared" in text
    assert 'import_allowed = [..., "somebodys_extractors:Squared"]' in text


@pytest.mark.parametrize("value", [b"cos\nsystem\n", b"ctorch.nn.functional\nrelu\n", b"cnumpy\ndtype\n"])
def test_extractor_is_given_nothing_that_is_not_allowed(
    save: Callable[..., Tiny], installed: ModuleType, tmp_path: Path, value: bytes
) -> None:
    named = b"csomebodys_extractors\nWidened\n"
    given = b"}" + short("features_extractor_class") + named + b"s"
    given += short("features_extractor_kwargs") + b"}" + short("activation") + value + b"ss"
    path = repack(
        save(installed.Widened).zip, tmp_path / "forged.zip", policy_kwargs=serialized(b"\x80\x04" + given + b".")
    )
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(archive.read(path, lenient=True), ALLOWED))
    assert "policy_kwargs.features_extractor_kwargs.activation is" in text


def test_argument_that_is_an_object_is_refused(save: Callable[..., Tiny], installed: ModuleType) -> None:
    tiny = save(installed.Widened, units=np.array(5))
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(archive.read(tiny.zip, lenient=True), ALLOWED))
    assert "policy_kwargs.features_extractor_kwargs.units is a _frombuffer, which is not supported" in text


def test_installed_extractor_of_another_shape_does_not_take_the_weights(
    save: Callable[..., Tiny], installed: ModuleType
) -> None:
    opened = archive.read(save(installed.Widened).zip, lenient=True)
    other = {**opened.policy_kwargs, "features_extractor_kwargs": {"units": 6}}
    text = refusal(
        errors.WeightsUnfit, lambda: policies.rebuild(dataclasses.replace(opened, policy_kwargs=other), ALLOWED)
    )
    assert "does not fit" in text


def test_sb3s_own_policies_are_read_alike_where_something_is_allowed(a_tiny_agent: Tiny) -> None:
    found = policies.rebuild(archive.read(a_tiny_agent.zip, lenient=True), ALLOWED).state_dict()
    wanted = a_tiny_agent.reference.policy.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


@pytest.mark.parametrize("attack", EXECUTING)
@pytest.mark.parametrize("key", ["features_extractor_class", "activation_fn", "net_arch"])
def test_hostile_kwargs_execute_nothing_though_something_is_allowed(
    made: Callable[[str], Tiny], tmp_path: Path, tripwire: Tripwire, marker: Path, attack: str, key: str
) -> None:
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode()).removesuffix(b".")
    path = repack(made("ppo_box").zip, tmp_path / "agent.zip", policy_kwargs=serialized(kwargs(key, _bare(forged))))
    before = set(sys.modules)
    with tripwire.set(path):
        try:
            opened = archive.read(path, lenient=True)
        except errors.SlipwayError:
            opened = None
    assert tripwire.events == []
    if opened is not None:
        with pytest.raises(errors.SlipwayError):
            policies.rebuild(opened, ALLOWED)
    assert not marker.exists()
    assert not (set(sys.modules) - before) & {"antigravity", "pty", "runpy", "webbrowser", "cProfile", "pdb", "doctest"}


def _bare(pickled: bytes) -> bytes:
    """Without its protocol, to stand within another."""
    return pickled[2:] if pickled[:1] == b"\x80" else pickled


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "subprocess:check_output", "somebodys_extractors:by_accident"]
)
def test_only_an_extractor_can_be_allowed(made: Callable[[str], Tiny], forge: Callable[..., Path], name: str) -> None:
    """What the config names is imported, and made a layer of: a function is refused when it is not one."""
    module, _, function = name.partition(":")
    path = forge(policy_kwargs=kwargs("features_extractor_class", f"c{module}\n{function}\n".encode()))
    refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(archive.read(path, lenient=True), (name,)))


def test_nested_name_of_an_extractor_is_refused_at_once(forge: Callable[..., Path]) -> None:
    skeleton = b"ccloudpickle.cloudpickle\n_make_skeleton_class\n(" + short("x") + nest(21) + b"tR"
    path = forge(policy_kwargs=kwargs("features_extractor_class", skeleton))
    text = refusal(errors.UnsupportedPolicy, lambda: policies.rebuild(archive.read(path, lenient=True), ALLOWED))
    assert len(text) < 600
