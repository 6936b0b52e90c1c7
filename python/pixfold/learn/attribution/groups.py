"""Groups of features that are ablated together: pathways, chromosomes, any table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.util.text import counted, listed, must_be

_NAMES = ("feature", "group")


@dataclass(frozen=True)
class FeatureGroups:
    """Names of groups, and the features of each; a feature may be in several, or in none.

    Attributes
    ----------
    names : list of str
        In the order of the file.
    members : list of int64 arrays
        Positions of their features.
    messages : list of str
        What the user should be told: names that are no features, features in no group.
    """

    names: list[str]
    members: list[NDArray[np.int64]]
    messages: list[str]


def feature_groups(
    given: str | Path | Mapping[str, Sequence[str]],
    features: Sequence[str],
    annotation: Mapping[str, Any],
    shown: Sequence[str] | None = None,
) -> FeatureGroups:
    """Read groups of features.

    Parameters
    ----------
    given : path, name of a column, or mapping
        A GMT file (group, description, features, separated by tabs); a table with a column ``feature`` and a column
        ``group`` (.csv, .tsv, .txt); the name of a column of what the data say of their features, such as
        ``chromosome``; or a mapping of group -> features.
    features : sequence of str
        Names of the features of the data.
    annotation : mapping of str to arrays
        What the data say of their features, column by column.
    shown : sequence of str, optional
        Other names of the features, such as gene symbols, which are taken where ``features`` has none of the file's.

    Returns
    -------
    FeatureGroups
        Groups without a feature of the data are left out, and counted in the messages.

    Raises
    ------
    InputError
        When the file cannot be read as one of these, or no group has a feature of the data.
    """
    if isinstance(given, Mapping):
        pairs = [(str(group), str(name)) for group, names in given.items() for name in names]
        return _matched("feature_groups", pairs, features, shown)
    path = Path(given)
    if not path.exists() and str(given) in annotation:
        values = [str(value) for value in annotation[str(given)]]
        names = list(dict.fromkeys(value for value in values if value not in ("", "nan", "None")))
        codes = np.asarray(values, dtype=object)
        return FeatureGroups(names, [np.flatnonzero(codes == name) for name in names], [])
    if not path.is_file():
        columns = f" ({', '.join(annotation)})" if annotation else ""
        raise InputError(
            must_be("feature_groups", "feature_groups", f"a file or a column about features{columns}", str(given))
        )
    return _matched(str(path), read_groups(path), features, shown)


def read_groups(path: Path) -> list[tuple[str, str]]:
    """Pairs of group and feature of a GMT file or a table.

    Raises
    ------
    InputError
        With the line where the file is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a GMT file or a table of feature and group, got {error}") from error
    if path.suffix.lower() == ".gmt":
        pairs = []
        for number, line in enumerate(text.splitlines(), start=1):
            group, *rest = line.rstrip("\t ").split("\t")
            if not line.strip():
                continue
            if not group or len(rest) < 2:
                raise InputError(
                    f"{path}: line {number} must be a group, a description and features with tabs between them, "
                    f"got {counted(len(rest) + 1, 'field')}"
                )
            pairs += [(group, name) for name in rest[1:] if name]
        return pairs
    lines = text.splitlines()
    if not lines:
        raise InputError(f"{path}: must be a GMT file or a table of feature and group, got an empty file")
    separator = "\t" if "\t" in lines[0] else ";" if ";" in lines[0] and "," not in lines[0] else ","
    rows = csv.reader(lines, delimiter=separator)
    header = [name.strip().lower() for name in next(rows)]
    if not set(_NAMES) <= set(header):
        raise InputError(f"{path}: must have the columns feature and group, got {', '.join(header)}")
    at_feature, at_group = (header.index(name) for name in _NAMES)
    pairs = []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) <= max(at_feature, at_group):
            raise InputError(f"{path}: line {number} must have {len(header)} fields, got {len(row)}")
        if row[at_group].strip():
            pairs.append((row[at_group].strip(), row[at_feature].strip()))
    return pairs


def _matched(
    op: str, pairs: list[tuple[str, str]], features: Sequence[str], shown: Sequence[str] | None
) -> FeatureGroups:
    wanted = {name for _, name in pairs}
    for names in (features, shown or ()):
        places: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            places.setdefault(str(name), []).append(position)
        if wanted & places.keys():
            break
    else:
        raise InputError(
            f"{op}: must name features of the data ({listed(list(features))}), got {listed(sorted(wanted))}"
        )
    groups: dict[str, list[int]] = {}
    for group, name in pairs:
        groups.setdefault(group, []).extend(places.get(name, ()))
    members = {group: np.unique(np.asarray(at, dtype=np.int64)) for group, at in groups.items() if at}
    messages = []
    if unknown := sorted(wanted - places.keys()):
        messages.append(f"{op}: {counted(len(unknown), 'name')} of groups are no features: {listed(unknown)}")
    if empty := [group for group, at in groups.items() if not at]:
        messages.append(f"{op}: {counted(len(empty), 'group')} left out, of which the data have no feature")
    alone = len(features) - len(np.unique(np.concatenate(list(members.values()))))
    if alone:
        messages.append(f"{op}: {counted(alone, 'feature')} in no group: not ablated, without a rank")
    return FeatureGroups(list(members), list(members.values()), messages)


@dataclass(frozen=True)
class PixelGroups:
    """Groups of pixels, as masks in which no two groups share a pixel.

    Attributes
    ----------
    masks : list of (int64 tensor (1, C, H, W), list of int)
        A mask holds 0 where nothing is ablated and ``1 + i`` in the pixels of the i-th group of its list.
    sizes : float32 tensor (n_groups,)
        Features of each group.
    """

    masks: list[tuple[Tensor, list[int]]]
    sizes: Tensor

    @staticmethod
    def layout(n: int) -> Layout:
        """Layout of an accumulator of ``n`` groups."""
        return Layout.natural(n, shape=(1, n))

    @classmethod
    def of(cls, groups: FeatureGroups, layout: Layout, device: torch.device) -> PixelGroups:
        """Put groups of features on the pixels of a layout."""
        n_pixels = len(layout.feature_of_pixel)
        masks: list[tuple[NDArray[np.int64], list[int]]] = []
        for number, members in enumerate(groups.members):
            pixels = layout.pixel_of_feature[members]
            pixels = pixels[pixels >= 0]
            for mask, held in masks:  # noqa: B007 - both are used after the loop
                if not mask[pixels].any():
                    break
            else:
                mask, held = np.zeros(n_pixels, dtype=np.int64), []
                masks.append((mask, held))
            held.append(number)
            mask[pixels] = len(held)
        placed = [(torch.from_numpy(mask).reshape(1, *layout.shape).to(device), held) for mask, held in masks]
        sizes = torch.tensor([len(members) for members in groups.members], dtype=torch.float32, device=device)
        return cls(placed, sizes)
