from typing import Any

archs: list[str]
version: str

class Device:
    @property
    def name(self) -> str: ...
    @property
    def capability(self) -> tuple[int, int]: ...
    @property
    def memory(self) -> int: ...

class Samples:
    def __init__(
        self, data: int, dtype: str, n_samples: int, n_features: int, sample_stride: int, feature_stride: int
    ) -> None: ...

class Slots:
    def __init__(self, feature: int, first_slot: int, n_slots: int, n_pixels: int, one_to_one: bool) -> None: ...

class Parameters:
    def __init__(
        self,
        log: bool,
        clip_below_zero: bool,
        offset: int,
        shift: int,
        scale: int,
        fill: int,
        lo: float,
        hi: float,
    ) -> None: ...

class CsrRows:
    def __init__(
        self,
        values: int,
        dtype: str,
        indices: int,
        wide_indices: bool,
        row_start: int,
        n_samples: int,
        n_features: int,
    ) -> None: ...

class PackedRows:
    def __init__(self, bits: int, n_samples: int, n_features: int, sample_stride: int) -> None: ...
    @property
    def scratch(self) -> int: ...

class StatsArguments:
    def __init__(self, log: bool, clip_below_zero: bool, offset: int, row_scale: int) -> None: ...

def driver_version() -> str | None: ...
def devices() -> list[Device]: ...
def fold_dense(
    x: Samples,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: int,
    out: int,
    dtype: str,
    counts: int,
    device: int,
    stream: int,
    sample_offset: int = 0,
) -> None: ...
def fold_csr(
    x: CsrRows,
    slots: Slots,
    slot_of_feature: int,
    pixel_of_feature: int,
    parameters: Parameters | None,
    row_scale: int,
    background: int,
    out: int,
    dtype: str,
    counts: int,
    device: int,
    stream: int,
    sample: int = 0,
) -> None: ...
def fold_packed(
    x: PackedRows,
    slots: Slots,
    planes: int,
    element: int,
    out: int,
    scratch: int,
    device: int,
    stream: int,
    sample: int = 0,
) -> None: ...
def unfold(
    images: int,
    out: int,
    element_size: int,
    n_samples: int,
    n_features: int,
    n_pixels: int,
    pixel_of_feature: int,
    device: int,
    stream: int,
) -> None: ...
def column_stats_dense_workspace(x: Samples) -> int: ...
def column_stats_csr_workspace(x: CsrRows) -> int: ...
def column_stats_dense(
    x: Samples, arguments: StatsArguments, out: int, counts: int, workspace: int, device: int, stream: int
) -> None: ...
def column_stats_csr(
    x: CsrRows, arguments: StatsArguments, out: int, counts: int, workspace: int, device: int, stream: int
) -> None: ...
def column_stats_packed(
    x: PackedRows, copies: int, arguments: StatsArguments, out: int, counts: int, device: int, stream: int
) -> None: ...
def row_sums_dense_workspace(x: Samples) -> int: ...
def row_sums_dense(x: Samples, out: int, workspace: int, device: int, stream: int) -> None: ...
def row_sums_csr(x: CsrRows, out: int, device: int, stream: int) -> None: ...
def census_dense(x: Samples, counts: int, device: int, stream: int) -> None: ...
def census_csr(x: CsrRows, n_stored: int, counts: int, device: int, stream: int) -> None: ...

class ClassLists:
    def __init__(self, added: list[int], seen: list[int], n_pixels: int) -> None: ...
    @property
    def table_size(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    def table(self, samples: Any, before: list[int], after: list[int], table: int) -> Any: ...

def aggregate(
    attributions: int,
    dtype: str,
    n_channels: int,
    sample_stride: int,
    channel_stride: int,
    pixel_stride: int,
    lists: ClassLists,
    table: int,
    workspace: int,
    bad: int,
    device: int,
    stream: int,
) -> None: ...

most_ranked: int

def survey_workspace_bytes(n: int) -> int: ...
def rank_workspace_bytes(n: int, device: int) -> int: ...
def survey(values: int, n: int, workspace: int, found: int, device: int, stream: int) -> None: ...
def average_ranks(
    values: int, n: int, survey: list[int], ranks: int, workspace: int, device: int, stream: int
) -> None: ...
def top_k(
    values: int,
    n: int,
    survey: list[int],
    k: int,
    positions: int,
    n_selected: int,
    workspace: int,
    device: int,
    stream: int,
) -> None: ...
