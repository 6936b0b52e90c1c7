"""The command line: run a job, pack data, make a needle-in-a-haystack file, say what is installed."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixfold.cli import options
from pixfold.errors import InputError, PixfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from pixfold.report import Results
    from pixfold.sources import Source
    from pixfold.util.progress import Progress

app = typer.Typer(
    name="pixfold",
    help="Find the features that tell samples apart in very wide data: samples become pseudo-images with one "
    "pixel per feature, CNNs learn them, and attributions go back to the features.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

_SHOWN = 10


class _Told:
    """A progress that also remembers which lines were shown, so that no message is shown twice."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._lines: set[str] = set()

    def task(self, description: str, total: float) -> Any:
        return self._inner.task(description, total)

    def log(self, message: str) -> None:
        self._lines.add(message.removeprefix("warning: "))
        self._inner.log(message)

    def warn(self, message: str) -> None:
        if message not in self._lines:
            self._lines.add(message)
            _say(f"warning: {message}")


def _version(asked: bool) -> None:
    if asked:
        from pixfold._core import __version__

        typer.echo(f"pixfold {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Output folder; made when it does not exist.")],
    label: Annotated[
        str | None, typer.Option(help="Column that holds the classes. Without it the job is self-supervised.")
    ] = None,
    labels: options.Labels = None,
    split: options.SplitLabels = None,
    layer: options.Layer = None,
    categorical: options.Encoding = options.Categorical.ordinal,
    stack: options.Stack = False,
    join: options.JoinSamples = options.Join.all,
    sequence: options.Sequence = None,
    alphabet: options.Alphabet = None,
    ambiguous: options.AmbiguousLetters = options.Ambiguous.spread,
    length: options.Length = None,
    normalize: Annotated[
        str,
        typer.Option(
            help="auto looks at the data; or none, log1p, minmax, log1p-minmax, norm2, cp10k-log1p, zscore, "
            "log1p-zscore, genotype."
        ),
    ] = "auto",
    negative: options.NegativeValues = options.Negative.auto,
    missing: options.MissingValues = options.Missing.error,
    arrangement: Annotated[
        options.Arrangement,
        typer.Option(help="Features in the order of the data, or in a new seeded order in every run."),
    ] = options.Arrangement.natural,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network: resnet18 (default with --label), resnet18-plain, patchnet (fast), or a classifier "
            "of torchvision. Only with --label."
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(min=1, help="Runs at most, each with a new split; fewer when the ranking converges."),
    ] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs per run at most; chosen from the data without it.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples per training step.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Attribution: saliency (default with --label), integrated_gradients or input_x_gradient "
            "(default without)."
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Accuracy on validation and test samples below which a run is not used. Without it a run is "
            "used when its balanced accuracy on them is significantly above chance (permutation test, "
            "p <= 0.05). Only with --label.",
        ),
    ] = None,
    latent_dim: Annotated[
        int | None, typer.Option(min=1, help="Size of the latent space. Only without --label.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of training: auto, 32-true, bf16-mixed, 16-mixed.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same findings.")] = 0,
    threads: options.Threads = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for samples, such as 4GB: what fits into half of it is read once, the rest is streamed. "
            "Without it, half of what is free."
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Learn INPUT and write a ranked feature table, figures, a report and the model to --out."""
    if label is None and min_accuracy is not None:
        raise typer.BadParameter("needs --label: without classes there is no accuracy", param_hint="--min-accuracy")
    if label is None and backbone is not None:
        raise typer.BadParameter(
            "needs --label: self-supervised jobs have a network of their own", param_hint="--backbone"
        )
    if label is not None and latent_dim is not None:
        raise typer.BadParameter("is for self-supervised jobs, which have no --label", param_hint="--latent-dim")
    reading = {
        "label": label,
        "labels": labels,
        "split": split,
        "layer": layer,
        "categorical": categorical,
        "stack": stack,
        "join": join,
        "sequence": sequence,
        "alphabet": alphabet,
        "ambiguous": ambiguous,
        "length": length,
    }
    given: dict[str, Any] = {
        "n_runs": runs,
        "normalize": normalize,
        "negative": negative.value,
        "missing": missing.value,
        "arrangement": arrangement.value,
        "device": device,
        "precision": precision,
        "random_state": seed,
        # What was not asked for keeps the default of the estimator.
        **{
            name: value
            for name, value in (
                ("backbone", backbone),
                ("epochs", epochs),
                ("batch_size", batch_size),
                ("method", method),
                ("min_accuracy", min_accuracy),
                ("latent_dim", latent_dim),
                ("threads", threads),
                ("memory", memory),
            )
            if value is not None
        },
    }
    with _one_line_errors(), _folder_made_for(out):
        from pixfold.report import check_writable, write_results
        from pixfold.util.progress import SilentProgress, terminal_progress

        check_writable(out)
        told = _Told(SilentProgress() if quiet else terminal_progress())
        with _telling(told):
            source = _opened(data, **reading)
            estimator = _estimator(supervised=label is not None, **given)
            command = shlex.join(["pixfold", *sys.argv[1:]])
            estimator.fit_source(source, command=command, progress=told)
            results: Results = estimator.results_
            for message in results.messages:
                told.warn(message)
            write_results(results, out, save_model=estimator.save)
    _summarise(results, out)


@app.command()
def fold(
    data: options.Inputs,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="OUT.zarr, or OUT.npy with its layout, normaliser and names beside.")
    ],
    label: options.Label = None,
    labels: options.Labels = None,
    split: options.SplitLabels = None,
    layer: options.Layer = None,
    categorical: options.Encoding = options.Categorical.ordinal,
    stack: options.Stack = False,
    join: options.JoinSamples = options.Join.all,
    sequence: options.Sequence = None,
    alphabet: options.Alphabet = None,
    ambiguous: options.AmbiguousLetters = options.Ambiguous.spread,
    length: options.Length = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a saved model: new samples as its images. Layout, normaliser and classes are the model's."
        ),
    ] = None,
    normalize: Annotated[str, typer.Option(help="As for run; fitted on all samples.")] = "auto",
    negative: options.NegativeValues = options.Negative.auto,
    missing: options.MissingValues = options.Missing.error,
    arrangement: Annotated[
        options.Arrangement, typer.Option(help="Features in the order of the data, or in a seeded order.")
    ] = options.Arrangement.natural,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffled arrangement.")] = 0,
    shape: Annotated[
        str | None,
        typer.Option(metavar="H,W", help="Height and width; the smallest square that has room without it."),
    ] = None,
    channels: Annotated[int, typer.Option(min=1, help="Channels that the features are spread over.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    memory: Annotated[str, typer.Option(help="What blocks may take, such as 512MB or 2GiB.")] = "512MB",
    threads: options.Threads = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the image of every sample of INPUT to OUT, in constant memory."""
    reading = {
        "label": label,
        "labels": labels,
        "split": split,
        "layer": layer,
        "categorical": categorical,
        "stack": stack,
        "join": join,
        "sequence": sequence,
        "alphabet": alphabet,
        "ambiguous": ambiguous,
        "length": length,
    }
    size = _sizes(shape)
    chosen = (normalize, negative, missing, arrangement, seed, size, channels)
    if like is not None and chosen != (
        "auto",
        options.Negative.auto,
        options.Missing.error,
        options.Arrangement.natural,
        0,
        None,
        1,
    ):
        raise typer.BadParameter(
            "brings its own normaliser and layout: leave out the options of these", param_hint="--like"
        )
    with _one_line_errors():
        from pixfold.images.convert import check_free, convert
        from pixfold.util.progress import SilentProgress, terminal_progress

        check_free(out, force=force)
        told = _Told(SilentProgress() if quiet else terminal_progress())
        with _telling(told):
            model = None if like is None else _model(like)
            source = _opened(data, **reading, categories=None if model is None else model.categories_)
            given: dict[str, Any] = {
                "normalize": normalize,
                "negative": negative.value,
                "missing": missing.value,
                "arrangement": arrangement.value,
                "seed": seed,
                "shape": size,
                "channels": channels,
            }
            if model is not None:
                model.check_source(source)
                classes = getattr(model, "class_names_", None)
                given = {"layout": model.layout_, "normalizer": model.normalizer_, "class_names": classes}
            made = convert(
                source, out, dtype=dtype, memory=memory, threads=threads, force=force, progress=told, **given
            )
            for message in made.messages:
                told.warn(message)
        n, *image = made.shape
        classes = f"; {len(made.class_names)} classes" if made.class_names is not None else ""
        typer.echo(f"{out}: {n:,} images of {' x '.join(map(str, image))}, {dtype}{classes}")


