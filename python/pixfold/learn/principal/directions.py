"""Principal directions of samples, as many as are longer than features by themselves make one.

With n samples and p >> n pixels they come from the n x n products of the samples. How many there are is decided by
parallel analysis with random signs (Hong, Sheng and Dobriban, 2020): every centred value keeps its size and gets a
random sign, so that each pixel keeps its spread (it is centred and scaled again), and none goes with another. A
direction counts while the samples are spread along it more than along any direction of all such tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# The longest direction of samples is longer than those of 19 like tables by chance in one of 20 (measured: in 24 of 600
# tables of noise, of 24 to 100 samples).
N_TABLES = 19
# Columns of one step: their samples stay in the cache.
_COLUMNS = 4096


def work(n_samples: int, n_pixels: int) -> float:
    """Floating-point operations of :func:`principal_directions`: products and their eigenvalues, of all tables."""
    n = float(n_samples)
    return (1 + N_TABLES) * (2.0 * n * n * n_pixels + 4.0 * n**3)


def principal_directions(samples: Tensor, *, most: int, seed: int) -> Tensor:
    """Find the directions along which samples differ together.

    Parameters
    ----------
    samples : float32 (n, p)
        Around 0: their mean is taken off by the caller.
    most : int
        Directions at most.
    seed : int
        Of the random signs.

    Returns
    -------
    float32 (L, p)
        Of length 1, the one with the widest spread first. ``L`` is 0 where no direction is longer than by chance.
    """
    values, vectors = torch.linalg.eigh(_products(_parts(samples), samples))
    values, vectors = values.flip(0), vectors.flip(1)
    draw = torch.Generator().manual_seed(seed)
    chance = max(float(torch.linalg.eigvalsh(_products(_signed(samples, draw), samples))[-1]) for _ in range(N_TABLES))
    # Of a single pixel all tables have the same length, up to rounding.
    n = min(most, int((values > chance * (1 + 1e-6)).sum()))
    directions = torch.cat([vectors[:, :n].T.to(part.dtype) @ part for part in _parts(samples)], dim=1)
    directions = directions / values[:n].sqrt().to(directions.dtype)[:, None]
    # Either sign is a principal direction; the largest entry is made positive so that signs repeat.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -directions, directions)


def _parts(samples: Tensor) -> Iterator[Tensor]:
    return (samples[:, begin : begin + _COLUMNS] for begin in range(0, samples.shape[1], _COLUMNS))


def _signed(samples: Tensor, draw: torch.Generator) -> Iterator[Tensor]:
    for part in _parts(samples):
        # Eight signs from a random number, the sign of each of its bytes: the numbers take most of the time.
        numbers = torch.randint(-(2**63), 2**63 - 1, (-(-part.numel() // 8),), generator=draw, dtype=torch.int64)
        signs = numbers.view(torch.int8)[: part.numel()].view(part.shape).to(part.device)
        table = torch.where(signs >= 0, part, -part)
        # As the samples are: centred, which leaves n - 1 directions for the same spread.
        table -= table.mean(0)
        lengths = table.square().sum(0)
        yield table * (part.square().sum(0) / torch.where(lengths > 0, lengths, 1.0)).sqrt()


def _products(parts: Iterator[Tensor], samples: Tensor) -> Tensor:
    """``float64 (n, n)``; MPS has no float64, so they are added up on the CPU there."""
    device = torch.device("cpu") if samples.device.type == "mps" else samples.device
    total = torch.zeros(len(samples), len(samples), dtype=torch.float64, device=device)
    for part in parts:
        total += (part @ part.T).to(device)
    return total
