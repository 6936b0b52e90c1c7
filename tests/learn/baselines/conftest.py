"""Jobs of small arrays, kept in memory or read from a file."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold.learn.estimators import DeepMapperClassifier
from pixfold.learn.job import Job
from pixfold.sources import open_source
from pixfold.sources.base import relabelled
from pixfold.util.progress import SilentProgress


@pytest.fixture
def job_of(tmp_path):
    def make(values, labels, *, batch_size=16, normalize="zscore", **options):
        np.save(tmp_path / "x.npy", values)
        options = DeepMapperClassifier(batch_size=batch_size, normalize=normalize, **options).check_arguments()
        source = relabelled(open_source(tmp_path / "x.npy"), labels)
        return Job.start(source, options, supervised=True, progress=SilentProgress())

    return make
