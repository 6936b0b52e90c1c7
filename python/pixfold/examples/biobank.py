"""A biobank on one card: as many genotypes of two bits as it holds, and one epoch of a network on random batches.

    python -m pixfold.examples.biobank                      # 488,000 samples x 805,000 variants where they fit: 98 GB
    python -m pixfold.examples.biobank --device cpu --samples 400 --variants 20000
    python -m pixfold.examples.biobank --bed cohort.bed --label phenotype

Without ``--bed`` genotypes are made up, and 32 variants differ in their frequency between the two classes. It says how
many images a second were folded and learned, and the share of the time that folding took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.layout import Layout
from pixfold.learn import backbones
from pixfold.loader.device_dataset import DeviceDataset
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import open_source
from pixfold.sources.base import AnyRows, Source, normalize_rows
from pixfold.stream.budget import free_memory
from pixfold.util.sizes import in_words

# UK Biobank's array: people and variants.
SAMPLES, VARIANTS = 488_000, 805_000
# Of the device's free memory; the rest is for images, the network and its gradients.
SHARE = 0.85
# Rows that are drawn; all others are these, turned by some bytes.
_POOL = 256
# Bytes, of four variants each, whose frequency depends on the class.
_CAUSAL = 8
# Samples that the normaliser learns frequencies from.
_FITTED = 4096


class MadeUpGenotypes(Source):
    """Genotypes at two bits each, drawn as they are read; the first 32 variants depend on the class.

    Parameters
    ----------
    n_samples, n_variants : int
        Size; at least 32 variants.
    seed : int
        Of everything random.
    """

    def __init__(self, n_samples: int, n_variants: int, seed: int = 0) -> None:
        if n_variants < 4 * _CAUSAL:
            raise InputError(f"biobank: variants must be at least {4 * _CAUSAL}, got {n_variants}")
        rng = np.random.default_rng(seed)
        width = -(-n_variants // 4)
        self._pool = _drawn(rng, (min(_POOL, n_samples), width))
        self._causal = np.stack([_drawn(rng, (_POOL, _CAUSAL), rare=rare) for rare in (True, False)])
        super().__init__(
            "made-up genotypes",
            (n_samples, n_variants),
            np.dtype(np.float32),
            labels=rng.integers(0, 2, n_samples),
            chunk_rows=64,
        )
        self.kind, self.nbytes = "genotypes", n_samples * width

    def read(self, rows: AnyRows) -> PackedGenotypes:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        numbers = np.arange(wanted.start, wanted.stop) if isinstance(wanted, slice) else wanted
        assert self.labels is not None
        bits = np.empty((len(numbers), self._pool.shape[1]), dtype=np.uint8)
        for at, number in enumerate(numbers.tolist()):
            row = self._pool[number % len(self._pool)]
            turned = number // len(self._pool) * _CAUSAL % len(row)
            bits[at, : len(row) - turned] = row[turned:]
            bits[at, len(row) - turned :] = row[:turned]
            bits[at, :_CAUSAL] = self._causal[self.labels[number], number % _POOL]
        return PackedGenotypes(bits, self.n_features)


def _drawn(rng: np.random.Generator, shape: tuple[int, int], *, rare: bool = False) -> NDArray[np.uint8]:
    """Four genotypes a byte, none missing: of each, the high bit is drawn, and the low one where that is set."""
    high, low = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    if rare:
        high &= rng.integers(0, 256, shape, dtype=np.uint8)
    high &= 0xAA
    return (high | (low & (high >> 1))).astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Epoch:
    """What one epoch took.

    Attributes
    ----------
    n_samples, n_variants, nbytes : int
        What was resident, and the bytes that it took.
    seconds, fold_seconds : float
        Of the epoch, and of folding in it.
    loss, accuracy : float
        Means over the last quarter of the batches.
    """

    n_samples: int
    n_variants: int
    nbytes: int
    seconds: float
    fold_seconds: float
    loss: float
    accuracy: float

    def __str__(self) -> str:
        return (
            f"{self.n_samples:,} samples x {self.n_variants:,} variants resident in {in_words(self.nbytes)}; "
            f"{self.n_samples / self.seconds:,.0f} images/s, {self.fold_seconds / self.seconds:.0%} in fold; "
            f"loss {self.loss:.3f}, accuracy {self.accuracy:.3f} over the last quarter"
        )


class _Clock:
    """Time between two marks, of a card without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._on_card = device.type == "cuda"
        self._marks: list[Any] = []

    def mark(self) -> None:
        if self._on_card:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> NDArray[np.float64]:
        """Between each mark and the next."""
        if self._on_card:
            torch.cuda.synchronize()
            pairs = zip(self._marks, self._marks[1:], strict=False)
            return np.array([first.elapsed_time(second) / 1e3 for first, second in pairs])
        return np.diff(self._marks)