@app.command()
def pack(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUT.zarr",
            help="What to pack, as for run; and the store to write. With --verify, OUT.zarr alone.",
        ),
    ],
    label: options.Label = None,
    labels: options.Labels = None,
    split: options.SplitLabels = None,
    layer: options.Layer = None,
    categorical: options.Encoding = options.Categorical.ordinal,
    stack: options.Stack = False,
    join: options.JoinSamples = options.Join.all,
    sequence: options.Sequence = None,
    alphabet: options.Alphabet = None,
    ambiguous: options.AmbiguousLetters = options.Ambiguous.spread,
    length: options.Length = None,
    memory: Annotated[str, typer.Option(help="What values may take in memory, such as 500MB or 2GiB.")] = "1GB",
    force: Annotated[bool, typer.Option("--force", help="Replace OUT.zarr when it exists.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read OUT.zarr as a whole and compare its checksums.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write INPUT as one compressed store that is read sample by sample; an interrupted pack resumes."""
    reading = {
        "label": label,
        "labels": labels,
        "split": split,
        "layer": layer,
        "categorical": categorical,
        "stack": stack,
        "join": join,
        "sequence": sequence,
        "alphabet": alphabet,
        "ambiguous": ambiguous,
        "length": length,
    }
    *inputs, out = paths
    if not inputs and not verify:
        raise typer.BadParameter("expected INPUT and OUT.zarr", param_hint="OUT.zarr")
    with _one_line_errors():
        from pixfold.store.command import run_pack, run_verify
        from pixfold.util.progress import SilentProgress, terminal_progress

        told = _Told(SilentProgress() if quiet else terminal_progress())
        if not inputs:
            typer.echo(run_verify(out, told))
            return
        try:
            with _telling(told):
                done = run_pack(
                    inputs,
                    out,
                    memory=memory,
                    force=force,
                    verify=verify,
                    progress=told,
                    warn=told.warn,
                    options=_read_as(reading),
                )
        except KeyboardInterrupt:
            raise _interrupted(f"{out} is not written; the same call goes on after the last whole shard") from None
        typer.echo(done)


@app.command()
def nihs(
    out: Annotated[Path, typer.Argument(metavar="OUT.h5ad", help="The file to write.")],
    samples: Annotated[int, typer.Option(min=2, help="How many samples.")] = 10_000,
    features: Annotated[int, typer.Option(min=1, help="How many features.")] = 18_225,
    needles: Annotated[int, typer.Option(min=0, help="How many features differ between the classes.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
) -> None:
    """Write a needle-in-a-haystack data set: uniform noise, two classes, a few features that differ."""
    with _one_line_errors():
        from pixfold.examples.synthetic import write_nihs

        path = write_nihs(out, samples, features, needles=needles, seed=seed)
        typer.echo(
            f"{path}: {samples:,} samples x {features:,} features, {needles} needles; classes in the column 'label'"
        )


@app.command()
def info() -> None:
    """Show versions, what this build of pixfold holds, and the devices there are."""
    with _one_line_errors():
        from rich.table import Table

        from pixfold.build import build_config
        from pixfold.util.provenance import versions

        config = build_config()
        cuda, driver = "not built", "not looked for"
        if config["cuda"]:
            cuda = f"built with CUDA {config['cuda_version']} for {', '.join(config['cuda_archs'])}"
            driver = "none" if config["cuda_driver"] is None else f"supports CUDA {config['cuda_driver']}"
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        rows = {
            **versions(),
            "instruction set": f"{config['isa']} (of {', '.join(config['isas'])})",
            "OpenMP": "yes" if config["openmp"] else "no",
            "threads": config["threads"],
            "CUDA extension": cuda,
            "CUDA driver": driver,
            "CUDA devices": "; ".join(config["cuda_devices"]) or "none",
            "devices of torch": _devices(),
        }
        for name, value in rows.items():
            table.add_row(name, str(value))
        _console().print(table, markup=False)


def main() -> None:
    """Entry point of the ``pixfold`` command."""
    # OpenMP threads that spin while they wait for each other cost many times the work itself when another process
    # wants the cores. It is read when torch is loaded, so it must be set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app()


def _opened(paths: list[Path], **reading: Any) -> Source:
    from pixfold.sources import open_source

    return open_source(paths if len(paths) > 1 else paths[0], **_read_as(reading))


def _read_as(reading: dict[str, Any]) -> dict[str, Any]:
    """Options of :func:`pixfold.open_source`: plain text for what is chosen from a list."""
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in reading.items()}


def _sizes(shape: str | None) -> tuple[int, int] | None:
    if shape is None:
        return None
    parts = shape.lower().replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected height,width such as 139,139, received {shape!r}", param_hint="--shape")
    return int(parts[0]), int(parts[1])


def _model(folder: Path) -> Any:
    from pixfold.learn.model_files import load

    return load(folder)


def _estimator(*, supervised: bool, **arguments: Any) -> Any:
    from pixfold.learn.estimator import DeepMapperAutoencoder, DeepMapperClassifier

    return DeepMapperClassifier(**arguments) if supervised else DeepMapperAutoencoder(**arguments)


def _interrupted(what: str) -> typer.Exit:
    """Say what Ctrl-C left, as the last that is said: zarr's event loop would add what it was doing."""
    logging.getLogger("asyncio").disabled = True
    _say(f"interrupted: {what}")
    return typer.Exit(130)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what users can cause into one line and an exit code; anything else is our mistake and shows."""
    try:
        yield
    except KeyboardInterrupt:
        raise _interrupted("nothing written") from None
    except PixfoldError as error:
        _say(f"error: {error}")
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
    except MemoryError as error:
        _say(f"error: out of memory{f': {error}' if str(error) else ''}")
        raise typer.Exit(1) from None


@contextmanager
def _folder_made_for(out: Path) -> Iterator[None]:
    """Remove the empty folders that were made for a job that did not finish."""
    path = Path(os.path.abspath(out))
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in new:
            try:
                folder.rmdir()
            except OSError:  # never made, or something is in it
                break
        raise


@contextmanager
def _telling(told: _Told) -> Iterator[None]:
    """Show progress of sources, and pixfold's warnings as lines; other packages warn their programmers."""
    from pixfold.util.progress import shown_on

    def show(message: Warning | str, *_: object, **__: object) -> None:
        told.warn(" ".join(str(message).split()))

    with warnings.catch_warnings(), shown_on(told):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"pixfold(\.|$)")
        warnings.showwarning = show
        yield


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _console() -> Console:
    from rich.console import Console

    # Without a terminal, lines must not be wrapped at 80 columns: they are read by grep and by scripts.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _summarise(results: Results, out: Path) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console, metrics = _console(), results.metrics
    top = results.findings[results.findings["rank"].notna()].iloc[:_SHOWN]
    if len(top):
        table = Table(box=box.SIMPLE_HEAD, title=f"Top {len(top)} of {len(results.findings):,} features")
        table.add_column("rank", justify="right")
        table.add_column("feature", overflow="fold")
        for name in ("importance", "± sd", "in top k", "mean rank"):
            table.add_column(name, justify="right")
        for _, row in top.iterrows():
            table.add_row(
                f"{row['rank']:g}",
                Text(str(row["feature"])),
                f"{row['importance']:.3g}",
                "" if row["importance_std"] != row["importance_std"] else f"{row['importance_std']:.2g}",
                f"{row['selection_frequency']:.0%}",
                f"{row['mean_rank']:.1f}",
            )
        console.print(table)
    else:
        console.print("No feature has a rank.")
    for key, name in (("test_accuracy", "test accuracy"), ("explained_variance", "explained variance")):
        if metrics.get(key) is not None:
            spread, chance = metrics.get(f"{key}_std"), metrics.get("chance_accuracy")
            line = f"{name}: {metrics[key]:.3f}"
            if spread is not None and spread == spread:  # not NaN
                line += f" ± {spread:.3f}"
            if key == "test_accuracy" and chance is not None:
                line += f"  (chance {chance:.3f})"
            console.print(line)
    if "n_runs" in metrics:
        console.print(f"accepted runs: {metrics['n_accepted']} of {metrics['n_runs']}")
    # Text as it is: no wrapping, no markup, so that the path can be copied.
    console.print(Text(f"output folder: {out}"), soft_wrap=True)
    if metrics.get("n_accepted") == 0:
        _say("warning: no run was accepted, so no feature has a rank; metrics.json says why for each run")


def _devices() -> str:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return "cpu (torch is not installed)"
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return ", ".join(devices)
