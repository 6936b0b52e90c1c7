"""The command ``pixfold fold``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import messages, one_line_errors
from pixfold.cli.options import Given

# Arguments of images.convert; a model (--like) brings its own.
_PIXELS = {
    **options.VALUES,
    "seed": Given(int, 0, "Of the shuffled arrangement."),
    "shape": Given(str | None, None, "Height and width, such as 139,139. Default: the smallest square with room."),
    "channels": Given(int, 1, "Channels that the features are spread over."),
}
_IMAGES = {"dtype": Given(str, "float32", "float32 or float16.")}
_MACHINE = {"memory": Given(str, "512MB", "What blocks may take, such as 512MB or 2GiB."), **options.THREADS}


@one_line_errors
@options.takes(
    reading=options.in_panels(options.READING_OF_VALUES),
    pixels={"From values to pixels": _PIXELS},
    writing={"The images": _IMAGES, "Where it runs": _MACHINE},
)
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
    fill_missing: options.FillMissing = False,
    ignore_versions: options.IgnoreVersions = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    pixels: dict[str, Any],
    writing: dict[str, Any],
) -> dict[str, Any]:
    """Write the image of every sample of INPUT to OUT, in constant memory.

    Example: pixfold fold data.h5ad images.zarr --label cell_type
    """
    if "shape" in pixels:
        pixels["shape"] = _height_and_width(pixels["shape"])
    if like is not None and any(pixels.get(name) != given.default for name, given in _PIXELS.items()):
        raise typer.BadParameter(
            "brings its own normaliser and layout: leave out the options of these", param_hint="--like"
        )
    for asked, flag in ((fill_missing, "--fill-missing"), (ignore_versions, "--ignore-versions")):
        if asked and like is None:
            raise typer.BadParameter("needs --like: the model says which features there are", param_hint=flag)
    with messages(quiet=quiet) as shown:
        from pixfold.images.convert import check_arguments, convert
        from pixfold.images.files import check_output
        from pixfold.sources import open_source

        check_arguments(**pixels, **writing)
        check_output(out, force=force)
        inputs: Any = data if len(data) > 1 else data[0]
        if like is None:
            source = open_source(inputs, **reading)
        else:
            model = _model(like)
            new = model.aligned(inputs, fill_missing=fill_missing, ignore_versions=ignore_versions, **reading)
            for message in new.messages:
                shown.warn(message)
            source, classes = new.source, getattr(model, "class_names_", None)
            pixels = {"layout": model.layout_, "normalizer": new.normalizer, "class_names": classes}
        made = convert(source, out, force=force, progress=shown, **pixels, **writing)
        for message in made.messages:
            shown.warn(message)
        n, *image = made.shape
        classes = "" if made.class_names is None else f"; {len(made.class_names)} classes"
        typer.echo(f"{out}: {n:,} images of {' x '.join(map(str, image))}, {writing['dtype']}{classes}")
        return {
            "out": str(out),
            "shape": list(made.shape),
            "dtype": writing["dtype"],
            "class_names": made.class_names,
            "messages": made.messages,
        }


def _height_and_width(shape: str) -> tuple[int, int]:
    parts = shape.lower().replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"must be height,width such as 139,139, got {shape!r}", param_hint="--shape")
    return int(parts[0]), int(parts[1])


def _model(folder: Path) -> Any:
    from pixfold.learn.estimators import load

    return load(folder)
