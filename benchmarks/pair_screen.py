"""All pairs of features against a plain matrix product of as many multiplications, in one run.

    python benchmarks/pair_screen.py --samples 10000 --features 18225 --threads 2

The data hold one XOR: a label, 35 % of it wrong, that two features tell together and none alone. `whole` is the time of
pair_screen from an array to its result, `products` that of the tiles alone. The limit is the time that torch's float32
product, in blocks of 2,048 features, takes for p^2 / 2 products, as all pairs are: measured on blocks before and after
the screen, the faster counts. The ratio is one of CPU times, which other jobs on the machine change less.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from pixfold.pairs import pair_screen
from pixfold.pairs.engine import Engine, has_fast_int8

BLOCK = 2048


def planted(n: int, p: int, wrong: float = 0.35, seed: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    rng = np.random.default_rng(seed)
    X = rng.random((n, p), dtype=np.float32)
    a, b = 17 % p, 4242 % p if 4242 % p != 17 % p else p - 1
    y = (X[:, a] > 0.5) ^ (X[:, b] > 0.5)
    return X, (y ^ (rng.random(n) < wrong)).astype(np.int64), (min(a, b), max(a, b))


class Spent:
    """Seconds that passed, and that the processors worked for this process, in a block."""

    wall = cpu = 0.0

    def __enter__(self) -> Spent:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]


def limit_of(n: int, p: int) -> Spent:
    """Float32 products of all pairs, reckoned from blocks of them."""
    width = min(BLOCK, p)
    A, B = torch.rand(width, n), torch.rand(width, n)
    out = torch.empty(width, width)
    repeats = max(1, int(1e11 / (2 * width * width * n)))
    with Spent() as spent:
        for _ in range(repeats):
            torch.mm(A, B.T, out=out)
    for name in ("wall", "cpu"):
        setattr(spent, name, getattr(spent, name) / repeats * (p * p / 2) / (width * width))
    return spent


def measured(X: np.ndarray, y: np.ndarray, pair: tuple[int, int], **options: Any) -> tuple[Spent, Spent]:
    """The whole screen and its products; the planted pair must be first."""
    products: list[Spent] = []
    run = Engine.run

    def timed(self: Engine, *arguments: Any) -> None:
        with Spent() as spent:
            run(self, *arguments)
        products.append(spent)

    Engine.run = timed  # type: ignore[method-assign]
    try:
        with Spent() as whole:
            found = pair_screen(X, y, device="cpu", **options)
    finally:
        Engine.run = run  # type: ignore[method-assign]
    assert (int(found.feature_a[0]), int(found.feature_b[0])) == pair, found.table().head()
    return whole, products[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=18_225)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--wrong", type=float, default=0.35, help="share of wrong labels; fewer for few samples")
    parser.add_argument("--kinds", default="sign:int8,sign:float32,rank:float32")
    given = parser.parse_args()
    n, p = given.samples, given.features
    torch.set_num_threads(given.threads)
    X, y, pair = planted(n, p, given.wrong)
    print(f"{n:,} samples x {p:,} features, {given.threads} threads, {p * (p - 1) // 2:.3g} pairs")
    print(
        "| values, product | whole s | products s (CPU s) | pair-samples/s | limit s (CPU s) | products / limit, CPU |"
    )
    print("|---|---|---|---|---|---|")
    limit_of(n, min(p, 512))
    for kind in given.kinds.split(","):
        transform, precision = kind.split(":")
        if precision == "int8" and not has_fast_int8():
            continue
        before = limit_of(n, p)
        whole, products = measured(X, y, pair, transform=transform, precision=precision, threads=given.threads)
        limit = min(before, limit_of(n, p), key=lambda spent: spent.cpu)
        rate = p * (p - 1) / 2 * n / products.wall
        print(
            f"| {transform}, {precision} | {whole.wall:.2f} | {products.wall:.2f} ({products.cpu:.2f}) | {rate:.3g} | "
            f"{limit.wall:.2f} ({limit.cpu:.2f}) | {products.cpu / limit.cpu:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
