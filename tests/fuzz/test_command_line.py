"""The command line: settings of any value, in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from doit import doit_cmd
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config, errors, folder, places, processes, told
from pipeline.cluster import asking

from .watching import SCALARS, often, soon

NAMES = st.one_of(st.sampled_from(told.SETTINGS), st.text(max_size=8))
WORDS = st.one_of(
    st.sampled_from(
        ["", "-", "--", "-n", "list", "help", "run", "inspect", "onnx", "cartpole_ppo:onnx", "=", "=x", "a=b"]
    ),
    st.builds("{}={}".format, NAMES, SCALARS),
    st.text(max_size=12),
)


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is written to modules."""
    monkeypatch.setattr(processes, "MEMORY", processes.MEMORY)
    monkeypatch.setattr(asking, "CLUSTER", None)
    monkeypatch.delenv("SLIPWAY_CACHE", raising=False)


@often(100, 5000)
@given(arguments=st.lists(WORDS, max_size=6))
def test_command_line_is_understood_or_refused(arguments: list[str]) -> None:
    with soon():
        try:
            settings, others = told.parted(arguments)
            doit_cmd.reset_vars()
            for name, value in settings.items():
                doit_cmd.set_var(name, value)
            told.limit_memory()
            told.use_cluster()
            configs, _ = told.settings()
            told.baseline()
            told.cache()
            told.use_of_steps(others, {"cartpole_ppo"}, ("inspect",))
            with tempfile.TemporaryDirectory() as empty:
                config.paths(configs) or config.none_in(configs)
                folder.scan(Path(empty) / places.of_user(told.surveyed().lstrip("/.")), Path(empty))
        except SystemExit as ended:
            assert ended.code == errors.REFUSED
    doit_cmd.reset_vars()
