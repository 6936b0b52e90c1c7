"""What a job keeps as it goes, so that it can go on after an interruption with the bits of an undisturbed one."""

from pixfold.learn.checkpoint.checkpoint import Checkpoint, Slot, State

__all__ = ["Checkpoint", "Slot", "State"]
