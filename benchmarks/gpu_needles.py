"""A needle in a haystack on the GPU, from folding to ranks; part of gpu_job.sh.

    python benchmarks/gpu_needles.py [--device cuda] [--samples 10000] [--features 18225]

Ends with status 0 when the model classifies and both needles come first.
"""

from __future__ import annotations

import argparse
import sys
import time

import pixfold as pf
from pixfold.examples.synthetic import nihs


def main() -> int:
    """Train one run and say what it found."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--samples", type=int, default=10_000)
    arguments.add_argument("--features", type=int, default=18_225)
    given = arguments.parse_args()
    data = nihs(given.samples, given.features, seed=0)
    started = time.perf_counter()
    model = pf.DeepMapperClassifier(n_runs=1, random_state=0, device=given.device).fit(data.X, data.y)
    seconds = time.perf_counter() - started
    found = sorted(pf.top_k(model.feature_importances_, len(data.needles)).tolist())
    wanted = sorted(data.needles.tolist())
    accuracy = model.metrics_["test_accuracy"]
    print(f"accuracy {accuracy:.3f}, needles {wanted}, most important {found}, {seconds:.1f} s with {given.device}")
    return 0 if found == wanted and accuracy > 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
