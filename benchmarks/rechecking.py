"""Every check of an artifacts folder once more, to learn what checks take: they run inside doit's own process.

    HOST_PYTHON -m benchmarks.rechecking FLEET ARTIFACTS

prints JSON: CPU seconds by step. FLEET is ``folder=…`` or ``configs=…``, as ./doit takes it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from benchmarks import fleets
from pipeline import checks, errors, steps


def main(arguments: list[str]) -> None:
    root, found = Path(arguments[1]), {}
    assert checks  # imports numpy, which the first check would
    for agent in fleets.agents(arguments[0], root):
        for step in steps.steps(agent, root):
            if step.name.endswith(":check"):
                begun = time.process_time()
                with contextlib.suppress(errors.SlipwayError, OSError, ValueError):
                    step.act()
                found[f"{agent.name}:{step.name}"] = time.process_time() - begun
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
