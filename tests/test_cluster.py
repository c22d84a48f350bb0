"""A scheduler and two workers of Dask on loopback do the steps: the same bytes, whatever dies in between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import artifacts, config, errors, fingerprint, toolchains, warm
from pipeline.cluster import asking, blobs, paths
from pipeline.hops import KINDS
from pipeline.spec import Agent
from pipeline.steps import making
from pipeline.warm import Limits
from running import ROOT, Built, Run, doit

MODULE = "--preload", "pipeline.cluster.worker"
NOT_BYTES = (".lock", ".staging", ".fresh", "log")  # what may differ between two runs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def state(pid: int) -> tuple[str, int]:
    """A process's state and parent; "Z" where there is none."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    return "Z", 0


def children(pid: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [child for child in pids if state(child)[0] != "Z" and state(child)[1] == pid]


@dataclass
class Part:
    """A scheduler or worker that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def jobs(self) -> list[int]:
        """Processes in which it does a job: the forks of its warm processes."""
        return [job for warm_process in children(self.process.pid) for job in children(warm_process)]

    def ready(self, sign: str) -> Part:
        until = time.monotonic() + 60
        while sign not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        return self


class Cluster:
    """A scheduler on loopback, and the workers that a test starts."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.parts: list[Part] = []
        port = self.address.rpartition(":")[2]
        self.start("./doit", "scheduler", "--", "--port", port, **environment).ready("Scheduler at")

    def start(self, *command: str, **environment: str) -> Part:
        log = self.folder / f"{len(self.parts)}.txt"
        with log.open("w") as file:
            variables = {**os.environ, **environment}
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=variables)
        self.parts.append(Part(process, log))
        return self.parts[-1]

    def work(self, *before: str) -> Part:
        options = ("--nthreads", "1", "--local-directory", str(self.folder))
        return self.start(*before, "./doit", "work", self.address, *options)

    def stop(self) -> None:
        for part in self.parts:
            part.process.kill()
            part.process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One whose two workers do not see the folder ``secret``, where this machine lets us hide it from them."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "secret").mkdir()
    hide = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}/secret" && exec "$@"', "sh")
    can = subprocess.run([*hide, "true"], capture_output=True).returncode == 0
    found = Cluster(folder)
    for part in [found.work(*(hide if can else ())) for _ in range(2)]:
        part.ready("Registered to")
    yield found
    found.stop()


OWN = """import gymnasium
gymnasium.register("Own-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=50)
"""
TINY = """targets = ["onnx", "weights"]
zip = "tiny.zip"
vecnormalize = "tiny.pkl"
import_from = ["code"]
[environment]
id = "Own-v0"
imports = ["own"]
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Path:
    """A tiny agent in an environment of the user's own, and one whose archive is none."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "code").mkdir()
    (folder / "code" / "own.py").write_text(OWN)
    for suffix in (".zip", ".pkl"):
        shutil.copyfile(tiny_zip.with_suffix(suffix), folder / f"tiny{suffix}")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "broken.zip").write_text("no zip")
    (folder / "broken.toml").write_text('targets = ["weights"]\nvecnormalize = "none"\nzip = "broken.zip"\n')
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, configs: Path) -> Built:
    """The agents as this machine alone builds them."""
    root = tmp_path_factory.mktemp("here") / "artifacts"
    return Built(configs, root, doit(configs=configs, artifacts=root))


def bytes_of(root: Path) -> dict[str, str]:
    """Digests of every file of a folder of artifacts, manifests and verdicts among them."""
    found = artifacts.digests(root)
    return {name: digest for name, digest in found.items() if not set(Path(name).parts) & set(NOT_BYTES)} | {
        str(path.relative_to(root)): artifacts.digest(path) for path in root.rglob(artifacts.MANIFEST)
    }


