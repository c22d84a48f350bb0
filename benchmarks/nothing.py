"""What doit itself needs for as many tasks: a dodo.py with ./doit's own tasks by name and dependency, which do nothing.

    HOST_PYTHON -m benchmarks.nothing CONFIGS ARTIFACTS TARGET

writes ``TARGET/dodo.py`` and ``TARGET/tasks.json``, and prints how many tasks a run goes through. All of them are up to
date by ``uptodate: [True]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline import config, tasks
from pipeline.hops import KINDS

DODO = '''"""As many tasks as ./doit has for these agents, which do nothing."""

import json
from pathlib import Path

TOLD = json.loads(Path(__file__).with_name("tasks.json").read_text())
DOIT_CONFIG = {
    "default_tasks": TOLD["default"], "backend": "sqlite3", "dep_file": ":memory:", "continue": True,
    "num_process": TOLD["processes"], "par_type": "thread", "sort": "definition",
}


def nothing():
    pass


def task_all():
    for name, sub, acts, after in TOLD["tasks"]:
        task = {"basename": name, "actions": [nothing] if acts else None, "task_dep": after}
        yield task | ({"uptodate": [True]} if acts else {}) | ({} if sub == "" else {"name": sub})
'''


def main(arguments: list[str]) -> None:
    configs, artifacts, target = map(Path, arguments)
    agents = [config.load(path, KINDS) for path in config.paths(configs)]
    every = [
        *tasks.for_agents(agents, artifacts, baseline=False, spared=set()),
        *tasks.for_kinds(agents, baseline=False),
        *tasks.for_toolchains(),
    ]
    rows = [
        (task["basename"], task.get("name", ""), bool(task.get("actions")), task.get("task_dep", [])) for task in every
    ]
    target.mkdir(parents=True)
    told = {"default": [agent.name for agent in agents], "processes": tasks.CORES, "tasks": rows}
    (target / "tasks.json").write_text(json.dumps(told), encoding="utf-8")
    (target / "dodo.py").write_text(DODO, encoding="utf-8")
    print(sum(acts for name, _, acts, _ in rows if name in told["default"]))


if __name__ == "__main__":
    main(sys.argv[1:])
