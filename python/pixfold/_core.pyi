from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

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
    def __init__(self, feature: typing.Any, pixel: typing.Any, n_features: int, n_pixels: int) -> None: ...

class CsrRows:
    def __init__(
        self, op: str, values: typing.Any, indices: typing.Any, row_start: typing.Any, n_features: int, threads: int
    ) -> None: ...
    @property
    def canonical(self) -> bool: ...

class PackedTable:
    def __init__(
        self, slots: Slots, parameters: Parameters | None, values: typing.Any, dtype: str, threads: int
    ) -> None: ...

def aggregate(
    attributions: typing.Any,
    samples: typing.Any,
    added: typing.Any,
    seen: typing.Any,
    before: collections.abc.Sequence[typing.Any | None],
    after: collections.abc.Sequence[typing.Any],
    threads: int,
) -> bool: ...
def any_missing_packed(bits: typing.Any, n_features: int, threads: int) -> bool: ...
def census_csr(rows: CsrRows, threads: int) -> tuple[int, int, int]: ...
def census_dense(x: typing.Any, threads: int) -> tuple[int, int, int]: ...
def column_stats_csr(
    rows: CsrRows,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    row_scale: typing.Any | None,
    threads: int,
) -> tuple[
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    int,
    int,
]: ...
def column_stats_dense(
    x: typing.Any,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    row_scale: typing.Any | None,
    threads: int,
) -> tuple[
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    int,
    int,
]: ...
def column_stats_packed(
    bits: typing.Any,
    n_features: int,
    count_first: bool,
    log: bool,
    clip_below_zero: bool,
    offset: typing.Any | None,
    threads: int,
) -> tuple[
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.int64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    numpy.typing.NDArray[numpy.float64],
    int,
    int,
]: ...
def copy_bytes(to: typing.Any, from_: typing.Any, threads: int) -> None: ...
def default_threads() -> int: ...
def fill_bytes(to: typing.Any, threads: int, value: int = 1) -> None: ...
def fold_csr(
    rows: CsrRows,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    threads: int,
) -> tuple[int, int]: ...
def fold_dense(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    out: typing.Any,
    threads: int,
) -> tuple[int, int]: ...
def fold_gradient(
    x: typing.Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: typing.Any | None,
    library_size: float,
    gradient: typing.Any,
    out: typing.Any,
    threads: int,
) -> None: ...
def fold_packed(bits: typing.Any, table: PackedTable, out: typing.Any, threads: int) -> None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def pack(x: typing.Any, count_first: bool, missing: int, bits: typing.Any, threads: int) -> int: ...
def rank(importance: typing.Any, threads: int) -> numpy.typing.NDArray[numpy.float64]: ...
def read_bytes(from_: typing.Any, threads: int) -> int: ...
def row_sums_csr(rows: CsrRows, threads: int) -> numpy.typing.NDArray[numpy.float64]: ...
def row_sums_dense(x: typing.Any, threads: int) -> numpy.typing.NDArray[numpy.float64]: ...
def set_isa(name: str) -> None: ...
def top_k(importance: typing.Any, k: int, threads: int) -> numpy.typing.NDArray[numpy.int64]: ...
def transpose_packed(bits: typing.Any, n_codes: int, out: typing.Any, threads: int) -> None: ...
def unfold(images: typing.Any, slots: Slots, out: typing.Any, threads: int) -> None: ...
def unfold_gradient(gradient: typing.Any, slots: Slots, out: typing.Any, threads: int) -> None: ...
def unpack(bits: typing.Any, n_features: int, values: typing.Any, out: typing.Any, threads: int) -> None: ...

__version__: str
compiler: str
openmp: bool
