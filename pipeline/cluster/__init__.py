"""Steps done by other machines, with Dask distributed as the engine.

    making.job → asking.run                 doit's process: the job as JSON, to a process of the toolchain ``cluster``
               → client                     that process: submits the job to Dask's scheduler, tells how it ended
               → worker.do                  a Dask worker on any machine: the job in its own warm processes

A job's paths are numbered; each side puts its own paths in (:mod:`pipeline.cluster.paths`). What a worker makes is in a
folder of that attempt alone, which the client moves into place: of a job that is done twice, since a worker was lost
from sight, one attempt counts and is whole.
"""
