"""The config of a bundle says what the config says, and nothing of the machine."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config
from pipeline.bundles import portable
from pipeline.hops import KINDS
from running import ROOT

VALUE = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab .\"'é-", min_size=1, max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(stated=st.dictionaries(st.text('abc_-. "', min_size=1, max_size=5), VALUE, max_size=5))
def test_toml_that_is_written_is_read_as_the_same(stated: dict) -> None:
    assert tomllib.loads(portable.dump(stated)) == stated


@pytest.mark.parametrize("name", ["cartpole_a2c", "cartpole_ppo", "pendulum_sac"])
def test_config_with_files_put_back_is_the_same_config(name: str, tmp_path: Path) -> None:
    agent = config.load(ROOT / "configs" / f"{name}.toml", KINDS)
    text = portable.text(agent)
    assert str(ROOT) not in text
    located = portable.located(tomllib.loads(text), {"zip": agent.zip, "vecnormalize": agent.vecnormalize})
    (tmp_path / f"{name}.toml").write_text(portable.dump(located))
    again = config.load(tmp_path / f"{name}.toml", KINDS)
    if agent.zip:
        assert portable.text(again) == text
    assert dataclasses.replace(again, config=agent.config) == agent


def test_config_does_not_depend_on_where_it_lies_or_how_it_is_written(tmp_path: Path) -> None:
    texts = []
    for place, text in (
        ("one", 'zip = "agents/x.zip"\nvecnormalize = "none"\nstochastic = true\n[observations]\nfile = "seen.npz"\n'),
        ("two/three", '# other\nstochastic=true\nvecnormalize = "none"\nzip = "x.zip"\nimages = "channel-last"\nobservations.file = "../seen.npz"\n'),
    ):  # fmt: skip
        folder = tmp_path / place
        (folder / "agents").mkdir(parents=True)
        for file in (folder / "agents" / "x.zip", folder / "x.zip", folder / "seen.npz", folder.parent / "seen.npz"):
            file.touch()
        (folder / "tiny.toml").write_text(text)
        texts.append(portable.text(config.load(folder / "tiny.toml", KINDS)))
    assert texts[0] == texts[1]
    assert tomllib.loads(texts[0]) == {
        "zip": "agent.zip", "vecnormalize": "none", "stochastic": True, "observations": {"file": "observations.npz"},
    }  # fmt: skip


def test_keys_that_could_run_code_are_told() -> None:
    told = {
        "trust": True,
        "images": "channel-first",
        "environment": {"id": "evil:Env-v0", "imports": ["evil"], "frame_stack": 4},
        "edgetpu": {"command": ["rm"]},
    }
    assert set(portable.running(told)) == {"trust", "environment.id", "environment.imports", "edgetpu"}
    assert not portable.running({"environment": {"id": "CartPole-v1"}, "trust": False})
