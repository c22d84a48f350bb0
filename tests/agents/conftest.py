"""Tiny agents of every family, and the tripwire that proves that nothing was executed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import contract as contracts
from pipeline.agents import jobs

from .cases import CASES
from .making import Tiny, members, repack, serialized
from .observed import observe  # noqa: F401
from .tripwires import Tripwire

ZOO = Path(__file__).resolve().parents[2].parent / "shared" / "zoo"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Tiny agents by the name of their case, each saved once."""
    saved: dict[str, Tiny] = {}

    def make(name: str) -> Tiny:
        if name not in saved:
            saved[name] = CASES[name].save(tmp_path_factory.mktemp(name))
        return saved[name]

    return make


@pytest.fixture(scope="session", params=CASES)
def a_tiny_agent(request: pytest.FixtureRequest, made: Callable[[str], Tiny]) -> Tiny:
    return made(request.param)


@pytest.fixture(scope="session")
def a_tiny_ppo_agent(made: Callable[[str], Tiny]) -> Tiny:
    return made("ppo_normalized")


@pytest.fixture(scope="module")
def content(a_tiny_ppo_agent: Tiny) -> dict[str, bytes]:
    """The members of an honest archive."""
    return members(a_tiny_ppo_agent.zip)


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    """Where a test writes its archive."""
    return tmp_path / "agent.zip"


@pytest.fixture
def forge(made: Callable[[str], Tiny], tmp_path: Path) -> Callable[..., Path]:
    """The archive of a tiny agent with other fields, as values to pickle; ``case`` names the agent."""

    def make(case: str = "ppo_box", **fields: Any) -> Path:
        return repack(made(case).zip, tmp_path / "agent.zip", **{k: serialized(v) for k, v in fields.items()})

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Reads a tiny agent -> its ``sb3`` artifact and contract."""

    def make(tiny: Tiny, **fields: Any) -> tuple[Path, dict[str, Any]]:
        target = tmp_path / "sb3"
        target.mkdir(exist_ok=True)
        opened = {"algorithm": "", "images": tiny.images, "trust": False, "import_allowed": []}
        opened |= {name: fields.pop(name) for name in list(fields) if name in opened}
        held = {"agent": "tiny", "zip": str(tiny.zip), "vecnormalize": str(tiny.pkl or "none"), "outputs": []}
        jobs.read(target, {**held, "stochastic": False, "frame_stack": tiny.frames, "opened": opened, **fields})
        return target, contracts.load(target)

    return make


_TRIPWIRE = Tripwire()


@pytest.fixture(scope="session")
def tripwire(made: Callable[[str], Tiny]) -> Tripwire:
    """``with tripwire.set(file):`` opens nothing but the file, and runs, imports and compiles nothing."""
    from pipeline.agents import archive

    archive.read(made("ppo_normalized").zip)  # imports what reading needs
    b"x".decode("raw-unicode-escape")
    sys.addaudithook(_TRIPWIRE)
    return _TRIPWIRE


@pytest.fixture
def marker() -> Iterator[Path]:
    """A file that only executed code makes; its path has no blanks or quotes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "marker"


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Public archives beside this clone."""
    if not ZOO.is_dir():
        pytest.skip("the folder shared/zoo with public archives is not beside this clone")
    return ZOO
