"""A job of additive networks: many runs, each solved exactly for the true labels and for permuted ones."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.errors import InputError
from pixfold.learn import significance
from pixfold.learn.additive.kept import restore, state
from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.shared_runs import Done, SharedRuns
from pixfold.learn.additive.size import HELD_OUT, n_permutations, work_of_run
from pixfold.learn.additive.solver import Solution, Targets, evidence, network, scores, solve
from pixfold.learn.additive.stability import N_PAIRS, chosen, halves, threshold
from pixfold.learn.additive.temperature import temperature
from pixfold.learn.backbones.additive import AdditiveNetwork
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.fit import Fitted, Stability, finished
from pixfold.learn.job import Job
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.results import classification_metrics, regression_metrics
from pixfold.learn.run import never_seen
from pixfold.learn.sample_blocks import permuted_labels, sample_blocks
from pixfold.learn.sample_weights import within_classes
from pixfold.learn.torch_settings import torch_settings
from pixfold.learn.unit import Unit, mean_of
from pixfold.normalize.normalizer import Normalizer
from pixfold.pairs import PairScreen, screen_array

# Floating-point operations that a job may take without being asked for more; some 20 s on two cores with AVX2.
_WORK = 1e12
_FEWEST_RUNS, _MOST_RUNS = 8, 60
_BLOCKS = 10
# Labels are permuted within blocks: smaller ones would leave too few ways.
_SAMPLES_OF_A_BLOCK = 4
# Pairs are screened unasked up to this many multiplications; fewer samples cannot show a pair among thousands.
_WORK_OF_PAIRS, _SAMPLES_OF_PAIRS = 6e10, 30
# Of all pairs together, by Bonferroni: less than the job's own level, which must stay what it is.
_ALPHA_OF_PAIRS, _ALPHA_IN_RUNS, _MOST_PAIRS = 0.01, 0.5, 100
# Fewer pairs of halves bound nothing; halves of fewer samples say nothing.
_FEWEST_PAIRS, _FEWEST_SAMPLES_TO_HALVE = 10, 20


def fit_additive(job: Job) -> Fitted:
    """Do a job's runs until their list has converged, then fit the network that predicts on all samples.

    Parameters
    ----------
    job : Job
        With labels; small enough by :func:`serves`.

    Returns
    -------
    Fitted
    """
    with torch_settings(job.options.training) as device:
        return _Fit(job, device).run()


class _Fit:
    """One job: what its runs share."""

    def __init__(self, job: Job, device: torch.device) -> None:
        assert job.prepared.labels is not None  # the caller has seen to it
        self.job, self.device, self.started = job, device, time.perf_counter()
        self.labels, self.layout = job.prepared.labels, job.layout_of(1)
        self.pixel = torch.from_numpy(np.array(self.layout.pixel_of_feature)).to(device)
        self.n, pixels = len(self.labels), int(np.prod(self.layout.shape))
        seeds = np.random.SeedSequence([job.seed, 0]).generate_state(3)
        parted = sample_blocks(
            self.labels,
            job.groups,
            n_blocks=self.n_blocks(),
            seed=int(seeds[0]),
            class_names=job.prepared.class_names,
        )
        if parted.n_blocks < 2:
            enough = "10 or more" if job.prepared.is_quantity else "5 or more of each class"
            raise InputError(
                f"{job.prepared.source.name}: samples must be enough to hold some out, such as {enough} (in 2 groups "
                f"or more), got {self.n:,} that cannot be parted"
            )
        self.blocks = parted.blocks
        permuted = permuted_labels(
            self.labels, self.blocks, job.groups, n=n_permutations(pixels, job.n_classes), seed=int(seeds[1])
        )
        self.messages = [*parted.messages, *permuted.messages]
        labellings = np.concatenate([self.labels[None], permuted.labels])
        # Of all samples: a ridge centres by the training samples itself, and what it says is in units of any scale.
        self.unit = Unit.of(self.labels) if job.prepared.is_quantity else None
        own = job.weights
        if own is not None and self.unit is None:
            # Classes count the same. Labels are permuted while weights stay: were those of a class larger, then the
            # true labels would part them more evenly than permuted ones do.
            own = within_classes(own, self.labels)
        self.weights = None if own is None else torch.from_numpy(own).to(device)
        self.targets = self.targets_of(labellings)
        self.draw = np.random.default_rng(int(seeds[2]))
        work = work_of_run(self.n, pixels, job.n_classes)
        self.most = job.options.n_runs or int(np.clip(_WORK / work, _FEWEST_RUNS, _MOST_RUNS))
        self.consensus = Consensus(job.source.n_features, k=job.options.top_k)
        self.outcomes: list[RunOutcome] = []
        self.evidence = torch.zeros(len(labellings), job.source.n_features, device=device)
        self.scores = torch.zeros(len(labellings), dtype=torch.float64, device=device)
        self.held: list[tuple[NDArray[np.int64], Tensor]] = []
        self.pairs = self.screened()
        self.shared = SharedRuns(self)

    def n_blocks(self) -> int:
        """Blocks with several samples, or several groups, each: labels are permuted within them."""
        groups = self.job.groups
        if groups is None or len(np.unique(groups)) == self.n:
            return int(np.clip(self.n // _SAMPLES_OF_A_BLOCK, 3, _BLOCKS))
        return int(np.clip(len(np.unique(groups)) // 2, 2, _BLOCKS))

    def run(self) -> Fitted:
        job, slot = self.job, self.job.slot("runs")
        if (kept := self.shared.peers.state_of_first(None if slot is None else slot.read())) is not None:
            with nullcontext() if slot is None else slot.refusing_others():
                restore(self, kept)
        with job.progress.task("runs", total=self.most) as task:
            if self.outcomes:
                task.advance(len(self.outcomes))
            for number in range(len(self.outcomes) + 1, self.most + 1):
                if self.enough():
                    break
                self.take(self.shared.run(number))
                if job.log is not None:
                    job.log.add(number, self.outcomes[-1].history[0])
                if slot is not None and (slot.is_due or self.enough() or number == self.most):
                    kept = state(self)
                    slot.write(kept.tensors, kept.values)
                task.advance(1, agreement=self.consensus.agreement)
        found = significance.by_permutation(
            self.evidence.cpu().numpy(), self.scores.cpu().numpy(), used=job.prepared.keep, fdr=job.options.fdr
        )
        if self.pairs is not None and len(self.pairs):
            found = significance.with_pairs(found, self.pairs, fdr=job.options.fdr)
        stability = self.stability()
        factor = 1.0 if self.unit is not None else temperature(self.held, self.labels, job.weights)
        outcomes = [self.judged(outcome, held, factor) for outcome, held in zip(self.outcomes, self.held, strict=True)]
        return finished(
            job,
            outcomes,
            self.whole(factor),
            self.consensus,
            found,
            started=self.started,
            fitted_on="all samples",
            stability=stability,
            pairs=self.pairs,
        )

    def enough(self) -> bool:
        """Whether no further run is needed, or there is no time for one."""
        n, options = len(self.outcomes), self.job.options
        if n and options.time is not None:
            is_over = time.perf_counter() - self.started > options.time
            if self.shared.peers.agreed(is_over):
                return True
        return options.n_runs is None and n >= _FEWEST_RUNS and self.consensus.converged

    def screened(self) -> PairScreen | None:
        """Screen all pairs of features on all samples, where it was asked for or takes little.

        Not with groups or weights: the screen takes every sample for a witness of its own.
        """
        if self.job.groups is not None or self.weights is not None:
            return None
        asked, used = self.job.options.pair_screen, np.flatnonzero(self.job.prepared.keep)
        work = float(len(used)) ** 2 * self.n
        if asked is False or (asked is None and work > _WORK_OF_PAIRS) or len(used) < 2 or self.n < _SAMPLES_OF_PAIRS:
            return None
        images = self.images(self.job.fitted(np.arange(self.n)))
        values = images[:, self.pixel[used]]
        found = of_features(self.strongest_pairs(values, self.labels, _MOST_PAIRS, _ALPHA_OF_PAIRS), used)
        if len(found):
            # Every run looks for pairs among its own training samples.
            self.most = min(self.most, max(_FEWEST_RUNS, int(_WORK / work)))
        return found

    def strongest_pairs(self, values: Tensor, labels: NDArray[np.int64], k: int, alpha: float) -> PairScreen:
        threads = self.job.options.training.threads
        return screen_array(
            values.T.contiguous(),
            labels,
            k=k,
            alpha=alpha,
            device=self.device,
            threads=threads,
            label_type="classes" if self.unit is None else "measurement",
        )

    def with_pairs(self, pixels: Pixels, train: Tensor) -> Pixels:
        """Add the products of the pairs that the training samples alone show, in a job that has pairs at all.

        As many as all samples have; fewer samples show them less clearly, so that a looser threshold holds.
        """
        if self.pairs is None or not len(self.pairs):
            return pixels
        at = self.pixel[np.flatnonzero(self.job.prepared.keep)]
        labels = self.labels[train.cpu().numpy()]
        found = self.strongest_pairs(pixels.z[train][:, at], labels, len(self.pairs), _ALPHA_IN_RUNS)
        if not len(found):
            return pixels
        pairs = torch.from_numpy(np.stack([found.feature_a, found.feature_b], axis=1)).to(self.device)
        return pixels.with_products(at[pairs], train)

    def one_run(self, number: int, train: NDArray[np.int64], held_out: NDArray[np.int64]) -> Done:
        """Solve a run on a split, and leave the job as it is."""
        started = time.perf_counter()
        pixels, normalizer = self.pixels(train)
        at, held = (torch.from_numpy(part).to(self.device) for part in (train, held_out))
        pixels = self.with_pairs(pixels, at)
        solution = solve(pixels, at, self.targets, self.folds(train))
        said = evidence(pixels, at, held, self.targets, solution)
        # By the length of the weights in dual form: a pixel that has nothing to do with the labels has the same spread
        # of evidence then, whichever labels the weights were fitted to. (A share of all evidence would be smaller
        # where thousands of pixels have some.)
        length = solution.dual.square().sum((1, 2)).sqrt().clamp(min=1e-30)
        length = length if self.weights is None else length * said.length.clamp(min=1e-30)
        outputs, measured, history, predicted = self.measured(solution, train, held_out)
        is_class = self.unit is None
        counts = np.bincount(self.labels[held_out], minlength=self.job.n_classes) if is_class else None
        whole = said.evidence[0] if said.of_products is None else said.evidence[0] + said.of_products
        importance = RunImportance(
            self.numbers(whole),
            self.numbers(said.class_mean),
            self.numbers(said.class_mean_abs),
            len(held_out),
            counts,
            self.numbers(said.saliency),
            self.numbers(said.class_gradient),
        )
        outcome = RunOutcome(
            number=number,
            layout=self.layout,
            normalizer=normalizer,
            module=None,
            importance=importance,
            history=[{"run": number, "epoch": 1, **history}],
            metrics={
                "run": number,
                "seed": self.job.seed,
                **measured,
                "seconds": time.perf_counter() - started,
                "device": str(self.device),
                "precision": "32-true",
            },
            test=held_out,
            probabilities=None,
            score=1.0 - (measured["balanced_accuracy"] if is_class else measured["r2"] or 0.0),
            messages=[*self.messages, *never_seen(self.job, normalizer)],
            predicted=predicted,
        )
        found = scores(held, self.targets, solution)
        return Done(outcome, outputs[held_out], self.of_features(said.evidence / length[:, None]), found)

    def take(self, done: Done) -> None:
        """Add a run to those before."""
        self.scores += done.scores.to(self.device)
        self.evidence += done.evidence.to(self.device)
        assert done.outcome.importance is not None  # every run has one
        self.consensus.add(done.outcome.importance)
        self.held.append((done.outcome.test, done.outputs))
        self.outcomes.append(replace(done.outcome, importance=None))

    def measured(
        self, solution: Solution, train: NDArray[np.int64], held_out: NDArray[np.int64]
    ) -> tuple[Tensor, dict[str, Any], dict[str, float], NDArray[np.float64] | None]:
        """Give the outputs for all samples, scores of the held-out ones, both parts' scores, a predicted quantity."""
        if self.unit is not None:
            assert solution.predicting is not None  # folds were given
            outputs = solution.predicting.outputs[0].cpu()
            predicted = self.unit.back(outputs[:, 0].numpy(), self.labels[train], self.job.weights_of(train))
            parts = {"train": train, "validation": held_out}
            scores_of = {name: regression_metrics(self.labels[part], predicted[part]) for name, part in parts.items()}
            history = {f"{name}_r2": found["r2"] for name, found in scores_of.items()}
            return outputs, scores_of["validation"], history, predicted[held_out]
        assert solution.predicting is not None  # classes have it
        outputs = solution.predicting.outputs[0].cpu()
        named = outputs.argmax(1).numpy()
        found = classification_metrics(
            self.labels[held_out], named[held_out], self.job.n_classes, self.job.prepared.class_names
        )
        right = named == self.labels
        history = {
            "train_accuracy": float(right[train].mean()),
            "validation_accuracy": float(right[held_out].mean()),
        }
        return outputs, {"held_out_accuracy": found["accuracy"], **found}, history, None

    def targets_of(self, labellings: NDArray[Any]) -> Targets:
        """Labels, ``(P, n)``, as they are solved for."""
        if self.unit is not None:
            values = torch.from_numpy(self.unit.of_values(labellings).astype(np.float32))
            return Targets(values[..., None].to(self.device), None, self.weights)
        codes = torch.from_numpy(labellings).to(self.device)
        return Targets(torch.nn.functional.one_hot(codes, self.job.n_classes).float(), codes, self.weights)

    def folds(self, train: NDArray[np.int64]) -> Tensor | None:
        """Blocks of the training samples, by which the ridge of a quantity is chosen."""
        return None if self.unit is None else torch.from_numpy(self.blocks[train]).to(self.device)

    def stability(self) -> Stability | None:
        """Stability selection on halves of the samples; None where groups make no halves, or it would take long."""
        work = 2.0 * self.n**2 * int(np.prod(self.layout.shape))
        n_pairs = int(min(N_PAIRS, _WORK / (4 * work)))
        if self.job.groups is not None or n_pairs < _FEWEST_PAIRS or self.n < _FEWEST_SAMPLES_TO_HALVE:
            return None
        # The normaliser of all samples: it does not know the labels, and a half is standardised by itself.
        images = self.images(self.job.fitted(np.arange(self.n)))
        own = self.true_labels()
        rng = np.random.default_rng([self.job.seed, 1])
        k, n_used = self.consensus.k, int(self.job.prepared.keep.sum())
        times = np.zeros(self.job.source.n_features)
        peers = self.shared.peers
        for number in range(n_pairs):
            pair = halves(self.labels, rng)
            for half in pair if number % peers.size == peers.rank else ():
                times[chosen(images.clone(), half, own, self.pixel, k)] += 1.0
        times = peers.sums(torch.from_numpy(times)).numpy()
        return Stability(times / (2 * n_pairs), threshold(n_used, k, n_pairs) if k < n_used else None, k, n_pairs)

    def true_labels(self) -> Targets:
        classes = self.targets.classes
        return Targets(self.targets.values[:1], None if classes is None else classes[:1], self.weights)

    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hold out some of the blocks; the training samples keep two classes or more."""
        names = np.unique(self.blocks)
        n_held = min(max(1, round(HELD_OUT * len(names))), len(names) - 1)
        for _ in range(100):
            held = np.isin(self.blocks, self.draw.permutation(names)[:n_held])
            if len(np.unique(self.labels[~held])) > 1:
                break
        return np.flatnonzero(~held), np.flatnonzero(held)

    def pixels(self, train: NDArray[np.int64]) -> tuple[Pixels, Normalizer]:
        """Images of all samples, normalised and standardised by the training samples alone."""
        normalizer = self.job.fitted(train)
        at = torch.from_numpy(train).to(self.device)
        return Pixels.standardise(self.images(normalizer), at, self.weights), normalizer

    def images(self, normalizer: Normalizer) -> Tensor:
        """Pixels of all samples, ``(n, p)``, new memory."""
        loader = self.job.loader(self.layout, normalizer, batch_size=self.n)
        return torch.cat([batch for batch, _, _ in loader]).flatten(1).to(self.device)

    def whole(self, factor: float) -> RunOutcome:
        """Fit the network that predicts, on all samples."""
        everything = np.arange(self.n)
        pixels, normalizer = self.pixels(everything)
        at = torch.from_numpy(everything).to(self.device)
        pixels = self.with_pairs(pixels, at)
        solution = solve(pixels, at, self.true_labels(), self.folds(everything))
        solution = solution.predicting or solution
        module: AdditiveNetwork = network(pixels, at, solution, self.layout.shape)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(factor)
        last = self.outcomes[-1]
        target = None if self.unit is None else (mean_of(self.labels, self.job.weights), self.unit.scale)
        return replace(
            last, number=0, module=module, normalizer=normalizer, metrics={}, history=[], messages=[], target=target
        )

    def judged(self, outcome: RunOutcome, held: tuple[NDArray[np.int64], Tensor], factor: float) -> RunOutcome:
        """Add the probabilities, whose sharpness all runs decide together."""
        if self.unit is not None:
            return outcome
        return replace(outcome, probabilities=torch.softmax(factor * held[1], dim=1).numpy())

    def of_features(self, values: Tensor) -> Tensor:
        """Pixels -> features; 0 for a feature without a pixel."""
        return torch.where(self.pixel >= 0, values[..., self.pixel.clamp(min=0)], 0.0)

    def numbers(self, values: Tensor) -> NDArray[np.float64]:
        return self.of_features(values).double().cpu().numpy()


def of_features(found: PairScreen, used: NDArray[np.int64]) -> PairScreen:
    """Pairs among the features that are used, by their positions among all features."""
    return replace(found, feature_a=used[found.feature_a], feature_b=used[found.feature_b])