def epoch(source: Source, device: str = "cuda", *, batch_size: int = 256, seed: int = 0) -> Epoch:
    """Keep a source on a device and train a patch network on random batches of it for one epoch.

    Parameters
    ----------
    source : Source
        Genotypes with two classes as labels or more.
    device : str
        Where samples, images and network are.
    batch_size : int
        Images per step.
    seed : int
        Of the batches and the network.

    Returns
    -------
    Epoch

    Raises
    ------
    InputError
        When the source has no labels.
    """
    if source.labels is None:
        raise InputError(f"{source.name}: an epoch needs labels: name their column (--label), got none")
    place = torch.device(device)
    classes, codes = np.unique(source.labels, return_inverse=True)
    layout = Layout.natural(source.n_features)
    fitted = source.read(slice(0, min(_FITTED, source.n_samples)))
    normalizer = Normalizer("genotype", missing="mean").fit(fitted)
    images_of = "bfloat16" if place.type == "cuda" else "float32"
    dataset = DeviceDataset(source, layout, normalizer, labels=codes, device=place, dtype=images_of)
    network = backbones.build("patchnet", shape=layout.shape, n_outputs=len(classes), seed=seed).to(place)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses, hits = [], []
    clock = _Clock(place)
    clock.mark()
    for images, labels, _ in dataset.batches(batch_size, shuffle=True, seed=seed):
        clock.mark()
        assert labels is not None
        loss, right = _step(network, optimizer, images, labels)
        losses.append(loss)
        hits.append(right)
        clock.mark()
    spent = clock.seconds()
    last = slice(-max(1, len(losses) // 4), None)
    return Epoch(
        n_samples=source.n_samples,
        n_variants=source.n_features,
        nbytes=dataset.nbytes,
        seconds=float(spent.sum()),
        fold_seconds=float(spent[::2].sum()),
        loss=float(torch.stack(losses[last]).mean()),
        accuracy=float(torch.stack(hits[last]).mean()),
    )


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Learn a batch; loss and accuracy stay on the device."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
        scores = network(images)
        loss = nn.functional.cross_entropy(scores, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), (scores.argmax(1) == labels).float().mean()


def resident_samples(n_variants: int, device: str, share: float = SHARE) -> int:
    """How many samples of so many variants fit a share of the memory that is free on a device."""
    place = torch.device(device)
    free = torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else free_memory()
    return int(share * free) // -(-n_variants // 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the module says, with the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pixfold.examples.biobank", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="at most; as many as fit are kept")
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--bed", help="genotypes of your own, in any format of genotypes")
    parser.add_argument("--label", help="with --bed: the column of the classes")
    given = parser.parse_args(arguments)
    if given.bed is not None:
        source = open_source(given.bed, label=given.label)
    else:
        fitting = min(given.samples, resident_samples(given.variants, given.device))
        source = MadeUpGenotypes(fitting, given.variants)
    print(epoch(source, given.device, batch_size=given.batch_size))


if __name__ == "__main__":
    main()
