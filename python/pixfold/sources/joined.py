"""Several sources of the same samples as one: features one after the other (multi-omics)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources.base import AnyRows, Source, as_values, normalize_rows, numbered
from pixfold.util.text import counted, listed


class SideBySide(Source):
    """Sources of the same samples, their features one after the other; made by :func:`side_by_side`.

    Attributes
    ----------
    parts : list of Source
        As they were given.
    part_names : list of str
        What each part is called, where its features must be told from those of another.
    """

    def __init__(self, parts: Sequence[Source], names: Sequence[str], rows: list[NDArray[np.int64]]) -> None:
        self.parts, self.part_names = list(parts), list(names)
        self._rows = rows
        name = " + ".join(part.name for part in parts)
        messages = [message for part in parts for message in part.messages]
        prefixes = self._prefixes(messages)
        sparse = sum(part.n_features for part in parts if part.is_sparse)
        n_features = sum(part.n_features for part in parts)
        samples = [parts[0].sample_names[row] for row in rows[0]]
        super().__init__(
            name,
            (len(samples), n_features),
            np.result_type(*(part.dtype for part in parts)),
            feature_names=[
                prefix + name for part, prefix in zip(parts, prefixes, strict=True) for name in part.feature_names
            ],
            sample_names=samples,
            labels=self._of_all(samples, "the label", [part.labels for part in parts]),
            groups=self._of_all(samples, "the group", [part.groups for part in parts]),
            covariates={
                name: self._of_all(samples, f"the covariate {name!r}", [part.covariates.get(name) for part in parts])
                for name in dict.fromkeys(name for part in parts for name in part.covariates)
            },
            beside={
                name: self._of_all(samples, f"the column {name!r}", [part.beside.get(name) for part in parts])
                for name in dict.fromkeys(name for part in parts for name in part.beside)
            },
            feature_annotation=_side_by_side([(part.feature_annotation, part.n_features) for part in parts]),
            categories={
                prefix + feature: list(categories)
                for part, prefix in zip(parts, prefixes, strict=True)
                for feature, categories in part.categories.items()
            },
            messages=messages,
            # As CSR a dense value takes at least twice its room, so that a few of them beside many sparse ones may.
            is_sparse=2 * sparse > n_features,
            chunk_rows=max(part.chunk_rows for part in parts),
        )
        self.left_out = [name for part in parts for name in part.left_out]
        kinds = {part.kind for part in parts}
        self.kind = kinds.pop() if len(kinds) == 1 else "mixed" if kinds & {"genotypes", "sequences"} else "matrix"
        if self.kind == "genotypes":
            self.nbytes = self.n_samples * -(-n_features // 4)

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        blocks = [
            part.read(normalize_rows(own[wanted], part.n_samples))
            for part, own in zip(self.parts, self._rows, strict=True)
        ]
        if all(isinstance(block, PackedGenotypes) for block in blocks):
            # Two bits a value: what follows a part need not begin at a byte.
            return PackedGenotypes.pack(np.hstack([block.toarray(np.int8) for block in blocks]))
        blocks = [as_values(block) for block in blocks]
        if self.is_sparse:
            from scipy import sparse

            typed = (sparse.csr_array(block.astype(self.dtype, copy=False)) for block in blocks)
            return sparse.hstack(list(typed), format="csr")
        dense = np.empty((blocks[0].shape[0], self.n_features), dtype=self.dtype)
        first = 0
        for block in blocks:
            dense[:, first : first + block.shape[1]] = block if isinstance(block, np.ndarray) else block.toarray()
            first += block.shape[1]
        return dense

    def _prefixes(self, messages: list[str]) -> list[str]:
        """Words before the feature names of each part: none where no two parts have a name in common."""
        # Two one-hot columns of one name may have no category, so no feature name, in common.
        counts = Counter(name for part in self.parts for name in {*part.feature_names, *part.categories})
        shared = [name for name, count in counts.items() if count > 1]
        if not shared:
            return [""] * len(self.parts)
        prefixes = [f"{name}:" for name in self.part_names]
        messages.append(
            f"{counted(len(shared), 'feature name')} in more than one of the inputs ({listed(shared)}): the features "
            f"of each are called by its name, such as {prefixes[0] + self.parts[0].feature_names[0]!r}"
        )
        return prefixes

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of all parts, of one name that of the first; see :class:`Source`."""
        columns: dict[str, NDArray[Any]] = {}
        for part, own in zip(self.parts, self._rows, strict=True):
            for name, values in part.sample_columns().items():
                columns.setdefault(name, values[own])
        return columns

    def _of_all(self, samples: list[str], what: str, values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        """What the one part that has it says of the samples; what several say, if they say the same."""
        labelled = [
            (part, of_part[own])
            for part, own, of_part in zip(self.parts, self._rows, values, strict=True)
            if of_part is not None
        ]
        if not labelled:
            return None
        first, labels = labelled[0]
        for part, others in labelled[1:]:
            for row, (mine, theirs) in enumerate(zip(labels.tolist(), others.tolist(), strict=True)):
                # NaN, of a label that is missing in both, is not equal to itself.
                if mine is not theirs and mine != theirs and not (mine != mine and theirs != theirs):
                    raise InputError(
                        f"{part.name}: {what} of sample {samples[row]!r} must be {mine!r} as in {first.name}, "
                        f"got {theirs!r}"
                    )
        return labels


def _side_by_side(parts: Sequence[tuple[dict[str, NDArray[Any]], int]]) -> dict[str, NDArray[Any]]:
    """Annotations of all features; nothing of those of a part that lacks one."""
    columns: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(name for annotation, _ in parts for name in annotation):
        kinds = {annotation[name].dtype.kind for annotation, _ in parts if name in annotation}
        empty = np.nan if kinds <= set("iuf") else ""
        filled = [annotation[name] if name in annotation else np.full(n, empty, object) for annotation, n in parts]
        together = np.concatenate(filled)
        columns[name] = together.astype(np.float64) if kinds <= set("iuf") and together.dtype == object else together
    return columns


def joined(parts: Sequence[Source], names: Sequence[str], join: str, *, stack: bool) -> SideBySide:
    """Put sources side by side, their samples matched; see :func:`pixfold.sources.side_by_side`."""
    messages: list[str] = []
    result = SideBySide(parts, names, _matched(list(parts), join, messages))
    result.messages += messages
    if stack:
        result.channel_sizes = [size for part in parts for size in (part.channel_sizes or [part.n_features])]
    return result


def _matched(parts: list[Source], join: str, messages: list[str]) -> list[NDArray[np.int64]]:
    """Rows of each part that belong to the samples of the result."""
    first = parts[0]
    if any(part.sample_names == numbered("sample", part.n_samples) for part in parts):
        for part in parts[1:]:
            if part.n_samples != first.n_samples:
                raise InputError(
                    f"{part.name}: samples must be {first.n_samples:,} as in {first.name}, got "
                    f"{part.n_samples:,}; samples without names cannot be matched"
                )
        return [np.arange(first.n_samples, dtype=np.int64) for _ in parts]
    if all(part.sample_names == first.sample_names for part in parts):
        return [np.arange(first.n_samples, dtype=np.int64) for _ in parts]
    positions = []
    for part in parts:
        repeated = [name for name, count in Counter(part.sample_names).items() if count > 1]
        if repeated:
            raise InputError(
                f"{part.name}: {counted(len(repeated), 'sample name')} used more than once ({listed(repeated)}), "
                "so that samples cannot be matched by name"
            )
        positions.append({name: row for row, name in enumerate(part.sample_names)})
    common = set.intersection(*(set(position) for position in positions))
    for part, position in zip(parts, positions, strict=True):
        alone = [name for name in position if name not in common]
        if not alone:
            continue
        what = f"{part.name}: {counted(len(alone), 'sample')} not in every input ({listed(alone)})"
        if join == "all" or not common:
            raise InputError(
                f'{what}; join="inner" (command line: --join inner) uses the {len(common):,} that all inputs have'
                if common
                else f"{what}; no sample is in all of them, are samples named in the same way?"
            )
        messages.append(f"{what}: left out")
    kept = [name for name in first.sample_names if name in common]
    return [np.array([position[name] for name in kept], dtype=np.int64) for position in positions]
