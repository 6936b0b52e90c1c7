"""What comes of one training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes
    ----------
    module : Module
        The module that was given, in evaluation mode, on the device of the training, with its best weights.
    history : list of dict
        One per epoch: ``epoch`` (from 1), ``train_loss``, ``validation_loss``, for classifiers
        ``train_accuracy``, ``validation_accuracy``, ``validation_balanced_accuracy``, then ``learning_rate``
        (at the end of the epoch), ``open_gates`` (gate factors that are not 0, where there is a gate),
        ``seconds``. Losses and accuracies of the training samples are means over the epoch, while the
        weights change. Without validation samples their columns are absent.
    best_epoch : int
        The epoch whose weights the module has.
    stopped : str
        ``"epochs"`` (all done), ``"early"`` (patience), ``"good enough"``, ``"rejected"``.
    rejected : str or None
        Why the run is not to be used, in words; None for a good one.
    seconds : float
        Wall time.
    device, precision : str
        What was chosen.
    micro_batch : int or None
        Samples that went through the network at once, where these were not whole batches.
    """

    module: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    stopped: str
    rejected: str | None
    seconds: float
    device: str
    precision: str
    micro_batch: int | None
