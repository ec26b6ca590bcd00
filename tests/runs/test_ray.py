"""Search on a real Ray cluster of two nodes: the contract of executors, the same result, faults."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_CONFIG, TINY_TASK, build
from tiny import __file__ as tiny_file

import evolute
from evolute.discover import SearchResult
from evolute.errors import InputError
from evolute.runs.executors.base import Executor
from evolute.runs.executors.make import RayCluster, make_executor
from evolute.runs.executors.messages import encode
from evolute.runs.executors.ray import RayExecutor, on_its_gpu, parse_resources
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import (
    WorkerContract,
    alone,
    answers,
    example_requests,
    write_task,
)
from evolute.train.equipment import Equipment

ROOT = Path(__file__).parent.parent.parent

MISSING = importlib.util.find_spec("ray") is None and "CI" not in os.environ
needs_ray = pytest.mark.skipif(MISSING, reason="needs the library ray: evolute[ray]")
pytestmark = [
    # Of Ray's own making: sockets and processes that it leaves to the end of the interpreter.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.xdist_group("ray"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a Ray cluster of two nodes with one core each, on this machine."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def member(cluster: Any) -> Iterator[Any]:
    """Be connected to the cluster during a test, as is whoever calls from a Ray program."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, ignore_reinit_error=True)
    yield cluster
    cluster.wait_for_nodes(timeout=120)  # a node that a test has killed is known to be dead
    ray.shutdown()


@needs_ray
class TestRayExecutor(WorkerContract):
    @pytest.fixture(autouse=True)
    def _connected(self, member: Any) -> None:
        """Be connected."""

    def open(self, task: str, *, timeout_seconds: float | None = None) -> Executor:
        return RayExecutor(
            task,
            load_task(task),
            resources={"CPU": 1},
            workers=1,  # each loads torch twice: several are had by the tests below
            timeout_seconds=timeout_seconds,
            grace_seconds=1.0,
        )


def search(store: Path, **options: Any) -> SearchResult:
    given: dict[str, Any] = {"task": TINY_TASK, "verdict": False, **options}
    return evolute.search(config=TINY_CONFIG, store=store, **given)


@needs_ray
def test_one_worker_four_workers_and_a_cluster_find_the_same(cluster: Any, tmp_path: Path) -> None:
    here = search(tmp_path / "here.sqlite", task=build())
    four = search(tmp_path / "four.sqlite", workers=4)
    on_ray = search(tmp_path / "ray.sqlite", executor=RayCluster(cluster.address))
    assert len(here.leaderboard) > 3
    for other in (four, on_ray):
        assert other.best == here.best
        assert other.leaderboard == here.leaderboard
        assert other.progress.trained == here.progress.trained


