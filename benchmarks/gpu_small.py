"""Every op once on a GPU, small, against the CPU: for tools that make each kernel a thousand times slower.

compute-sanitizer --tool racecheck python benchmarks/gpu_small.py [--device cuda]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

import pixfold as pf
from pixfold.ops.gradients import fold_gradient, unfold_gradient

N_SAMPLES, N_FEATURES = 9, 1_100  # more than a tile of every kernel


def cases(device: str) -> dict[str, Callable[[Any], Any]]:
    """What is done to samples, wherever they are, by name."""
    rng = np.random.default_rng(0)
    natural = pf.Layout.natural(N_FEATURES)
    shuffled, shared = pf.Layout.shuffled(N_FEATURES, seed=0), pf.Layout.natural(N_FEATURES, channels=3)
    places = rng.integers(0, 20, (2, N_FEATURES))
    many = pf.Layout.from_coordinates(*places, (20, 20))
    x = samples()
    normalizers = {preset: pf.Normalizer(preset).fit(x) for preset in ("log1p-minmax", "cp10k-log1p", "log1p-zscore")}
    gradient = rng.normal(size=(N_SAMPLES, *shuffled.shape)).astype(np.float32)
    labels = np.arange(N_SAMPLES) % 3

    def images(layout: pf.Layout, preset: str | None) -> Callable[[Any], Any]:
        return lambda x: pf.fold(x, layout, None if preset is None else normalizers[preset])

    def there(values: Any, x: Any) -> Any:
        return torch.from_numpy(values).to(device) if isinstance(x, torch.Tensor) else values

    def rows(x: Any) -> Any:
        return x.to_sparse_csr() if isinstance(x, torch.Tensor) else csr_array(x)

    def aggregated(x: Any) -> Any:
        accumulator = pf.AttributionAccumulator(natural, 3)
        for _ in range(2):
            accumulator.update(pf.fold(x, natural), there(labels, x))
        return accumulator.result().mean

    bits = rng.integers(0, 256, (N_SAMPLES, N_FEATURES // 4), dtype=np.uint8)
    genotypes = pf.PackedGenotypes(bits, N_FEATURES)
    of_genotypes = pf.Normalizer("genotype").fit(genotypes)

    def packed(x: Any) -> Any:
        place = device if isinstance(x, torch.Tensor) else "cpu"
        return pf.DeviceDataset(genotypes, shuffled, of_genotypes, device=place).fold(labels)

    return {
        "fold": images(natural, "log1p-minmax"),
        "fold, no normaliser": images(natural, None),
        "fold, arrangement": images(shuffled, "log1p-minmax"),
        "fold, library size": images(shuffled, "cp10k-log1p"),
        "fold, channels": images(shared, "log1p-zscore"),
        "fold, shared pixels": images(many, "log1p-minmax"),
        "fold CSR": lambda x: pf.fold(rows(x), shuffled, normalizers["log1p-minmax"]),
        "fold CSR, background": lambda x: pf.fold(rows(x), natural, normalizers["log1p-zscore"]),
        "fold genotypes": packed,
        "unfold": lambda x: pf.unfold(pf.fold(x, shuffled), shuffled),
        "fold_gradient": lambda x: fold_gradient(there(gradient, x), x, shuffled, normalizers["log1p-minmax"]),
        "fold_gradient, library size": lambda x: fold_gradient(
            there(gradient, x), x, shuffled, normalizers["cp10k-log1p"]
        ),
        "unfold_gradient": lambda x: unfold_gradient(x, many),
        "column_stats": lambda x: pf.column_stats(x).mean,
        "column_stats, log1p": lambda x: pf.column_stats(x, log=True).m2,
        "column_stats, CSR": lambda x: pf.column_stats(rows(x)).mean,
        "census": lambda x: np.array(pf.ops.stats.census(x)),
        "aggregate": aggregated,
        "rank": lambda x: pf.rank(x[0]),
    }


def samples() -> np.ndarray:
    """Float32 numbers, half of them 0."""
    rng = np.random.default_rng(1)
    x = rng.gamma(0.7, 8.0, (N_SAMPLES, N_FEATURES)).astype(np.float32)
    x[rng.random(x.shape) < 0.5] = 0
    return x


def main() -> int:
    """Run all of it and say what differs."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--device", default="cuda")
    device = arguments.parse_args().device
    x = samples()
    on_device = torch.from_numpy(x).to(device)
    wrong = []
    for name, run in cases(device).items():
        found, expected = (torch.as_tensor(run(given)).cpu().double().numpy() for given in (on_device, x))
        if not np.allclose(found, expected, rtol=1e-5, atol=1e-5):
            wrong.append(name)
    print(f"{'failed: ' + ', '.join(wrong) if wrong else 'passed'} ({len(cases(device))} ops on {device})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
