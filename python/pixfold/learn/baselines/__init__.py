"""What simpler methods find in the same samples: a test of each feature by itself, and linear models."""

from __future__ import annotations

from pixfold.learn.baselines.linear_models import LinearModel, linear_models
from pixfold.learn.baselines.simple_test import SimpleTest, simple_test, simple_test_of

__all__ = ["LinearModel", "SimpleTest", "linear_models", "simple_test", "simple_test_of"]