def same(run: Run, root: Path, here: Built, configs: Path | None = None) -> None:
    """What is told and what is made are those of this machine alone.

    :param configs: where they are, if they were moved
    """
    assert run.done - {"cluster"} == here.run.done, run.text
    assert run.text.replace(str(root), "ROOT").splitlines()[-5:-1] == here.run.text.splitlines()[-5:-1]
    assert run.error("broken").partition("broken.zip")[2] == here.run.error("broken").partition("broken.zip")[2]
    assert f"file {configs or here.configs}/broken.zip: " in run.error("broken")
    assert bytes_of(root) == bytes_of(here.artifacts)


def test_cluster_makes_the_same_bytes(cluster: Cluster, here: Built, tmp_path: Path) -> None:
    run = doit(f"cluster={cluster.address}", configs=here.configs, artifacts=tmp_path)
    same(run, tmp_path, here)
    assert not [left for left in (tmp_path / ".staging").iterdir() if left.is_dir()]
    assert "s of CPU" in (tmp_path / "tiny" / "log" / "onnx.convert.txt").read_text()
    again = doit("cluster=tcp://127.0.0.1:1", "tiny", configs=here.configs, artifacts=tmp_path)
    assert "everything is up to date" in again.text, "where nothing is to be done, there need be no cluster"


def test_blobs_are_all_that_workers_need(cluster: Cluster, here: Built, tmp_path: Path) -> None:
    """They see neither the artifacts nor the archives and code; and blobs that are damaged are sent again."""
    secret, store = cluster.folder / "secret", tmp_path / "store"
    configs, root, again = secret / "configs", secret / "artifacts", secret / "again"
    shutil.copytree(here.configs, configs)
    told = (f"cluster={cluster.address}", f"blobs=file://{store}")
    same(doit(*told, configs=configs, artifacts=root), root, here, configs)
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert stored and all(artifacts.digest(path) == path.name for path in stored)
    for path in stored:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    same(doit(*told, configs=configs, artifacts=again), again, here, configs)


def test_folder_that_workers_do_not_see_is_told(cluster: Cluster, here: Built) -> None:
    root = cluster.folder / "secret" / "shared"
    run = doit(f"cluster={cluster.address}", "patience=3", "tiny", configs=here.configs, artifacts=root)
    if run.code == 0:
        pytest.skip("a folder cannot be hidden from processes here (needs root)")
    assert run.error("tiny").startswith("FolderNotShared: agent tiny, hop sb3, ")
    assert "does not see a folder. Give the workers that folder by the same path, or move files" in run.error("tiny")


@pytest.fixture
def told_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CLUSTER", asking.Cluster(cluster.address))


@pytest.mark.usefixtures("told_cluster")
def test_two_jobs_that_speak_with_each_other_are_one_task(here: Built, tmp_path: Path) -> None:
    """An artifact acts in a closed loop: its environment is a job of another toolchain."""
    agent = config.load(here.configs / "tiny.toml", KINDS)
    home = here.artifacts / "tiny"
    played = tmp_path / "played.json"
    returns = {"source": [9.0] * 4, "random": [9.0] * 4}
    played.write_text(json.dumps({"absent": "", "reward_threshold": None, "returns": {"5": returns}}))
    loop = {"id": "CartPole-v1", "kwargs": {}, "wrappers": [], "imports": [], "frame_stack": 1, "optional": False}
    settings = {"environment": loop, "episodes": 4, "most": 4, "seed": 5, "return_kept": 0.5, "returns": played}
    target = tmp_path / "made"
    target.mkdir()
    act = {"do": "decide", "runtime": "onnxruntime", "source": home / "onnx", "target": target, "needs": {}}
    asked = {"do": "evaluate", "source": home / "sb3", "target": target, "settings": settings}
    beside = making.place(agent, "device"), act
    ended = asking.run(making.place(agent, "torch"), asked, tmp_path / "log.txt", Limits(60), beside)
    assert ended["cpu"] > 0 and ended["peak_kib"] > 0
    assert len(json.loads((target / "episodes.json").read_text())["returns"]["artifact"]) == 4


