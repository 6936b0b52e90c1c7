"""What a job keeps as it goes, so that it can go on after an interruption with the bits of an undisturbed one."""

from pixfold.learn.checkpoint.checkpoint import Checkpoint, JobFinished, Slot, State

__all__ = ["Checkpoint", "JobFinished", "Slot", "State"]
