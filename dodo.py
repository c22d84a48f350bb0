"""Slipway's tasks. ``./doit`` builds every agent of ``configs/``, ``./doit list`` shows the map of the chain."""

import sys
from collections.abc import Iterator

from pipeline import commands, receiving, releasing, tasks, told, warm
from pipeline.reporter import Reporter
from pipeline.tasks import Task

warm.stop_on_signals()
told.limit_memory()
told.use_cluster()
CONFIGS, ARTIFACTS = told.settings()
BASELINE = told.baseline()
AGENTS, REFUSED = tasks.load(CONFIGS, ARTIFACTS)
SPARED = tasks.spared(AGENTS, ARTIFACTS, BASELINE)
Reporter.root, Reporter.agents, Reporter.refused = ARTIFACTS, AGENTS, [name for name, _ in REFUSED]
Reporter.survey, Reporter.baseline = bool(told.surveyed()), BASELINE
Reporter.cache = told.cache()

DOIT_CONFIG = {
    "default_tasks": [agent.name for agent in AGENTS] + [task["basename"] for task in tasks.for_refused(REFUSED)],
    "backend": "sqlite3",
    "dep_file": ":memory:",  # the manifests say what is up to date; doit forgets everything when killed
    "continue": True,
    "num_process": tasks.CORES,
    "par_type": "thread",
    "reporter": Reporter,
    "sort": "definition",
}


def task_agents() -> Iterator[Task]:
    """Every agent with its steps."""
    yield from tasks.for_agents(AGENTS, ARTIFACTS, BASELINE, SPARED)
    yield from tasks.for_refused(REFUSED)


def task_kinds() -> Iterator[Task]:
    """Every kind of artifact, for all agents."""
    yield from tasks.for_kinds([agent for agent in AGENTS if agent.name not in SPARED], BASELINE)


def task_inspect() -> Task:
    """Show an archive."""
    return commands.about_files(
        "what an archive is, without running it: ./doit inspect FILE… [--json]", commands.inspect
    )


def task_coral() -> Task:
    """Predict what a Coral will run."""
    doc = "what the Edge TPU compiler will map of a .tflite file, without it: ./doit coral FILE… [--json]"
    return commands.about_files(doc, commands.coral) | {"task_dep": ["toolchains:device"]}


def task_cache() -> Task:
    """What is in the cache."""

    def act(arguments: list[str]) -> bool:
        return commands.cached(arguments, told.cache())

    return commands.about_files("how large the cache is: ./doit cache [check|prune]", act)


def task_new() -> Task:
    """Begin a config."""

    def act(arguments: list[str]) -> bool:
        return commands.draft(arguments, CONFIGS)

    return commands.about_files("write the config of an archive that you have: ./doit new FILE [NAME]", act)


def task_bundle() -> Iterator[Task]:
    """Pack what passed."""
    yield from releasing.for_bundles(AGENTS, ARTIFACTS, sys.argv[1:])


def task_verify() -> Task:
    """Check a bundle."""
    return receiving.for_verifying(AGENTS, ARTIFACTS)


def task_sign() -> Task:
    """Sign a bundle."""
    return releasing.for_signing()


def task_train() -> Iterator[Task]:
    """train an agent anew by the recipe in its config"""
    yield from tasks.for_training(AGENTS, ARTIFACTS)


def task_toolchains() -> Iterator[Task]:
    """the environments that the steps run in, from the locks in requirements/"""
    yield from tasks.for_toolchains()


def task_cluster() -> Iterator[Task]:
    """other machines that do the steps"""
    yield from commands.for_cluster()


def task_nightly() -> Task:
    """Rebuild everything and compare."""
    return commands.for_nights(AGENTS, CONFIGS)


def task_test() -> Task:
    """Run the tests."""
    calls = [["-m", "pytest"]]
    return commands.program("run the tests; arguments after -- go to pytest", calls, after=("toolchains",))


def task_matrix() -> Task:
    """Fill the support matrix."""
    doc = (
        "an agent of every family through every hop: docs/support-matrix, anew; takes half an hour; or those of a WORD"
    )
    return commands.program(doc, [["tests/matrix.py"]], after=("toolchains",))


def task_properties() -> Task:
    """Search for an agent that is not built as it should be."""
    doc = "agents drawn at random, held to predict in every target; arguments after -- go to pytest"
    calls = [["-m", "pytest", "tests/test_properties.py", "--hypothesis-profile=long", "--timeout=0"]]
    return commands.program(doc, calls, after=("toolchains",))


def task_fuzz() -> Task:
    """Search for input that Slipway has no answer to."""
    doc = "configs, archives, contracts, manifests and command lines of any content; arguments after -- go to pytest"
    calls = [["-m", "pytest", "tests/fuzz", "--hypothesis-profile=long", "--timeout=0"]]
    return commands.program(doc, calls, after=("toolchains:test",))


def task_catalogue() -> Task:
    """Write the page of errors."""
    doc = "write docs/errors.md anew from tests/catalogue"
    return commands.program(doc, [["tests/errors_page.py"]], after=("toolchains:test",))


def task_lint() -> Task:
    """Check style and types."""
    calls = [["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."], ["-m", "mypy"]]
    return commands.program("ruff and mypy", calls, after=("toolchains:test",))


def task_bench() -> Iterator[Task]:
    """figures, each beside its baseline from the same run"""
    for name, doc in (
        ("chain", "fresh clone to built, nothing to do, peak memory"),
        ("quantization", "what integers keep of public agents' return, beside SB3's Coral example; or of a FOLDER's"),
        ("deciding", "how long a decision takes in every runtime, beside SB3's predict"),
        ("fleet", "a folder of agents: wall, CPU and memory, beside the conversions alone and the documented recipe"),
        ("scaling", "1 to 100 agents: what a further one costs, and what nothing to do costs beside doit itself"),
        ("setup", "the environments from an empty cache and from a full one, beside pip; downloads all of them"),
        ("kills", "./doit is killed 350 times while it builds; or a SHARE of that"),
        ("coral", "how long a decision takes, by a network's width and depth, beside SB3's predict"),
    ):
        yield {"name": name, **commands.program(doc, [[f"benchmarks/{name}.py"]], after=("toolchains",))}
