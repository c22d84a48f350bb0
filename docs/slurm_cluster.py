"""A run of ./doit whose steps are done in SLURM jobs, submitted by dask-jobqueue; they end with the run.

    .toolchains/cluster-*/bin/python docs/slurm_cluster.py --jobs 8 --cores 4 --memory 16GB -- -n 32 [AGENT …]

What follows ``--`` goes to ./doit. The clone and its toolchains are on a file system that all nodes share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster
from dask_jobqueue.local import LocalCluster

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """How the run of ./doit ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="SLURM jobs, each one Dask worker")
    parser.add_argument("--cores", type=int, default=4, help="of a SLURM job, which does as many steps at once")
    parser.add_argument("--memory", default="16GB", help="of a SLURM job; a step takes up to 2 GiB")
    parser.add_argument("--walltime", default="04:00:00")
    parser.add_argument("--queue", default=None, help="SLURM's partition")
    parser.add_argument("--interface", default=None, help="network that the nodes share, for example ib0")
    parser.add_argument("--print", action="store_true", dest="show", help="the job's script, and do nothing")
    parser.add_argument("--local", action="store_true", help="no SLURM: start the jobs' commands here, to try it out")
    parser.add_argument("doit", nargs="*", help="arguments of ./doit")
    told = parser.parse_args()
    settings = {
        "cores": told.cores,
        "memory": told.memory,
        "processes": 1,
        "nanny": False,
        "python": f"env PYTHONPATH={ROOT} {sys.executable}",
        "worker_extra_args": ["--no-dashboard", "--preload", "pipeline.cluster.worker"],
        "scheduler_options": {"dashboard": False},
        "interface": told.interface,
    }
    if not told.local:
        settings |= {"walltime": told.walltime, "queue": told.queue}
    with (LocalCluster if told.local else SLURMCluster)(**settings) as cluster:
        if told.show:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=told.jobs)
        command = [str(ROOT / "doit"), f"cluster={cluster.scheduler_address}", "patience=3600", *told.doit]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
