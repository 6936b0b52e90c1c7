from __future__ import annotations

import collections.abc
import typing

class Device:
    @property
    def capability(self) -> tuple[int, int]: ...
    @property
    def memory(self) -> int: ...
    @property
    def name(self) -> str: ...

class Parameters:
    def __init__(
        self,
        log: bool,
        clip_below_zero: bool,
        offset: typing.Any | None,
        shift: typing.Any | None,
        scale: typing.Any | None,
        fill: typing.Any,
        lo: float,
        hi: float,
        shift_is_zero: bool = False,
    ) -> None: ...

class Slots:
    def __init__(
        self,
        feature: typing.Any | None,
        first_slot: typing.Any | None,
        slot_of_feature: typing.Any | None,
        pixel_of_feature: typing.Any | None,
        n_features: int,
        n_slots: int,
        n_pixels: int,
        one_to_one: bool,
    ) -> None: ...
    def apart(self) -> Slots: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_pixels(self) -> int: ...
    @property
    def n_slots(self) -> int: ...
    @property
    def one_to_one(self) -> bool: ...

class CsrRows:
    def __init__(
        self, op: str, values: typing.Any, indices: typing.Any, row_start: typing.Any, n_features: int
    ) -> None: ...

class FoldPlan:
    def __call__(
        self, x: int, n_samples: int, sample_stride: int, feature_stride: int, out: int, stream: int
    ) -> bool: ...
    def __init__(
        self, x: typing.Any, slots: Slots, parameters: Parameters | None, out: typing.Any, counts: typing.Any | None
    ) -> None: ...

def aggregate(
    attributions: typing.Any,
    labels: typing.Any,
    keep: typing.Any | None,
    count: typing.Any,
    side: typing.Any,
    first: typing.Any,
    second: typing.Any,
    refused: typing.Any,
    stream: int,
) -> None: ...
def census_csr(rows: CsrRows, counts: typing.Any, stream: int) -> None: ...
def census_dense(x: typing.Any, counts: typing.Any, stream: int) -> None: ...
def column_stats_csr(
    rows: CsrRows,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    stream: int,
) -> None: ...
def column_stats_dense(
    x: typing.Any,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    stream: int,
) -> None: ...
def column_stats_packed(
    bits: typing.Any,
    n_features: int,
    count_first: bool,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    out: typing.Any,
    stream: int,
) -> None: ...
def devices() -> list[Device]: ...
def driver_version() -> str | None: ...
def fold_csr(
    rows: CsrRows,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    background: typing.Any | None,
    counts: typing.Any | None,
    stream: int,
    samples: typing.Any | None = None,
) -> None: ...
def fold_dense(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    counts: typing.Any | None,
    stream: int,
    offsets: typing.Any | None = None,
) -> None: ...
def fold_dense_library(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    library_size: float,
    out: typing.Any,
    counts: typing.Any | None,
    stream: int,
) -> bool: ...
def fold_gradient(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    library_size: float,
    gradient: typing.Any,
    out: typing.Any,
    stream: int,
) -> None: ...
def fold_gradient_library(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    library_size: float,
    gradient: typing.Any,
    out: typing.Any,
    stream: int,
) -> bool: ...
def fold_packed(
    bits: typing.Any, slots: Slots, planes: typing.Any, out: typing.Any, stream: int, samples: typing.Any | None = None
) -> None: ...
def fold_packed_means(
    bits: typing.Any, slots: Slots, values: typing.Any, out: typing.Any, stream: int, samples: typing.Any | None = None
) -> None: ...
def rank(
    importance: typing.Any,
    survey: typing.Annotated[collections.abc.Sequence[int], "FixedSize(4)"],
    out: typing.Any,
    stream: int,
) -> None: ...
def row_sums_csr(rows: CsrRows, out: typing.Any, stream: int) -> None: ...
def row_sums_dense(x: typing.Any, out: typing.Any, stream: int) -> None: ...
def survey(op: str, importance: typing.Any, found: typing.Any, stream: int) -> None: ...
def top_k(
    importance: typing.Any,
    survey: typing.Annotated[collections.abc.Sequence[int], "FixedSize(4)"],
    positions: typing.Any,
    n_selected: typing.Any,
    stream: int,
) -> None: ...
def unfold(images: typing.Any, slots: Slots, out: typing.Any, stream: int) -> None: ...
def unfold_gradient(gradient: typing.Any, slots: Slots, out: typing.Any, stream: int) -> None: ...

archs: list[str]
most_ranked: int
version: str