def test_interrupted_run_leaves_no_job_on_the_workers(cluster: Cluster, here: Built, tmp_path: Path) -> None:
    workers = cluster.parts[1:3]
    command = ["./doit", f"cluster={cluster.address}", f"configs={here.configs}", f"artifacts={tmp_path}"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not any(worker.jobs() for worker in workers):
        assert time.monotonic() < until and run.poll() is None
    run.send_signal(signal.SIGINT)
    assert run.wait(20) != 0
    until = time.monotonic() + 5
    while any(worker.jobs() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert all(worker.process.poll() is None for worker in workers)


def test_worker_that_is_killed_loses_nothing(cluster: Cluster, here: Built, tmp_path: Path) -> None:
    """It is killed while it does a job for certain; another worker does that job again."""
    command = ["./doit", f"cluster={cluster.address}", f"configs={here.configs}", f"artifacts={tmp_path}"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    worker, job = held(cluster.parts[1:3])
    worker.process.kill()
    worker.process.wait()
    said, _ = run.communicate(timeout=120)
    assert state(job)[0] == "Z", "its job died with it"
    same(Run(run.returncode, said), tmp_path, here)


def test_job_that_one_worker_after_the_other_dies_of_is_given_up(here: Built, tmp_path: Path) -> None:
    """The scheduler says how many: here it gives up with the first."""
    lone = Cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    command = ["./doit", f"cluster={lone.address}", "tiny", f"configs={here.configs}", f"artifacts={tmp_path / 'made'}"]
    try:
        worker = lone.work().ready("Registered to")
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        until = time.monotonic() + 60
        while not children(worker.process.pid):
            assert time.monotonic() < until and run.poll() is None
        worker.process.kill()
        said, _ = run.communicate(timeout=60)
    finally:
        lone.stop()
    line = Run(run.returncode, said).error("tiny")
    assert line.startswith("WorkersDied: agent tiny, hop sb3, ")
    assert "Read was given up, as 1 workers died of it. Read what the workers printed" in line


def held(workers: list[Part]) -> tuple[Part, int]:
    """A worker that does a job, which cannot end before its worker does: it is stopped."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for worker in workers:
            for job in worker.jobs():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job, signal.SIGSTOP)
                if job in worker.jobs():
                    return worker, job
    raise AssertionError("no worker was given a job")


def test_scheduler_that_is_not_there_is_told_once(here: Built, tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    run = doit(f"cluster={address}", "patience=2", configs=here.configs, artifacts=tmp_path)
    said = f"ClusterUnreachable: There is no answer from a scheduler at {address} (for 2 s at most)"
    assert run.text.count(said) == 1 and run.text.count("FAILED") == 1
    assert "Start a scheduler there (./doit scheduler), correct cluster=tcp://HOST:PORT" in run.text
    assert run.code != 0 and "Traceback" not in run.text


def test_worker_that_no_machine_has_is_told(here: Built, tmp_path: Path) -> None:
    """First there is none at all, then one whose machine lacks a toolchain."""
    lone = Cluster(tmp_path)
    told = (f"cluster={lone.address}", "patience=3", "tiny")
    try:
        run = doit(*told, configs=here.configs, artifacts=tmp_path / "artifacts")
        version = asking.resource()
        assert f"waiting for a worker with {version} (for 3 s at most)" in run.text
        assert run.text.count(f"Expected {version}, found 0 workers. Start workers of this very clone") == 1

        (tmp_path / "toolchains").mkdir()
        program = (toolchains.python("cluster"), "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard")
        variables = {"SLIPWAY_TOOLCHAINS": str(tmp_path / "toolchains"), "PYTHONPATH": str(ROOT)}
        lone.start(*program, *MODULE, lone.address, "--nthreads", "1", **variables).ready("Registered to")
        run = doit(*told, configs=here.configs, artifacts=tmp_path / "artifacts")
        needed = f"{version} and {asking.resource('torch')}"
        assert run.error("tiny").startswith("WorkersMissing: agent tiny, hop sb3, ")
        assert f"can do a job, for 3 s. Expected {needed}, found 1 workers. " in run.error("tiny")
    finally:
        lone.stop()


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["cluster=localhost"], "Cluster is the address of a scheduler. Run ./doit cluster=tcp://HOST:PORT"),
        (["blobs=file:///tmp/x"], "Blobs goes with cluster"),
        (["cluster=tcp://a:1", "blobs=/tmp/x"], "Blobs is the URL of a folder"),
        (["cluster=tcp://a:1", "blobs=memory://x"], "Blobs is the URL of a folder"),
        (["cluster=tcp://a:1", "patience=soon"], "Patience is a number of seconds above 0"),
    ],
)
def test_wrong_words_about_a_cluster_are_refused(tmp_path: Path, arguments: list[str], telling: str) -> None:
    run = doit(*arguments, configs=tmp_path, artifacts=tmp_path)
    assert run.text.startswith(f"ConfigWrongValue: {telling}") and run.code != 0


def test_folder_comes_back_from_blobs_as_it_was(tmp_path: Path) -> None:
    folder, url = tmp_path / "code", f"file://{tmp_path}/store"
    for name in ("a.py", "deep/b.json", "deep/__pycache__/b.pyc", ".git/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    tree, files = blobs.describe(folder)
    blobs.send(url, files)
    there = blobs.fetch(url, [tree], tmp_path / "there")[0]
    assert there.name == "code"
    assert sorted(artifacts.digests(there)) == ["a.py", "deep/b.json"]


def test_damaged_and_lost_blobs_are_named(tmp_path: Path) -> None:
    folder, url = tmp_path / "code", f"file://{tmp_path}/store"
    folder.mkdir()
    for name in ("whole", "damaged", "lost"):
        (folder / name).write_text(name)
    tree, files = blobs.describe(folder)
    blobs.send(url, files)
    digests = tree["files"]
    stored = {name: tmp_path / "store" / digest[:2] / digest for name, digest in digests.items()}
    stored["damaged"].write_text("other")
    stored["lost"].unlink()
    with pytest.raises(blobs.Lacking) as caught:
        blobs.fetch(url, [tree], tmp_path / "there")
    assert caught.value.digests == sorted([digests["damaged"], digests["lost"]])
    blobs.drop(url, caught.value.digests)
    blobs.send(url, files)
    assert blobs.fetch(url, [tree], tmp_path / "again")[0].is_dir()


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_tree_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    tree = {"name": "x", "files": {name: "0" * 64}}
    with pytest.raises(errors.BlobsUnfit, match="names a file outside of its folder"):
        blobs.fetch(f"file://{tmp_path}/store", [tree], tmp_path / "there")


def test_store_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.BlobsUnfit, match="Check blobs=URL"):
        blobs.send("nosuch://place", {"0" * 64: tmp_path})


def test_every_path_of_a_job_is_placed_anew(tmp_path: Path) -> None:
    job = {"target": tmp_path, "settings": {"rungs": [{"folder": tmp_path / "a"}], "text": "/tmp", "same": tmp_path}}
    value, named = paths.numbered(job)
    assert named == [tmp_path, tmp_path / "a"]
    assert str(tmp_path) not in json.dumps(value)
    there = paths.placed(value, [Path("/x"), Path("/y")])
    assert there == {"target": "/x", "settings": {"rungs": [{"folder": "/y"}], "text": "/tmp", "same": "/x"}}


def test_users_own_interpreter_and_tokens_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CLUSTER", asking.Cluster("tcp://127.0.0.1:1"))
    assert asking.does(making.place(Agent("a", "a.toml"), "torch"))
    assert not asking.does(making.place(Agent("a", "a.toml"), "hub"))
    assert not asking.does(warm.Place("/usr/bin/python3", ("torch",)))


def test_resources_name_lock_and_code() -> None:
    assert asking.resource("torch") == toolchains.folder("torch").name
    assert asking.resource() == f"slipway-{fingerprint.everything()[:12]}"


def test_slurm_job_preloads_slipway() -> None:
    command = [toolchains.python("cluster"), "docs/slurm_cluster.py", "--print", "--interface", "lo", "--cores", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "#SBATCH --cpus-per-task=3" in done.stdout
    assert "--nthreads 3" in done.stdout and "--preload pipeline.cluster.worker" in done.stdout
