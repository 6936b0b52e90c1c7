"""Parts of messages by which the report knows those that a reader must not miss."""

from __future__ import annotations

FEW_SAMPLES = 5
SMALL_CLASSES = f"with fewer than {FEW_SAMPLES} samples"
SIMPLE_METHOD = "a simple method does"
