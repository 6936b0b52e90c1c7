from typing import Any

__version__: str
openmp: bool
compiler: str

class Parameters:
    def __init__(
        self,
        log: bool,
        clip_below_zero: bool,
        offset: Any,
        shift: Any,
        scale: Any,
        fill: Any,
        lo: float,
        hi: float,
    ) -> None: ...

class Slots:
    def __init__(self, feature: Any, pixel: Any, n_features: int, n_pixels: int) -> None: ...

class CsrRows:
    def __init__(
        self, op: str, values: Any, bfloat16: bool, indices: Any, row_start: Any, n_features: int, threads: int
    ) -> None: ...
    @property
    def canonical(self) -> bool: ...

def isa() -> str: ...
def isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def default_threads() -> int: ...
def computes_in_double(x: Any, bfloat16: bool) -> bool: ...
def fold_dense(
    x: Any,
    x_bfloat16: bool,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any,
    out: Any,
    out_bfloat16: bool,
    threads: int,
) -> tuple[int, int]: ...
def fold_csr(
    rows: CsrRows,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any,
    out: Any,
    out_bfloat16: bool,
    threads: int,
) -> tuple[int, int]: ...

class PackedTable:
    def __init__(
        self,
        slots: Slots,
        parameters: Parameters | None,
        values: Any,
        dtype: str,
        threads: int,
    ) -> None: ...

def fold_packed(bits: Any, table: PackedTable, out: Any, threads: int) -> None: ...
def unpack(bits: Any, n_features: int, values: Any, out: Any, threads: int) -> None: ...
def column_stats_packed(
    bits: Any, n_features: int, count_first: bool, log: bool, clip_below_zero: bool, offset: Any, threads: int
) -> tuple[Any, ...]: ...
def any_missing_packed(bits: Any, n_features: int, threads: int) -> bool: ...
def pack(x: Any, bfloat16: bool, count_first: bool, missing: int, bits: Any, threads: int) -> int: ...
def transpose_packed(bits: Any, n_codes: int, out: Any, threads: int) -> None: ...
def unfold(images: Any, slots: Slots, out: Any, threads: int) -> None: ...
def fold_gradient(
    x: Any,
    x_bfloat16: bool,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any,
    library_size: float,
    gradient: Any,
    gradient_bfloat16: bool,
    out: Any,
    threads: int,
) -> None: ...
def unfold_gradient(gradient: Any, bfloat16: bool, slots: Slots, out: Any, threads: int) -> None: ...
def column_stats_dense(
    x: Any, bfloat16: bool, log: bool, clip_below_zero: bool, offset: Any, row_scale: Any, threads: int
) -> tuple[Any, ...]: ...
def column_stats_csr(
    rows: CsrRows, log: bool, clip_below_zero: bool, offset: Any, row_scale: Any, threads: int
) -> tuple[Any, ...]: ...
def census_dense(x: Any, bfloat16: bool, threads: int) -> tuple[int, int, int]: ...
def census_csr(rows: CsrRows, threads: int) -> tuple[int, int, int]: ...
def row_sums_dense(x: Any, bfloat16: bool, threads: int) -> Any: ...
def row_sums_csr(rows: CsrRows, threads: int) -> Any: ...
def aggregate(
    attributions: Any,
    bfloat16: bool,
    samples: Any,
    added: Any,
    seen: Any,
    before: list[Any],
    after: list[Any],
    threads: int,
) -> bool: ...
def rank(importance: Any, threads: int) -> Any: ...
def top_k(importance: Any, k: int, threads: int) -> Any: ...
def copy_bytes(to: Any, from_: Any, threads: int) -> None: ...
def fill_bytes(to: Any, threads: int, value: int = 1) -> None: ...
def read_bytes(from_: Any, threads: int) -> int: ...
