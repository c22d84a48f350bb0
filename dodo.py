"""Slipway's tasks. ``./doit`` builds every agent of ``configs/``, ``./doit list`` shows the map of the chain."""

from collections.abc import Iterator

from pipeline import commands, programs, receiving, releasing, tasks, told, warm
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


def task_bundles() -> Iterator[Task]:
    """Pack what passed, check what others packed, sign."""
    yield from releasing.for_bundles(AGENTS, ARTIFACTS)
    yield {"basename": "verify", **receiving.for_verifying(AGENTS, ARTIFACTS)}
    yield {"basename": "sign", **releasing.for_signing()}


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


def task_programs() -> Iterator[Task]:
    """tests, lint, benchmarks, pages that are made"""
    yield from programs.every()
