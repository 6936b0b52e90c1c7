"""Normalisation: one formula for every preset, learned from training samples."""

from pixfold.normalize.normalizer import Normalizer

__all__ = ["Normalizer"]
