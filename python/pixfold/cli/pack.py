"""The command ``pixfold pack``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import Messages, interrupted, messages, one_line_errors


@one_line_errors
@options.takes(reading=options.in_panels(options.READING_OF_VALUES))
def pack(
    *,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUT.zarr",
            help="What to pack, as for run; and the store to write. With --verify, OUT.zarr alone.",
        ),
    ],
    memory: Annotated[str, typer.Option(help="What values may take, such as 500MB or 2GiB.")] = "1GB",
    force: options.Force = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read OUT.zarr as a whole and compare its checksums.")
    ] = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
) -> dict[str, Any]:
    """Write INPUT as one compressed store that is read sample by sample; an interrupted pack resumes.

    Example: pixfold pack cohort.bed cohort.zarr --memory 4GB
    """
    *inputs, out = paths
    if not inputs and not verify:
        raise typer.BadParameter("must be INPUT and OUT.zarr, got one path", param_hint="OUT.zarr")
    with messages(quiet=quiet) as shown:
        if not inputs:
            return _verified(out, shown)
        try:
            return _packed(inputs, out, shown, verify=verify, memory=memory, force=force, **reading)
        except KeyboardInterrupt:
            raise interrupted(f"{out} is not written; the same call goes on after the last whole shard") from None


def _packed(inputs: list[Path], out: Path, shown: Messages, *, verify: bool, **given: Any) -> dict[str, Any]:
    from pixfold.store import pack as write_store
    from pixfold.util.sizes import in_words

    start = time.monotonic()
    made = write_store(inputs if len(inputs) > 1 else inputs[0], out, verify=verify, progress=shown, **given)
    for message in made.messages:
        shown.warn(message)
    samples, features = made.shape
    kind = {
        "dense": made.dtype,
        "csr": f"CSR of {made.dtype}",
        "genotypes": "genotypes at 2 bits",
        "dosages": "dosages at 8 bits, in steps of 1/127",
    }[made.kind]
    seconds = time.monotonic() - start
    typer.echo(
        f"{made.path}: {samples:,} samples x {features:,} features, {kind}, {in_words(made.nbytes)}, "
        f"{seconds:.1f} s{', verified' if verify else ''}"
    )
    return {
        "out": str(made.path),
        "n_samples": samples,
        "n_features": features,
        "kind": made.kind,
        "dtype": str(made.dtype),
        "nbytes": made.nbytes,
        "seconds": seconds,
        "verified": verify,
        "messages": made.messages,
    }


def _verified(path: Path, shown: Messages) -> dict[str, Any]:
    from pixfold.sources.packed.store import PackedStore
    from pixfold.util.sizes import in_words

    store = PackedStore(path)
    nbytes = store.verify(shown)
    n_files = len(store.about["files"])
    typer.echo(f"{path}: whole, all checksums agree ({n_files:,} files, {in_words(nbytes)})")
    return {"out": str(path), "n_files": n_files, "nbytes": nbytes, "verified": True}