@needs_ray
def test_workers_default_to_as_many_as_fit_and_share_the_memory_of_their_node(
    member: Any, tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    loaded = load_task(task)
    for resources, count in (("CPU=1", 2), ("CPU=0.5", 4)):
        with make_executor(
            task,
            loaded,
            workers=None,
            timeout_seconds=None,
            equipment=Equipment(),
            where=RayCluster(resources_per_worker=resources),
        ) as executor:
            assert executor.workers == count
            assert isinstance(executor, RayExecutor)
            assert f'"shared_by": {count // 2}' in executor._greeting


@needs_ray
def test_a_worker_that_fits_no_node_is_refused_in_one_line(member: Any, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    with pytest.raises(InputError, match=r"wants CPU=2, GPU=1, and no node .*CPU=1, GPU=0\)"):
        RayExecutor(task, load_task(task), resources={"CPU": 2, "GPU": 1})


@needs_ray
def test_a_node_killed_in_mid_trial_costs_no_trial(member: Any, tmp_path: Path) -> None:
    node = member.add_node(num_cpus=1)
    over = tmp_path / "over"
    waits = f"""
        open({str(tmp_path)!r} + "/%d.begun" % os.getpid(), "w").close()
        while not os.path.exists({str(over)!r}):
            time.sleep(0.02)
    """
    task = write_task(tmp_path, innocent=waits.strip())
    requests = example_requests(seeds=2)

    def kill() -> None:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.begun"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        member.remove_node(node, allow_graceful=False)  # SIGKILL
        over.touch()

    killer = threading.Thread(target=kill)
    killer.start()
    one_each = Equipment(lanes=1)
    with RayExecutor(task, load_task(task), resources={"CPU": 1}, equipment=one_each) as executor:
        assert executor.workers == 3
        trials = answers(executor, requests)
    killer.join()
    assert len(list(tmp_path.glob("*.begun"))) >= 3
    assert trials == alone(task, requests)


READS_DATA = """
import json, os, uuid
from pathlib import Path

import tiny_here

def build():
    seen = Path("data.bin").stat()
    raylet = os.environ.get("RAY_RAYLET_PID")
    if raylet is not None:
        note = [raylet, os.getcwd(), seen.st_ino, seen.st_size]
        Path({folder!r}, uuid.uuid4().hex + ".seen").write_text(json.dumps(note))
    return tiny_here.build()
"""


@needs_ray
def test_the_data_of_a_task_goes_to_each_node_once(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of one node read one copy, and no message to a worker carries it."""
    folder, seen = tmp_path / "folder", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    shutil.copy(tiny_file, folder / "tiny_here.py")
    (folder / "task.py").write_text(READS_DATA.format(folder=str(seen)))
    (folder / "data.bin").write_bytes(bytes(2**20))
    monkeypatch.chdir(folder)
    uploads = counted_uploads(monkeypatch)
    where = RayCluster(cluster.address, resources_per_worker="CPU=0.5", working_folder=folder)
    task = load_task("task.py:build")
    with make_executor(
        "task.py:build",
        task,
        workers=None,
        timeout_seconds=None,
        equipment=Equipment(lanes=1),
        where=where,
    ) as executor:
        assert isinstance(executor, RayExecutor)
        assert executor.workers == 4
        assert len(executor._greeting) < 10_000
        for request in example_requests(seeds=2):
            executor.submit(request)
        deadline = time.monotonic() + 240
        while len(list(seen.iterdir())) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        executor.forget()
    notes = [json.loads(path.read_text()) for path in seen.iterdir()]
    copies = {tuple(note) for note in notes}
    nodes = {note[0] for note in notes}
    assert (len(notes), len(nodes)) == (4, 2)
    assert len(copies) == len(nodes)  # one for each node, whatever its workers
    assert {note[3] for note in notes} == {2**20}
    assert str(folder) not in {note[1] for note in notes}
    assert len(uploads) == 1


def counted_uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names under which packages will have been put where nodes fetch them."""
    from ray._private.runtime_env import packaging

    put, names = packaging._store_package_in_gcs, list[str]()

    def store(name: str, data: bytes) -> Any:
        names.append(name)
        return put(name, data)

    monkeypatch.setattr(packaging, "_store_package_in_gcs", store)
    return names


RECORDS_ITS_DEVICE = """
import json, os, sys
from dataclasses import replace

worker = sys.modules.get("evolute.runs.executors.worker")
if worker is not None and os.getpid() != {owner}:
    make = worker.make_trainer

    def make_trainer(task, equipment):
        seen = [equipment.device, list(equipment.chosen), equipment.shared_by,
                os.environ.get("CUDA_VISIBLE_DEVICES")]
        with open("%s/%d.device" % ({folder!r}, os.getpid()), "w") as file:
            json.dump(seen, file)
        return make(task, replace(equipment, device="cpu"))

    worker.make_trainer = make_trainer
"""
"""Before a worker makes its engine, it writes down for which device, and makes one for the CPU."""


@needs_ray
def test_one_worker_is_placed_on_each_gpu_and_told_to_train_there(
    member: Any, tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    path = Path(task.partition(":")[0])
    record = RECORDS_ITS_DEVICE.format(owner=os.getpid(), folder=str(tmp_path))
    path.write_text(record + path.read_text("utf-8"), "utf-8")
    requests = example_requests(seeds=2)
    node = member.add_node(num_cpus=2, num_gpus=2)  # so Ray is told: no GPU needs to be there
    equipment = Equipment(lanes=1, chosen=(("of the processor", "loop"),))
    with RayExecutor(
        task, load_task(task), resources={"CPU": 1, "GPU": 1}, equipment=equipment
    ) as executor:
        assert executor.workers == 2
        assert answers(executor, requests) == alone(task, requests)
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.device"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    member.remove_node(node)
    seen = [json.loads(path.read_text()) for path in tmp_path.glob("*.device")]
    assert sorted(seen) == [["cuda", [], 1, "0"], ["cuda", [], 1, "1"]]


def test_a_worker_without_a_gpu_of_its_own_is_told_nothing_else() -> None:
    for device, gpus in (("cpu", []), ("mps", ["0"])):
        greeting = encode({"task": "any", "equipment": {"device": device, "shared_by": 8}})
        assert on_its_gpu(greeting, gpus, share=len(gpus)) == greeting


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("share", "workers", "shared_by"),
    [(1.0, 8, 1), (2.0, 4, 1), (0.5, 8, 2), (0.6, 8, 1), (1 / 3, 8, 3), (0.1, 8, 8)],
)
def test_the_memory_of_a_gpu_is_shared_by_the_workers_on_it_alone(
    device: str, share: float, workers: int, shared_by: int
) -> None:
    equipment = Equipment(device=device, shared_by=workers, chosen=(("of it", "loop"),))
    greeting = encode({"task": "any", "equipment": equipment.to_dict()})
    told = Equipment.from_dict(json.loads(on_its_gpu(greeting, ["3"], share=share))["equipment"])
    chosen = () if device == "cpu" else equipment.chosen
    assert told == Equipment(device="cuda", shared_by=shared_by, chosen=chosen)


def commands_of_the_page() -> list[list[str]]:
    """Return the searches that the page on clusters shows."""
    text = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    found = re.findall(r"^\$ (evolute search .*)$", text, re.MULTILINE)
    return [shlex.split(command) for command in found]


@needs_ray
@pytest.mark.parametrize("command", commands_of_the_page(), ids=lambda command: command[3])
def test_the_commands_of_the_page_on_clusters_run(
    cluster: Any, tmp_path: Path, command: list[str]
) -> None:
    shutil.copy(ROOT / "examples" / "own_task.py", tmp_path)
    given = [cluster.address if word == "HEAD:6379" else word for word in command[1:]]
    small = ["--budget", "3", "--no-verdict", "--format", "json"]
    ran = subprocess.run(
        [sys.executable, "-m", "evolute", *given, *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["trained"] == 3


def test_resources_of_a_worker_are_names_and_amounts() -> None:
    assert parse_resources("CPU=1,GPU=0.5") == {"CPU": 1.0, "GPU": 0.5}
    for text in ("", "CPU", "CPU=0", "CPU=-1", "CPU=nan", "CPU=inf", "=1", "CPU=1,,"):
        with pytest.raises(InputError, match="names and numbers above 0"):
            parse_resources(text)


def test_without_ray_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    task = write_task(tmp_path)
    with pytest.raises(InputError, match=r"pip install 'evolute\[ray\]'") as caught:
        RayExecutor(task, load_task(task), resources={"CPU": 1})
    assert "\n" not in str(caught.value)


def test_a_task_object_cannot_go_to_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers of a cluster cannot share a Task object"):
        search(tmp_path / "store.sqlite", task=build(), executor="ray")


def test_an_unknown_executor_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'ray'"):
        search(tmp_path / "store.sqlite", executor="rai")


def test_a_working_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    if MISSING:
        pytest.skip("needs the library ray: evolute[ray]")
    cluster = RayCluster(working_folder=tmp_path / "none")
    with pytest.raises(InputError, match="no folder that exists"):
        search(tmp_path / "store.sqlite", executor=cluster)


@needs_ray
def test_an_address_where_no_cluster_answers_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers at '127\.0\.0\.1:1': .*refused"):
        search(tmp_path / "store.sqlite", executor=RayCluster("127.0.0.1:1"))
