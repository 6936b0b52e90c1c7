"""What ``pixfold pack`` does with its arguments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixfold.sources.packed.store import PackedStore
from pixfold.store.packer import pack
from pixfold.stream.blocks import in_words
from pixfold.util.progress import Progress


def run_pack(
    inputs: Sequence[Path],
    out: Path,
    *,
    memory: str,
    force: bool,
    verify: bool,
    progress: Progress,
    warn: Callable[[str], None],
    options: Mapping[str, Any],
) -> str:
    """Pack files; return the line that says what was written."""
    start = time.monotonic()
    data = list(inputs) if len(inputs) > 1 else inputs[0]
    made = pack(data, out, memory=memory, force=force, verify=verify, progress=progress, **options)
    for message in made.messages:
        warn(message)
    samples, features = made.shape
    kind = {"dense": made.dtype, "csr": f"CSR of {made.dtype}", "genotypes": "genotypes at 2 bits"}[made.kind]
    return (
        f"{made.path}: {samples:,} samples x {features:,} features, {kind}, {in_words(made.nbytes)}, "
        f"{time.monotonic() - start:.1f} s{', verified' if verify else ''}"
    )


def run_verify(path: Path, progress: Progress) -> str:
    """Check a packed store; return the line that says so."""
    store = PackedStore(path)
    nbytes = store.verify(progress)
    return f"{path}: whole, all checksums agree ({len(store.about['files']):,} files, {in_words(nbytes)})"
