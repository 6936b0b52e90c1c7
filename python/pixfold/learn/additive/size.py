"""How much work the runs of an additive network are, and which jobs are small enough for them."""

from __future__ import annotations

import numpy as np

from pixfold.learn.job import Job

# Largest job that is solved among the samples: their kernel and its decomposition grow with n^2 p and n^3.
MOST_SAMPLES = 3_000
_MOST_WORK_PER_RUN = 4e11
# Share of the blocks of samples that a run holds out.
HELD_OUT = 0.4
_FEWEST_PERMUTATIONS, _MOST_PERMUTATIONS = 19, 99
_MOST_NULL_VALUES = 2e8


def n_permutations(n_pixels: int, n_classes: int) -> int:
    """Permuted labellings of a job: 99, fewer where their evidence would fill the memory."""
    columns = n_pixels * (1 if n_classes <= 2 else n_classes)
    return int(np.clip(_MOST_NULL_VALUES / columns, _FEWEST_PERMUTATIONS, _MOST_PERMUTATIONS))


def work_of_run(n_samples: int, n_pixels: int, n_classes: int) -> float:
    """Floating-point operations of one run: the two kernels, and the evidence of all labellings."""
    labellings = (1 + n_permutations(n_pixels, n_classes)) * (1 if n_classes <= 2 else n_classes)
    return 4.0 * n_samples * n_pixels * ((1 - HELD_OUT) * n_samples + labellings)


def serves(job: Job, memory: float) -> bool:
    """Whether a job is small enough: its images in half of the memory, its runs in the work that a run may take."""
    n, shape = len(job.prepared.rows), job.layout_of(1).shape
    pixels = int(np.prod(shape))
    fits = 8.0 * n * pixels + 8.0 * pixels * n_permutations(pixels, job.n_classes) <= memory / 2
    return n <= MOST_SAMPLES and fits and work_of_run(n, pixels, job.n_classes) <= _MOST_WORK_PER_RUN
