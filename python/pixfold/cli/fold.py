"""The command ``pixfold fold``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import messages, one_line_errors

# What --like replaces, and the values that stand for "not asked for".
_REPLACED: dict[str, Any] = {
    "normalize": "auto",
    "negative": "auto",
    "missing": "error",
    "arrangement": "natural",
    "seed": 0,
    "shape": None,
    "channels": 1,
}


@one_line_errors
@options.reads_samples()
def fold(
    *,
    data: options.Inputs,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="OUT.zarr, or OUT.npy with its layout, normaliser and names beside.")
    ],
    like: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a saved model: new samples as its images. Layout, normaliser and classes are the model's."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float16.", rich_help_panel=options.VALUES)] = "float32",
    memory: Annotated[
        str, typer.Option(help="What blocks may take, such as 512MB or 2GiB.", rich_help_panel=options.MACHINE)
    ] = "512MB",
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    normalize: options.Normalize = "auto",
    negative: options.Negative = "auto",
    missing: options.Missing = "error",
    arrangement: Annotated[
        options.Arrangement,
        typer.Option(help="Features in the order of the data, or in a seeded order.", rich_help_panel=options.VALUES),
    ] = "natural",
    seed: Annotated[int, typer.Option(help="Of the shuffled arrangement.", rich_help_panel=options.VALUES)] = 0,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="H,W",
            help="Height and width. Default: the smallest square that has room.",
            rich_help_panel=options.VALUES,
        ),
    ] = None,
    channels: Annotated[
        int, typer.Option(help="Channels that the features are spread over.", rich_help_panel=options.VALUES)
    ] = 1,
) -> None:
    """Write the image of every sample of INPUT to OUT, in constant memory."""
    given: dict[str, Any] = {
        "normalize": normalize,
        "negative": negative,
        "missing": missing,
        "arrangement": arrangement,
        "seed": seed,
        "shape": _height_and_width(shape),
        "channels": channels,
    }
    if like is not None and given != _REPLACED:
        raise typer.BadParameter(
            "brings its own normaliser and layout: leave out the options of these", param_hint="--like"
        )
    with messages(quiet=quiet) as shown:
        from pixfold.images.convert import check_free, convert
        from pixfold.sources import open_source

        check_free(out, force=force)
        model = None if like is None else _model(like)
        categories = None if model is None else model.categories_
        source = open_source(data if len(data) > 1 else data[0], **reading, categories=categories)
        if model is not None:
            model.check_source(source)
            classes = getattr(model, "class_names_", None)
            given = {"layout": model.layout_, "normalizer": model.normalizer_, "class_names": classes}
        made = convert(source, out, dtype=dtype, memory=memory, threads=threads, force=force, progress=shown, **given)
        for message in made.messages:
            shown.warn(message)
        n, *image = made.shape
        classes = "" if made.class_names is None else f"; {len(made.class_names)} classes"
        typer.echo(f"{out}: {n:,} images of {' x '.join(map(str, image))}, {dtype}{classes}")


def _height_and_width(shape: str | None) -> tuple[int, int] | None:
    if shape is None:
        return None
    parts = shape.lower().replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"must be height,width such as 139,139, got {shape!r}", param_hint="--shape")
    return int(parts[0]), int(parts[1])


def _model(folder: Path) -> Any:
    from pixfold.learn.model_files import load

    return load(folder)
