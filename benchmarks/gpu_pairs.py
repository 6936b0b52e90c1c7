"""All pairs of genotypes on the GPU, from two bits to a table; part of gpu_job.sh.

    python benchmarks/gpu_pairs.py [--device cuda] [--samples 10000] [--features 1000000]

Two features tell the classes apart together and not alone. Ends with status 0 when they are the first pair.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from numpy.typing import NDArray

import pixfold as pf

# Bytes of four genotypes without a missing one (01).
_WHOLE = np.array([b for b in range(256) if all(b >> 2 * j & 3 != 1 for j in range(4))], dtype=np.uint8)
_WRONG = 0.2  # share of samples whose class is the other one


def planted(n: int, p: int, rng: np.random.Generator) -> tuple[pf.PackedGenotypes, NDArray[np.int64], tuple[int, int]]:
    """Genotypes of three equally frequent kinds, and classes by two of them."""
    bits = np.empty((n, -(-p // 4)), dtype=np.uint8)
    for sample in bits:
        sample[:] = _WHOLE[rng.integers(0, len(_WHOLE), bits.shape[1], dtype=np.uint8)]
    a, b = sorted(rng.choice(p, 2, replace=False).tolist())
    # Homozygous for the first allele in one of the two and not in the other.
    first, second = (bits[:, j // 4] >> 2 * (j % 4) & 3 == 0 for j in (a, b))
    y = (first ^ second ^ (rng.random(n) < _WRONG)).astype(np.int64)
    return pf.PackedGenotypes(bits, p), y, (a, b)


def main() -> int:
    """Screen once and say what was found."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--samples", type=int, default=10_000)
    arguments.add_argument("--features", type=int, default=1_000_000)
    given = arguments.parse_args()
    X, y, pair = planted(given.samples, given.features, np.random.default_rng(0))
    started = time.perf_counter()
    found = pf.pair_screen(X, y, device=given.device)
    seconds = time.perf_counter() - started
    first = (int(found.feature_a[0]), int(found.feature_b[0])) if len(found) else None
    n_pairs = given.features * (given.features - 1) // 2
    print(
        f"{n_pairs:.3g} pairs of {given.samples:,} samples: {seconds:.1f} s with {given.device}, "
        f"{n_pairs * given.samples / seconds:.3g} pair-samples/s; planted {pair}, first {first}, "
        f"{int(found.significant.sum())} significant"
    )
    return 0 if first == pair else 1


if __name__ == "__main__":
    sys.exit(main())
