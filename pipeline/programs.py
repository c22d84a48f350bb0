"""The tasks of whoever works on Slipway: programs that run in the toolchain ``test``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from doit.exceptions import TaskFailed

from pipeline import toolchains
from pipeline.tasks import ROOT, Task

LINT = (("-m", "ruff", "check", "."), ("-m", "ruff", "format", "--check", "."), ("-m", "mypy"))
LONG = ("--hypothesis-profile=long", "--timeout=0")
PROGRAMS = (  # name, what runs, the toolchains before, what it is
    ("test", (("-m", "pytest"),), "toolchains", "run the tests; arguments after -- go to pytest"),
    ("matrix", (("tests/matrix.py",),), "toolchains",
     "an agent of every family through every hop: docs/support-matrix, anew; takes half an hour; or those of a WORD"),
    ("properties", (("-m", "pytest", "tests/test_properties.py", *LONG),), "toolchains",
     "agents drawn at random, held to predict in every target; arguments after -- go to pytest"),
    ("fuzz", (("-m", "pytest", "tests/fuzz", *LONG),), "toolchains:test",
     "configs, archives, contracts, manifests and command lines of any content; arguments after -- go to pytest"),
    ("catalogue", (("tests/errors_page.py",),), "toolchains:test", "write docs/errors.md anew from tests/catalogue"),
    ("lint", LINT, "toolchains:test", "ruff and mypy"),
)  # fmt: skip
BENCHMARKS = {
    "chain": "fresh clone to built, nothing to do, peak memory",
    "quantization": "what integers keep of public agents' return, beside SB3's Coral example; or of a FOLDER's",
    "deciding": "how long a decision takes in every runtime, beside SB3's predict",
    "fleet": "a folder of agents: wall, CPU and memory, beside the conversions alone and the documented recipe",
    "scaling": "1 to 100 agents: what a further one costs, and what nothing to do costs beside doit itself",
    "setup": "the environments from an empty cache and from a full one, beside pip; downloads all of them",
    "kills": "./doit is killed 350 times while it builds; or a SHARE of that",
    "coral": "how long a decision takes, by a network's width and depth, beside SB3's predict",
}


def every() -> Iterator[Task]:
    """A task for each."""
    for name, calls, after, doc in PROGRAMS:
        yield {"basename": name, **_task(doc, calls, after)}
    yield {"basename": "bench", "name": None, "doc": "figures, each beside its baseline from the same run"}
    for name, doc in BENCHMARKS.items():
        yield {"basename": "bench", "name": name, **_task(doc, ((f"benchmarks/{name}.py",),), "toolchains")}


def _task(doc: str, calls: tuple[tuple[str, ...], ...], after: str) -> Task:
    """Runs Python programs one after the other; output and further arguments are passed through."""

    def run(pos: list[str]) -> TaskFailed | None:
        for call in calls:
            done = subprocess.run([toolchains.python("test"), *call, *pos], cwd=ROOT, env=toolchains.environment())
            if done.returncode:
                return TaskFailed(f"{' '.join(call)} ended with {done.returncode}")
        return None

    return {
        "doc": doc,
        "actions": [run],
        "pos_arg": "pos",
        "uptodate": [False],
        "task_dep": [after],
        "verbosity": 2,
        "meta": {"agent": "", "step": ""},
    }
