"""Two processes share the samples of each run: statistics, training and evidence are those of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")

CODE = """
import atexit, sys, warnings
import numpy as np, torch
import torch.distributed as dist
warnings.simplefilter("ignore")
import pixfold as pf
from pixfold.learn import job
from pixfold.learn.checkpoint import Slot
from pixfold.learn.split import split
from pixfold.learn.steps import Steps
from pixfold.loader import fold_loader
from pixfold.sources import open_source

folder, size, rank = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if size > 1:
    atexit.register(dist.destroy_process_group)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
n = 202
X, y = np.random.default_rng(0).random((n, 40)).astype(np.float32), np.arange(n) % 2
X[:, 2] += 0.8 * y
# The last batch has a single sample, of which one process has none.
assert len(split(n, y, fractions=(0.60, 0.15, 0.25), seed=0).train) % 12 == 1

def told(estimator, *data, source=None, checkpoint=None, **options):
    model = estimator(
        **options, n_runs=1, epochs=2, batch_size=12, device="cpu", precision="32-true", threads=1, random_state=0
    )
    how = {} if checkpoint is None else {"checkpoint": checkpoint}
    model = model.fit(*data, **how) if source is None else model.fit_source(source)
    (run,) = model.metrics_["runs"]
    return {
        "run": {key: value for key, value in run.items() if isinstance(value, float) and "seconds" not in key},
        "history": {key: np.array(values, dtype=float) for key, values in model.history_.items() if key != "seconds"},
        "normalizer": model.normalizer_.parameters().arrays(),
        "weights": {key: value.numpy() for key, value in model.module_.state_dict().items()},
        "importance": {"importance": model.feature_importances_},
    }

short = {"baselines": False, "training": {"share": "samples"}}
found = {}
# Batch normalisation, dropout and a gate; and the same without batch normalisation.
found["classes"] = told(pf.DeepMapperClassifier, X, y, backbone="patchnet", **short)
# What one process has kept after an epoch, two go on with.
class Stopped(BaseException):
    pass

own = Slot.write
def write(self, *given):
    own(self, *given)
    raise Stopped
Slot.write = write if size == 1 else own
try:
    found["resumed"] = told(
        pf.DeepMapperClassifier, X, y, backbone="patchnet", checkpoint=f"{folder}/state", **short
    )
except Stopped:
    found["resumed"] = found["classes"]
Slot.write = own
found["without_norm"] = told(pf.DeepMapperClassifier, X, y, backbone="mlp", **short)
found["quantity"] = told(pf.DeepMapperRegressor, X, X[:, 1], backbone="patchnet", **short)
found["latent"] = told(pf.DeepMapperAutoencoder, X, latent_dim=3, training=short["training"])
# Lifted by the minimum, which a second pass over the data learns from.
how = {"method": "integrated_gradients", "negative": "shift"}
found["method"] = told(pf.DeepMapperClassifier, X - 0.3, y, backbone="patchnet", **how, **short)
# Memory is short in one process: its parts become smaller, the steps stay what they are.
forward = Steps._forward
def short_of_memory(self, images):
    if rank == 1 and len(images) > 3:
        raise torch.OutOfMemoryError
    return forward(self, images)
Steps._forward = short_of_memory
found["memory"] = told(pf.DeepMapperClassifier, X, y, backbone="linear", **short)
Steps._forward = forward
# Read in blocks of 4 samples, which belong to one process each.
job.in_memory = lambda source, **_: source
fold_loader._BLOCK_BYTES = 4 * X[:1].nbytes
source = open_source(f"{folder}/x.npy", y=y)
assert not source.held_in_memory
clipped = {**short["training"], "clip_norm": 0.1, "micro_batch": 4}
found["streamed"] = told(
    pf.DeepMapperClassifier, source=source, backbone="linear", baselines=False, training=clipped
)

# What one process alone does otherwise is refused by both.
found["refused"] = {}
jobs = {"values": (X + rank, y, {}), "labels": (X, np.roll(y, rank), {}), "settings": (X, y, {"top_k": 5 + rank})}
for name, (X_of, y_of, how) in jobs.items() if size == 2 else ():
    try:
        pf.DeepMapperClassifier("mlp", n_runs=1, baselines=False, device="cpu", random_state=0, **how).fit(X_of, y_of)
    except pf.errors.InputError as error:
        found["refused"][name] = str(error)
if size == 2:
    try:
        pf.DeepMapperAutoencoder(2, n_runs=1, device="cpu", training=short["training"], random_state=0).fit(X[:8])
    except pf.errors.InputError as error:
        found["refused"]["size"] = str(error)
torch.save(found, f"{folder}/found-{size}-{rank}.pt")
"""
REFUSALS = {
    "values": "than in process 0: other values",
    "labels": "than in process 0: other labels",
    "settings": "than in process 0: top_k was 5, is 6",
    "size": "processes that share samples must have a validation sample each, got 1 validation sample for 2 of them",
}


def started(folder: Path, *arguments: int, code: str = CODE) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(folder), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def close(one: dict[str, Any], two: dict[str, Any], rtol: float) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        whole = np.abs(np.nan_to_num(np.asarray(value, dtype=np.float64)))
        # A completeness delta is nothing but rounding.
        atol = 1e-6 + rtol * (whole.max() if whole.size else 0.0)
        np.testing.assert_allclose(two[name], value, rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process finds, and what each of two finds."""
    folder = tmp_path_factory.mktemp("shared")
    X = np.random.default_rng(0).random((202, 40)).astype(np.float32)
    X[:, 2] += 0.8 * (np.arange(202) % 2)
    np.save(folder / "x.npy", X)
    done = ended([started(folder, 1, 0)])
    assert (folder / "state" / "job.json").exists()
    done += ended([started(folder, 2, rank) for rank in range(2)])
    assert [code for code, _ in done] == [0, 0, 0], "\n".join(error for _, error in done)
    return [torch.load(folder / f"found-{key}.pt", weights_only=False) for key in ("1-0", "2-0", "2-1")]


TASKS = ("classes", "resumed", "without_norm", "quantity", "latent", "method", "memory", "streamed")


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_learn_what_one_learns(found: list[dict[str, Any]], task: str) -> None:
    one, two, other = (each[task] for each in found)
    # Both processes end with the same bits.
    for part in ("weights", "importance", "normalizer"):
        for name, value in two[part].items():
            np.testing.assert_array_equal(other[part][name], value)
    close(one["normalizer"], two["normalizer"], 1e-12)
    # Sums are taken in other orders, which 20 steps of training make larger.
    for part in ("history", "run", "weights", "importance"):
        close(one[part], two[part], 1e-3)


def test_what_is_learned_is_something(found: list[dict[str, Any]]) -> None:
    assert all(np.argmax(np.abs(each["classes"]["importance"]["importance"])) == 2 for each in found)
    assert all("completeness_delta" in each["method"]["run"] for each in found)


@pytest.mark.parametrize("what", REFUSALS)
def test_jobs_that_are_not_one(found: list[dict[str, Any]], what: str) -> None:
    first, second = (each["refused"][what] for each in found[1:])
    assert first == second
    assert REFUSALS[what] in first
