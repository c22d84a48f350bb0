"""How long the environments take, from an empty cache and from a full one, beside pip and one of the locks.

    ./doit bench:setup [TOOLCHAIN…]

In a temporary clone (of the last commit), into an environment folder and caches of its own: ``./doit toolchains`` with
empty caches of pip, uv and npm, then once more with the caches that it left, as after a changed lock. Then the same for
the baseline, plain ``pip install`` of TensorFlow's lock into a new venv. Where toolchains are named, only those are
made, and the baseline is the lock of the first. Nothing of the user's own caches is read or written, so from an empty
cache the network is measured too.

Writes ``docs/benchmarks/setup.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measuring, setup_page, watching
from benchmarks.measuring import ROOT, Goal, Job
from pipeline import toolchains

BASELINE = "tensorflow"  # whose lock pip installs
FULL, WAIT = "full", 60.0  # seconds to reach for all environments from full caches
BEGINS = re.compile(r"^\s*([\d.]+) s\s+\S+\s+toolchains:(\w+)", re.MULTILINE)


def environment(work: Path) -> dict[str, str]:
    """The caller's variables, with places of our own; the caller's settings of pip's index stay."""
    places = {"SLIPWAY_TOOLCHAINS": work / "toolchains", "UV_CACHE_DIR": work / "cache" / "uv"}
    places |= {"PIP_CACHE_DIR": work / "cache" / "pip", "npm_config_cache": work / "cache" / "npm"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SLIPWAY", "VIRTUAL_ENV"))}
    return {**kept, **{key: str(path) for key, path in places.items()}}


def ours(work: Path, clone: Path, names: list[str]) -> Job:
    """./doit's environments, made anew in the caches that there are."""
    shutil.rmtree(work / "toolchains", ignore_errors=True)
    asked = [f"toolchains:{name}" for name in names] or ["toolchains"]
    took = watching.run([str(clone / "doit"), *asked], clone, environment(work))
    if took.code:
        sys.exit(f"./doit {' '.join(asked)} ended with {took.code}:\n{took.said[-3000:]}")
    return {**figures(took), "bytes": size(work / "toolchains"), "each": each(took.said)}


def each(said: str) -> dict[str, float]:
    """Seconds of each environment, of what ./doit printed."""
    return {name: float(seconds) for seconds, name in BEGINS.findall(said)}


def pip(work: Path, clone: Path, lock: str) -> Job:
    """The baseline: a venv, and its own pip on the lock as it is."""
    place = work / "venv"
    shutil.rmtree(place, ignore_errors=True)
    python = shutil.which("python3") or sys.executable
    script = f'"{python}" -m venv "{place}" && "{place}/bin/python" -m pip install -q -r "{clone / lock}"'
    took = watching.run(["sh", "-c", script], clone, environment(work))
    if took.code:
        sys.exit(f"pip install -r {lock} ended with {took.code}:\n{took.said[-3000:]}")
    return {**figures(took), "bytes": size(place)}


def figures(took: watching.Watched) -> Job:
    return {"seconds": took.seconds, "cpu": took.cpu, "peak": took.peak}


def size(place: Path) -> int:
    """Bytes of the files in a folder, each counted once however many names it has."""
    files = (path.lstat() for path in place.rglob("*") if not path.is_dir() or path.is_symlink())
    return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


def goals(found: dict[str, dict[str, Job]], all_of_them: bool) -> list[Goal]:
    """What is to be reached; nothing is judged where only some of the environments were made."""
    made, base = found["ours"], found["pip"]
    said = {key: f"{held['seconds']:.0f} s" for key, held in made.items()}
    against = {key: f"< {held['seconds']:.0f} s, pip's time for one of them" for key, held in base.items()}
    judged: dict[str, bool | None] = {key: made[key]["seconds"] < base[key]["seconds"] for key in made}
    soon = made[FULL]["seconds"] < WAIT
    if not all_of_them:
        judged, soon = dict.fromkeys(judged), None  # type: ignore[assignment]
    return [
        Goal("all environments, from a full cache", said[FULL], f"< {WAIT:.0f} s", soon),
        Goal("all environments, from a full cache", said[FULL], against[FULL], judged[FULL]),
        Goal("all environments, from an empty cache", said["empty"], against["empty"], judged["empty"]),
    ]


def main(arguments: list[str]) -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    unknown = set(arguments) - set(toolchains.TOOLCHAINS)
    if unknown:
        sys.exit(f"there is no toolchain {', '.join(sorted(unknown))}")
    lock = toolchains.TOOLCHAINS[arguments[0] if arguments else BASELINE].locks[0]
    found: dict[str, dict[str, Job]] = {"ours": {}, "pip": {}}
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        work = Path(name)
        clone = work / "clone"
        cloned = watching.run(["git", "clone", "-q", str(ROOT), str(clone)], work, looks=False)
        if cloned.code:
            sys.exit(cloned.said)
        for label, make in (("ours", lambda: ours(work, clone, arguments)), ("pip", lambda: pip(work, clone, lock))):
            shutil.rmtree(work / "cache", ignore_errors=True)  # neither finds what the other left
            for cache in ("empty", FULL):
                found[label][cache] = make()
                print(f"    {label}, {cache} cache: {found[label][cache]['seconds']:.0f} s", flush=True)
            found[label]["empty"]["cached"] = size(work / "cache")
    reached = goals(found, not arguments)
    result = {
        "lock": lock,
        "made": arguments or list(toolchains.TOOLCHAINS),
        **found,
    }
    return measuring.finish("setup", begun, reached, result, setup_page.page, "charts")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
