"""What all runs of one fit share: samples that are ready, options, and how each run reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.learn.attribution.groups import FeatureGroups, feature_groups
from pixfold.learn.checkpoint import Checkpoint, Slot
from pixfold.learn.checkpoint.identity import Identity
from pixfold.learn.data_checks import messages_of_data
from pixfold.learn.device import resolve_device
from pixfold.learn.epoch_log import EpochLog
from pixfold.learn.options import JobOptions
from pixfold.learn.peers import Peers
from pixfold.learn.results import FeatureValues
from pixfold.learn.sample_weights import UNWEIGHTED, relative
from pixfold.loader import FoldLoader, in_memory
from pixfold.normalize.choose import choose_normalizer
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator
from pixfold.sources.base import Source
from pixfold.sources.feature_types import shown_names
from pixfold.stream.blocks import blocks
from pixfold.stream.layout_for import layout_for
from pixfold.stream.prepare import Prepared, prepare
from pixfold.util.progress import Progress, tracked, warn_at_once
from pixfold.util.text import counted

_ALONE = Peers()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all runs of one fit share.

    Attributes
    ----------
    options : JobOptions
        What the user chose.
    seed : int
        From which every run's seed comes.
    prepared : Prepared
        Samples, labels and features that are used.
    source : Source
        Where samples are read from, in memory where they fit.
    normalizer : Normalizer
        Not fitted: the pattern of each run's own.
    messages : list of str
        What the user should be told of the data.
    progress : Progress
        Where to report.
    checkpoint : Checkpoint or None
        Where the job keeps its state.
    log : EpochLog or None
        Where every epoch is written as it ends.
    feature_groups : FeatureGroups or None
        What is ablated together, where it is asked for.
    peers : Peers
        Processes that share the samples of each run.
    weights : float64 (n,) or None
        How much each of ``prepared.rows`` counts, 1 on average; None where all count alike.
    """

    options: JobOptions
    seed: int
    prepared: Prepared
    source: Source
    normalizer: Normalizer
    messages: list[str]
    progress: Progress
    checkpoint: Checkpoint | None = None
    log: EpochLog | None = None
    feature_groups: FeatureGroups | None = None
    peers: Peers = _ALONE
    weights: NDArray[np.float64] | None = None

    @classmethod
    def start(
        cls,
        source: Source,
        options: JobOptions,
        *,
        supervised: bool,
        quantity: bool = False,
        progress: Progress,
        checkpoint: Checkpoint | None = None,
        log: EpochLog | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Job:
        """Look at the data once: check them, keep them in memory where they fit, choose the normaliser."""
        peers = Peers.of_world()
        grouped = _feature_groups(source, options)  # before the data are read: it may be wrong
        prepared = prepare(
            source,
            missing=options.missing,
            supervised=supervised,
            quantity=quantity,
            memory=options.memory,
            progress=progress,
            digest=checkpoint is not None or peers.size > 1,
        )
        n = len(prepared.rows)
        if n > 1 and not prepared.varies:
            raise InputError(
                f"{source.name}: values must differ between samples, got "
                f"{counted(source.n_features, 'feature')} with one value each in all {n:,} samples"
            )
        kept = in_memory(source, memory=options.memory, progress=progress)
        if not all(peers.sizes(int(kept.held_in_memory))):
            kept = source  # all read alike: what is in memory is shuffled in another way
        normalizer, messages = _normalizer(options, prepared, kept)
        if supervised:
            messages += messages_of_data(prepared, kept, memory=options.memory, progress=progress)
        messages += [] if grouped is None else grouped.messages
        if weights is not None:
            weights = relative(weights[prepared.rows])
            messages += [] if weights is None else [UNWEIGHTED]
        for message in [*prepared.messages, *messages]:
            warn_at_once(progress, message)
        return cls(
            options=options,
            seed=_seed(options.random_state),
            prepared=prepared,
            source=kept,
            normalizer=normalizer,
            messages=[*prepared.messages, *messages],
            progress=progress,
            checkpoint=checkpoint,
            log=log,
            feature_groups=grouped,
            weights=weights,
        )

    def kept(self, task: str) -> Job:
        """Begin to keep the state of a job whose network is chosen, or go on with the one that is kept.

        Parameters
        ----------
        task : str
            What is learned.

        Returns
        -------
        Job
            With the seed of the job that goes on.

        Raises
        ------
        InputError
            When the checkpoint is of another job.
        """
        if self.checkpoint is None:
            return self
        streamed = not self.source.held_in_memory
        identity = Identity.of(task, self.options, self.prepared, self.seed, streamed=streamed, weights=self.weights)
        seed = self.checkpoint.begin(identity)
        if self.checkpoint.goes_on:
            self.progress.log(f"going on with {self.checkpoint.described()} of {self.checkpoint.folder}")
            if other := self.checkpoint.other_machine(identity):
                warn_at_once(self.progress, f"the last digits may differ from an undisturbed job: {', '.join(other)}")
        return replace(self, seed=seed)

    def slot(self, name: str) -> Slot | None:
        """Place of a state in the checkpoint; None where none is kept."""
        return None if self.checkpoint is None else self.checkpoint.slot(name)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Group of each of ``prepared.rows``, whose samples are never parted; None without groups."""
        return self.prepared.groups

    def weights_of(self, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Weights of some of ``prepared.rows``, by their positions there; None where all count alike."""
        return None if self.weights is None else self.weights[positions]

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 without labels and of a quantity."""
        return len(self.prepared.class_names or ())

    def seed_of(self, run: int) -> int:
        """Seed of a run (counted from 1)."""
        return int(np.random.SeedSequence([self.seed, run]).generate_state(1)[0])

    def layout_of(self, run: int) -> Layout:
        """Layout of a run; see :func:`pixfold.stream.layout_for.layout_for`."""
        # Of the source as it was opened: a copy of it in memory has no say in where features go.
        prepared, seed = self.prepared, self.seed_of(run)
        return layout_for(prepared.source, arrangement=self.options.arrangement, seed=seed, keep=prepared.keep)

    def fitted(self, positions: NDArray[np.int64], peers: Peers | None = None) -> Normalizer:
        """Fit a fresh normaliser on some of ``prepared.rows``, by their positions there.

        Peers read a part of them each, and all get the normaliser of all of them.
        """
        normalizer, peers = self.normalizer.with_options(), peers or Peers()
        positions = positions[peers.part(len(positions))]
        read = blocks(
            self.source,
            self.prepared.rows[positions],
            memory=self.options.memory,
            fixed=normalizer.fitting_bytes(self.source.n_features),
            op="Normalizer.fit",
            progress=self.progress,
            task="normaliser",
        )
        shared = None if peers.size == 1 else peers.arrays
        return normalizer.fit_blocks(read, self.source.feature_names, keep=self.prepared.keep, shared=shared)

    def loader(
        self,
        layout: Layout,
        normalizer: Normalizer,
        positions: NDArray[np.int64] | slice = slice(None),
        *,
        shuffle: bool | str = False,
        seed: int = 0,
        on_cpu: bool = False,
        batch_size: int | None = None,
        peers: Peers | None = None,
    ) -> FoldLoader:
        """Batches of some of ``prepared.rows``, by their positions there.

        For a CUDA device of the training they are folded there, from samples as compact as they came. Batches have the
        size of the options, or the one given here; of peers each gets a part of every batch.
        """
        peers = peers or Peers()
        device = resolve_device(self.options.training.device)
        # Batches carry classes. What learns a quantity finds it by the position of the sample.
        labels = np.arange(len(self.prepared.rows)) if self.prepared.is_quantity else self.prepared.labels
        return FoldLoader(
            self.source,
            layout,
            normalizer,
            rows=self.prepared.rows[positions],
            labels=None if labels is None else labels[positions],
            batch_size=batch_size or self.options.batch_size,
            shuffle=shuffle,
            seed=seed,
            device="cpu" if on_cpu or device.type != "cuda" else device,
            threads=self.options.training.threads,
            rank=peers.rank,
            world_size=peers.size,
            share="batches",
            memory=self.options.memory,
        )

    def class_means(self, layout: Layout, normalizer: Normalizer) -> NDArray[np.float64]:
        """Mean normalised value per class and feature over all samples used, (n_classes, n_features)."""
        accumulator = AttributionAccumulator(layout, self.n_classes)
        loader = self.loader(layout, normalizer, on_cpu=True)
        for images, labels, _ in tracked(loader, self.progress, "class means", len(loader)):
            assert labels is not None  # the source has them
            accumulator.update(images, labels.numpy())
        return accumulator.result().mean

    def values_of(
        self, layout: Layout, normalizer: Normalizer, features: NDArray[np.int64], *, most: int = 2_000
    ) -> FeatureValues:
        """Normalised values of some features in at most so many samples, which are drawn where there are more."""
        n, labels = len(self.prepared.rows), self.prepared.labels
        rows = np.arange(n)
        if n > most:
            rows = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
        pixels = layout.pixel_of_feature[features]
        shown, pixels = features[pixels >= 0], pixels[pixels >= 0]
        loader = self.loader(layout, normalizer, rows, on_cpu=True)
        parts = [
            images.flatten(1)[:, pixels].numpy()
            for images, _, _ in tracked(loader, self.progress, "values of the best", len(loader))
        ]
        return FeatureValues(shown, np.concatenate(parts), None if labels is None else labels[rows])


def _feature_groups(source: Source, options: JobOptions) -> FeatureGroups | None:
    if options.feature_groups is None:
        return None
    return feature_groups(options.feature_groups, source.feature_names, source.feature_annotation, shown_names(source))


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _normalizer(options: JobOptions, prepared: Prepared, source: Source) -> tuple[Normalizer, list[str]]:
    if isinstance(options.normalize, Normalizer):
        return options.normalize.with_options(), []
    return choose_normalizer(
        prepared.facts,
        source,
        normalize=options.normalize,
        negative=options.negative,
        missing=options.missing,
    )
