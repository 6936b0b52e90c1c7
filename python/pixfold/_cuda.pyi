import collections.abc
from typing import Any

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
        offset: Any | None,
        shift: Any | None,
        scale: Any | None,
        fill: Any,
        lo: float,
        hi: float,
    ) -> None: ...

class Slots:
    def __init__(
        self,
        feature: Any | None,
        first_slot: Any | None,
        slot_of_feature: Any | None,
        pixel_of_feature: Any | None,
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
    def __init__(self, op: str, values: Any, indices: Any, row_start: Any, n_features: int) -> None: ...

def aggregate(
    attributions: Any,
    samples: Any,
    added: Any,
    seen: Any,
    before: collections.abc.Sequence[Any | None],
    after: collections.abc.Sequence[Any],
    bad: Any,
    stream: int,
) -> Any: ...
def census_csr(rows: CsrRows, counts: Any, stream: int) -> None: ...
def census_dense(x: Any, counts: Any, stream: int) -> None: ...
def column_stats_csr(
    rows: CsrRows,
    log: bool,
    clip_below_zero: bool,
    offset: Any | None,
    row_scale: Any | None,
    out: Any,
    counts: Any,
    stream: int,
) -> None: ...
def column_stats_dense(
    x: Any,
    log: bool,
    clip_below_zero: bool,
    offset: Any | None,
    row_scale: Any | None,
    out: Any,
    counts: Any,
    stream: int,
) -> None: ...
def column_stats_packed(
    bits: Any,
    n_features: int,
    count_first: bool,
    log: bool,
    clip_below_zero: bool,
    offset: Any | None,
    out: Any,
    counts: Any,
    stream: int,
) -> None: ...
def devices() -> list[Device]: ...
def driver_version() -> Any: ...
def fold_csr(
    rows: CsrRows,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any | None,
    out: Any,
    background: Any,
    counts: Any | None,
    stream: int,
    samples: Any | None = None,
) -> None: ...
def fold_dense(
    x: Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any | None,
    out: Any,
    counts: Any | None,
    stream: int,
    offsets: Any | None = None,
) -> None: ...
def fold_gradient(
    x: Any,
    slots: Slots,
    parameters: Parameters | None,
    row_scale: Any | None,
    library_size: float,
    gradient: Any,
    out: Any,
    stream: int,
) -> None: ...
def fold_packed(bits: Any, slots: Slots, planes: Any, out: Any, stream: int, samples: Any | None = None) -> None: ...
def fold_packed_means(
    bits: Any, slots: Slots, values: Any, out: Any, stream: int, samples: Any | None = None
) -> None: ...
def rank(importance: Any, survey: collections.abc.Sequence[int], out: Any, stream: int) -> None: ...
def row_sums_csr(rows: CsrRows, out: Any, stream: int) -> None: ...
def row_sums_dense(x: Any, out: Any, stream: int) -> None: ...
def survey(op: str, importance: Any, found: Any, stream: int) -> None: ...
def top_k(
    importance: Any,
    survey: collections.abc.Sequence[int],
    positions: Any,
    n_selected: Any,
    stream: int,
) -> None: ...
def unfold(images: Any, slots: Slots, out: Any, stream: int) -> None: ...
def unfold_gradient(gradient: Any, slots: Slots, out: Any, stream: int) -> None: ...

archs: list[str]
most_ranked: int
version: str
