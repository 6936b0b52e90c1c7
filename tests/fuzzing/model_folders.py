"""Models, layouts, normalisers and checkpoints on disk, and what can be wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

import pixfold as pf
from fuzzing.calls import Random, pick
from pixfold.learn.checkpoint import Checkpoint, Slot

N_FEATURES = 9
X = np.random.default_rng(0).random((24, N_FEATURES)) + np.arange(24)[:, None] % 2
Y = np.array(["a", "b"])[np.arange(24) % 2]
TINY: dict[str, Any] = {"n_runs": 1, "device": "cpu", "threads": 1, "random_state": 0}

# A sample of what a value of JSON may be replaced by.
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, -1e308, 1e308, "", "x", "../../etc/passwd", "\0",
    "resnet18", "patchnet", "auto", "os:system", "builtins:eval", [], [[]], [1], ["a"] * 9, {}, {"a": 1}, [None] * 9,
    "a" * 500, "<U1000000000", "|O", "<f8", "|V8", "int8",
]  # fmt: skip
# Texts that json.dumps does not write.
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "[" * 100_000,
    '{"a":' * 50_000,
    "1" * 5000,
    '{"a": 1, "a": 2}',
    "\ud800",
]


class StopError(Exception):
    """Ends a job once it has kept something."""


def make(folder: Path) -> None:
    """Write one sound folder of each kind."""
    layout = pf.Layout.shuffled(N_FEATURES, seed=1)
    (folder / "arrays").mkdir(parents=True)
    layout.save(folder / "arrays" / "layout.npz")
    pf.Normalizer("minmax").fit(X).save(folder / "arrays" / "normalizer.npz")
    short: dict[str, Any] = {**TINY, "epochs": 1, "batch_size": 8}
    pf.DeepMapperClassifier("patchnet", **short, baselines=False).fit(X, Y).save(folder / "patchnet")
    pf.DeepMapperClassifier("additive", **TINY, baselines=False).fit(X, Y).save(folder / "additive")
    pf.DeepMapperRegressor("patchnet", **short, baselines=False).fit(X, X[:, 1]).save(folder / "regressor")
    pf.DeepMapperAutoencoder(3, **short).fit(X).save(folder / "autoencoder")
    for name, settings in CHECKPOINTS.items():
        interrupted(folder / name, settings)


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "trained checkpoint": {
        "backbone": "patchnet",
        "epochs": 2,
        "batch_size": 8,
        **TINY,
        "n_runs": 2,
        "baselines": False,
    },
    "additive checkpoint": {"backbone": "additive", **TINY, "n_runs": 2, "baselines": False, "pair_screen": False},
}


def interrupted(folder: Path, settings: dict[str, Any]) -> None:
    """Leave the checkpoint of a job that ended before its end."""
    kept = Checkpoint(folder)
    own, most = Slot.write, 4 if settings["backbone"] == "patchnet" else 1
    calls: list[str] = []

    def counted(slot: Slot, tensors: Any, values: Any) -> None:
        own(slot, tensors, values)
        calls.append(slot.path.name)
        if len(calls) > most:
            raise StopError

    Slot.write = counted  # type: ignore[method-assign]
    try:
        fit(kept, settings)
    except StopError:
        pass
    finally:
        Slot.write = own  # type: ignore[method-assign]


def fit(kept: Checkpoint, settings: dict[str, Any]) -> None:
    """Begin a job, or go on with one."""
    source = pf.open_source(X, y=Y)
    pf.DeepMapperClassifier(**settings).fit_source(source, checkpoint=kept)


def use(folder: Path, kind: str) -> None:
    """Read a folder and do with it what a user would."""
    if kind == "arrays":
        layout = pf.Layout.load(folder / "layout.npz")
        if layout.n_pixels < 2**20:
            pf.fold(np.zeros((2, layout.n_features)), layout)
        normalizer = pf.Normalizer.load(folder / "normalizer.npz")
        normalizer.transform(np.ones((2, normalizer.parameters().n_features)))
    elif kind in CHECKPOINTS:
        fit(Checkpoint(folder), CHECKPOINTS[kind])
    else:
        model = pf.load(folder)
        if model.layout_.n_pixels < 2**16:
            (model.transform if kind == "autoencoder" else model.predict)(X)


def damage(rng: Random, folder: Path) -> str:
    """Spoil one file of a folder; say how."""
    file = pick(rng, sorted(path for path in folder.iterdir() if path.is_file()))
    ways: list[Callable[[Random, Path], str]] = [_bytes, _bytes, _kind]
    if file.suffix == ".json":
        ways += [_value] * 6 + [_text] * 2
    if file.suffix == ".safetensors":
        ways += [_header] * 3 + [_tensor] * 5
    if file.suffix == ".npz":
        ways += [_member] * 4
    return f"{file.name}: {pick(rng, ways)(rng, file)}"


def _bytes(rng: Random, file: Path) -> str:
    content = bytearray(file.read_bytes())
    at = int(rng.integers(0, len(content)))
    # Headers are at the beginning, directories of archives at the end.
    at = pick(rng, [at, min(at, 200), max(at, len(content) - 100)])
    at = min(at, len(content) - 1)
    way = pick(rng, ["flip", "cut", "insert", "zeros", "longer", "empty"])
    if way == "flip":
        content[at] ^= 1 << int(rng.integers(0, 8))
    elif way == "cut":
        del content[at:]
    elif way == "insert":
        content[at:at] = rng.bytes(int(rng.integers(1, 40)))
    elif way == "zeros":
        content[at : at + 16] = bytes(16)
    elif way == "longer":
        content += rng.bytes(64)
    else:
        content.clear()
    file.write_bytes(content)
    return f"{way} at {at}"


def _kind(rng: Random, file: Path) -> str:
    way = pick(rng, ["link", "dangling link", "device", "pipe", "folder", "nothing", "sparse"])
    elsewhere = file.with_name("elsewhere")
    if way == "sparse":
        os.truncate(file, 2**40)
        return way
    file.rename(elsewhere)
    if way == "link":
        file.symlink_to(elsewhere)
    elif way == "dangling link":
        file.symlink_to("/nowhere/at/all")
    elif way == "device":
        file.symlink_to("/dev/zero")
    elif way == "pipe":
        os.mkfifo(file)
    elif way == "folder":
        file.mkdir()
    if way != "link":
        elsewhere.unlink()
    return way


def _value(rng: Random, file: Path) -> str:
    about = json.loads(file.read_text())
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in list(items):
            places.append((value, key))
            walk(item)

    walk(about)
    parent, key = pick(rng, places)
    way = pick(rng, ["replace", "replace", "replace", "raw", "remove", "double", "many"])
    if way == "remove":
        del parent[key]
    elif way == "double":
        parent[key] = [parent[key], parent[key]]
    elif way == "many":
        parent[key] = [parent[key]] * 100_000
    else:
        parent[key] = pick(rng, ODD) if way == "replace" else "RAW"
    raw = pick(rng, RAW)
    text = json.dumps(about).replace('"RAW"', raw)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return f"{key} {way} {raw[:20] if way == 'raw' else repr(parent[key])[:40] if way != 'remove' else ''}"


def _text(rng: Random, file: Path) -> str:
    text = file.read_text()
    new = pick(
        rng, [*RAW, text + text, text.replace("{", '{"model": "x", ', 1), "\ufeff" + text, "null", "[]", '"x"', "7"]
    )
    file.write_text(new, encoding="utf-8", errors="surrogatepass")
    return f"text {new[:30]!r}"


def _header(rng: Random, file: Path) -> str:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    name = pick(rng, sorted(header))
    entry = header[name]
    way = pick(rng, ["shape", "dtype", "offsets", "name", "twice", "size", "metadata", "deep"])
    if "shape" not in entry:
        way = "metadata"
    if way == "shape":
        entry["shape"] = pick(
            rng, [[], [0], [2**40], [2**63], [2**62, 4], [-1], entry["shape"] + [1], [1] * 5000, ["x"], None]
        )
    elif way == "dtype":
        entry["dtype"] = pick(rng, ["F64", "U8", "BF16", "BOOL", "I64", "F8_E4M3", "X", 3, None, "C64"])
    elif way == "offsets":
        entry["data_offsets"] = pick(rng, [[0, 0], [0, 2**62], [2**62, 0], [-8, 8], [8, 0], [1], None, [0.5, 1]])
    elif way == "name":
        header[pick(rng, ["", "x", "module.", "module.../../x", "layout.shape", "a" * 10_000, "importance.mean"])] = (
            header.pop(name)
        )
    elif way == "metadata":
        header["__metadata__"] = pick(
            rng, [{}, None, [], {"model": 3}, {"model": "x"}, {"values": "NaN"}, {"values": "[" * 10_000}, "x"]
        )
    text = json.dumps(header)
    if way == "twice":
        text = text[:-1] + ", " + json.dumps({name: entry})[1:]
    if way == "deep":
        text = text.replace("{", '{"deep": ' + "[" * 50_000 + "]" * 50_000 + ", ", 1)
    length = len(text.encode())
    if way == "size":
        length = pick(rng, [0, 1, 2**62, 2**64 - 1, 10**8, length + 1])
    file.write_bytes(length.to_bytes(8, "little") + text.encode() + content[8 + size :])
    return f"header {name} {way}"


def _tensor(rng: Random, file: Path) -> str:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__")
    tensors = safetensors.torch.load(content)
    name = pick(rng, sorted(tensors))
    value = tensors[name]
    way = pick(
        rng, ["nan", "inf", "large", "negative", "remove", "shorter", "longer", "dtype", "reshape", "noise", "empty"]
    )
    flat = value.reshape(-1)
    if way == "remove":
        del tensors[name]
    elif way == "empty" or not flat.numel():
        tensors[name] = flat[:0].clone()
    elif way in ("nan", "inf") and value.is_floating_point():
        flat[int(rng.integers(0, len(flat)))] = float(way)
    elif way in ("large", "negative", "nan", "inf"):
        number = 2.0**60 if way == "large" else -1.0
        flat[int(rng.integers(0, len(flat)))] = torch.tensor(number).to(value.dtype)
    elif way in ("shorter", "longer"):
        tensors[name] = value[:-1].clone() if way == "shorter" and value.ndim else torch.cat([flat, flat])
    elif way == "dtype":
        tensors[name] = value.to(
            pick(rng, [torch.float32, torch.float64, torch.int8, torch.bool, torch.bfloat16, torch.int64])
        )
    elif way == "reshape":
        tensors[name] = flat[None].clone()
    else:
        tensors[name] = torch.from_numpy(rng.standard_normal(value.numel())).to(value.dtype).reshape(value.shape)
    if name == "layout.shape" and rng.random() < 0.7:
        tensors[name] = torch.tensor(
            pick(rng, [[1, 2**20, 2**20], [1, 3, 2**40], [0, 3, 3], [-1, 3, 3], [2**31, 2**31, 4], [1, 1, 9]])
        )
    safetensors.torch.save_file(tensors, file, metadata=metadata)
    return f"tensor {name} {way}"


def _member(rng: Random, file: Path) -> str:
    with np.load(file) as found:
        arrays = dict(found)
    name = pick(rng, sorted(arrays))
    value = arrays[name]
    way = pick(rng, ["dtype", "nan", "shape", "negative", "remove", "object", "lies", "bomb", "settings"])
    if way == "dtype":
        arrays[name] = value.astype(pick(rng, ["float32", "int8", "U5", "complex128", "bool", ">i8"]))
    elif way == "nan":
        arrays[name] = np.full(value.shape, np.nan)
    elif way == "shape":
        arrays[name] = pick(rng, [value[:-1], value[None], value[:0], np.concatenate([value, value])])
    elif way == "negative":
        arrays[name] = -value.astype(np.int64) - 5
    elif way == "remove":
        del arrays[name]
    elif way == "object":
        arrays[name] = np.array([{"a": 1}, None], dtype=object)
    elif way == "settings" and "settings" in arrays:
        about = json.loads(arrays["settings"].tobytes())
        about[pick(rng, sorted(about))] = pick(rng, ODD)
        arrays["settings"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    if way == "bomb":
        arrays[name] = np.zeros(2**24, dtype=np.uint8)
        np.savez_compressed(file, **arrays)
        return f"{name} {way}"
    np.savez(file, **arrays)
    if way == "lies":
        content = file.read_bytes()
        at = content.index(b"'shape': (")
        end = content.index(b")", at)
        lie = pick(rng, [b"9" * 12 + b",", b"-1,", b"2**40,", b"0,", b"1,1,"])
        room = end - at - len(b"'shape': (")
        file.write_bytes(content[: end - room] + lie[:room].ljust(room) + content[end:])
    return f"{name} {way}"
