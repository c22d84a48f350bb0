"""Makes Slipway's first environment: the one that runs doit and makes the others. Standard library only.

The environment is whole when it holds a copy of its lock, which is written last.
"""

import fcntl
import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().with_name("host.txt")
OLDEST = (3, 11)


def main(place: Path) -> None:
    """Make the environment at ``place``, unless another first run has just made it."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"Slipway needs Python {'.'.join(map(str, OLDEST))} or newer as python3; this is {found}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(".host.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy = place / LOCK.name
        if copy.exists() and filecmp.cmp(LOCK, copy, shallow=False):
            return
        print("Making Slipway's first environment …", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        python = str(place / "bin" / "python")
        run(sys.executable, "-m", "venv", str(place))
        run(python, "-m", "pip", "install", "-qq", "--require-hashes", "-r", str(LOCK))
        run(python, "-c", "import doit, msgspec, numpy, rich, uv")
        partial = copy.with_suffix(".partial")
        shutil.copyfile(LOCK, partial)
        partial.replace(copy)


def run(*command: str) -> None:
    """Run a command, or end with what failed."""
    if subprocess.run(command).returncode:
        sys.exit(f"Slipway's first environment could not be made: {' '.join(command)} failed (see above).")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
