"""What the cache has is not made again by ./doit, wherever it builds; what it lacks or has damaged is."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts, toolchains
from running import ROOT, Built, Run, doit

AGENT = "kept"
CONFIG = 'zip = "agent.zip"\nvecnormalize = "none"\ntargets = ["tflite", "weights"]\n'


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Built:
    """A built agent, and what it put into the cache beside it."""
    folder = tmp_path_factory.mktemp("cached")
    configs = folder / "configs"
    configs.mkdir()
    (configs / "agent.zip").write_bytes(tiny_zip.read_bytes())
    (configs / f"{AGENT}.toml").write_text(CONFIG)
    run = doit(f"cache={folder / 'cache'}", configs=configs, artifacts=folder / "artifacts")
    assert run.code == 0, run.text
    return Built(configs, folder / "artifacts", run)


def build(given: Built, place: Path, cache: str = "", **environment: str) -> Run:
    """The agent again, in other folders."""
    where = cache or str(given.artifacts.parent / "cache")
    run = doit(f"cache={where}", configs=given.configs, artifacts=place, **environment)
    assert run.code == 0, run.text
    return run


def taken(run: Run) -> int:
    found = re.search(r"(\d+) taken from the cache", run.text)
    return int(found.group(1)) if found else 0


def digests(folder: Path) -> dict[str, str]:
    """Everything that is built, without logs and locks."""
    found = artifacts.digests(folder)
    return {name: digest for name, digest in found.items() if "/log/" not in name and not name.startswith(".")}


def test_what_is_in_the_cache_is_the_same_and_runs_nothing(given: Built, tmp_path: Path) -> None:
    run = build(given, tmp_path)
    assert (run.done, taken(run)) == (set(), len(given.run.done))
    assert digests(tmp_path) == digests(given.artifacts) != {}
    assert build(given, tmp_path).text.endswith("everything is up to date\n")


def test_no_toolchain_is_made_where_the_cache_has_all(given: Built, tmp_path: Path) -> None:
    """As in a fresh clone, which has the host environment and nothing else."""
    home = tmp_path / "toolchains"
    home.mkdir()
    (home / "host").symlink_to(toolchains.home() / "host")
    run = build(given, tmp_path / "artifacts", SLIPWAY_TOOLCHAINS=str(home))
    assert taken(run) == len(given.run.done)
    assert [path.name for path in home.iterdir()] == ["host"]
    assert digests(tmp_path / "artifacts") == digests(given.artifacts)


def test_without_a_cache_all_is_made(given: Built, tmp_path: Path) -> None:
    run = build(given, tmp_path, "none")
    assert (run.done, taken(run)) == (given.run.done, 0)
    assert digests(tmp_path) == digests(given.artifacts)


def test_what_is_damaged_in_the_cache_is_made_anew(given: Built, tmp_path: Path) -> None:
    model = given.artifacts / AGENT / "tflite" / "policy.tflite"
    digest = artifacts.digest(model)
    blob = given.artifacts.parent / "cache" / "blobs" / digest[:2] / digest
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    run = build(given, tmp_path)
    assert run.done == {f"{AGENT}:tflite:convert"}
    assert digests(tmp_path) == digests(given.artifacts)
    assert build(given, tmp_path / "again").done == set(), "the cache has it again"


def test_a_damaged_artifact_is_taken_from_the_cache(given: Built, tmp_path: Path) -> None:
    build(given, tmp_path)
    model = tmp_path / AGENT / "weights" / "weights.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    run = build(given, tmp_path)
    assert (run.done, taken(run)) == (set(), 3), "and what was run and checked of it"
    assert digests(tmp_path) == digests(given.artifacts)


def test_another_setting_makes_what_it_touches(given: Built, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "agent.zip").write_bytes((given.configs / "agent.zip").read_bytes())
    (configs / f"{AGENT}.toml").write_text(f"{CONFIG}[tolerance]\nabsolute = 1e-3\n")
    cache = given.artifacts.parent / "cache"
    run = doit(f"cache={cache}", configs=configs, artifacts=tmp_path / "artifacts")
    assert run.done == {name for name in given.run.done if name.endswith(":check")}


def test_two_builds_at_once_share_a_cache(given: Built, tmp_path: Path) -> None:
    command = [ROOT / "doit", f"cache={tmp_path / 'cache'}", f"configs={given.configs}"]
    runs = [
        subprocess.Popen([*command, f"artifacts={tmp_path / name}"], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(given.artifacts)


def test_words_of_the_command(given: Built, tmp_path: Path) -> None:
    build(given, tmp_path / "artifacts", str(tmp_path / "cache"))
    call = [ROOT / "doit", f"cache={tmp_path / 'cache'}", "cache"]
    said = subprocess.run(call, capture_output=True, text=True).stdout
    assert re.fullmatch(rf"{tmp_path}/cache: {len(given.run.done)} results in 0\.00 GiB, of 5 GiB at most .*\n", said)
    next((tmp_path / "cache" / "blobs").glob("*/*")).write_bytes(b"other")
    said = subprocess.run([*call, "check"], capture_output=True, text=True).stdout
    assert said.startswith("0 entries and 1 files were damaged, and are dropped\n")
    wrong = subprocess.run([*call, "empty"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "Expected check or prune. ./doit cache check." in wrong.stdout


def client_of(variables: dict[str, str]) -> Any:
    """A client of the S3 server."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An S3 server (moto's) on loopback with an empty bucket: the variables that name it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [toolchains.python("test"), "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path_factory.mktemp("s3")
    )
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for _ in range(200):
        time.sleep(0.1)
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", int(port))) == 0:
                break
    client_of(variables).create_bucket(Bucket="cached")
    yield variables
    server.send_signal(signal.SIGTERM)
    server.wait(20)


def test_bucket_is_a_cache(given: Built, bucket: dict[str, str], tmp_path: Path) -> None:
    assert build(given, tmp_path / "one", f"{tmp_path}/here,s3://cached/all", **bucket).done >= given.run.done
    run = build(given, tmp_path / "two", f"{tmp_path}/there,s3://cached/all", **bucket)
    assert (run.done - {"toolchains:cluster"}, taken(run)) == (set(), len(given.run.done))
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(given.artifacts)


def test_damaged_object_of_a_bucket_is_replaced(given: Built, bucket: dict[str, str], tmp_path: Path) -> None:
    url = "s3://cached/damaged"
    build(given, tmp_path / "one", f"{tmp_path}/here,{url}", **bucket)
    digest = artifacts.digest(given.artifacts / AGENT / "tflite" / "policy.tflite")
    client_of(bucket).put_object(Bucket="cached", Key=f"damaged/blobs/{digest[:2]}/{digest}", Body=b"other")
    assert build(given, tmp_path / "two", f"{tmp_path}/there,{url}", **bucket).done == {f"{AGENT}:tflite:convert"}
    assert build(given, tmp_path / "three", f"{tmp_path}/further,{url}", **bucket).done == set()


def test_bucket_that_is_not_there_is_said_once_and_all_is_built(given: Built, tmp_path: Path) -> None:
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    run = build(given, tmp_path / "artifacts", f"{tmp_path}/here,s3://cached/slipway", **nobody)
    assert run.done >= given.run.done
    assert run.text.count("the cache s3://cached/slipway is left alone: ") == 1


def test_size_is_a_number(given: Built, tmp_path: Path) -> None:
    run = doit("cache_size=much", configs=given.configs, artifacts=tmp_path)
    assert run.text.strip().endswith("Found much. Run ./doit cache_size=20.")
    assert not list(tmp_path.iterdir())
