"""Runs spread over two processes: both end with what one alone ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pixfold.learn import ranks
from pixfold.learn.job import Job

CODE = """
import hashlib, json, os, sys
import numpy as np, torch
import torch.distributed as dist
import pixfold as pf
from pixfold.learn.checkpoint import Slot

folder, size = sys.argv[1], int(sys.argv[2])
if size > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=int(sys.argv[3]), world_size=size)
X, y = np.random.default_rng(0).random((48, 9)), np.arange(48) % 2
X[:, 2] += y
short = {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1, "random_state": 0}

def told(model):
    weights = b"".join(value.numpy().tobytes() for value in model.module_.state_dict().values())
    metrics = [{k: v for k, v in run.items() if "seconds" not in k} for run in model.metrics_["runs"]]
    return [model.findings_.to_csv(), hashlib.sha256(weights).hexdigest(), metrics, model.metrics_["model_of"]]

class Stopped(BaseException):
    pass

found = {}
# Three runs are an even number of none of the processes.
found["classes"] = told(pf.DeepMapperClassifier("patchnet", n_runs=3, baselines=False, **short).fit(X, y))
found["autoencoder"] = told(pf.DeepMapperAutoencoder(3, n_runs=2, **short).fit(X))

# Solved, not trained: nine runs, of which the list of the last is not needed where it has converged.
how = {"baselines": False, "device": "cpu", "threads": 1, "random_state": 0}
found["additive"] = told(pf.DeepMapperClassifier("additive", **how).fit(X, y))
found["additive_quantity"] = told(pf.DeepMapperRegressor("additive", n_runs=5, **how).fit(X, X[:, 1] + X[:, 3]))
drawn = pf.DeepMapperRegressor("patchnet", n_runs=2, baselines=False, **{**short, "random_state": None}).fit(X, X[:, 1])
found["seed"] = drawn.results_.config["random_state"]
# What an earlier job has kept, all processes go on with.
if os.path.isdir(f"{folder}/state") or size > 1:
    clf = pf.DeepMapperClassifier("patchnet", n_runs=3, baselines=False, **short)
    found["resumed"] = told(clf.fit(X, y, checkpoint=f"{folder}/state"))
else:
    own = Slot.write
    def write(self, *given):
        own(self, *given)
        if self.path.name == "run-1.safetensors":
            raise Stopped
    Slot.write = write
    try:
        pf.DeepMapperClassifier("patchnet", n_runs=3, baselines=False, **short).fit(X, y, checkpoint=f"{folder}/state")
    except Stopped:
        pass
    found["resumed"] = found["classes"]
print(json.dumps(found))
"""


def started(folder: Path, *arguments: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_find_what_one_finds(tmp_path):
    (one,) = results([started(tmp_path, 1)])
    assert (tmp_path / "state" / "job.json").exists()
    two = results([started(tmp_path, 2, rank) for rank in range(2)])
    assert two[0] == two[1]
    for name in ("classes", "autoencoder", "additive", "additive_quantity", "resumed"):
        assert two[0][name] == one[name], name
    assert isinstance(two[0]["seed"], int)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("share", "runs", "samples", "shared"),
    [
        ("auto", 5, 10_000, False),  # enough runs for all
        ("auto", 1, 10_000, True),
        ("auto", 1, 255, False),  # too few samples for four
        ("runs", 1, 10_000, False),
        ("samples", 5, 255, True),
    ],
)
def test_what_four_processes_share(monkeypatch, share, runs, samples, shared):
    monkeypatch.setattr(ranks.Peers, "of_world", classmethod(lambda cls: cls(1, 4)))
    options = SimpleNamespace(training=SimpleNamespace(share=share))
    job = Job(
        options=options,
        seed=0,
        prepared=SimpleNamespace(rows=range(samples)),
        source=None,
        normalizer=None,
        messages=[],
        progress=None,
    )
    assert (ranks.sharing(job, runs).peers.size == 4) is shared


def results(processes: list[subprocess.Popen[str]]) -> list[dict[str, object]]:
    try:
        texts = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(text) for text in texts]
