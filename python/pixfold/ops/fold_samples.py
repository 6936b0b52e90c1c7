"""How samples that were read become images, and images features: dense, sparse, packed; on the CPU or a CUDA device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.csr import Csr
from pixfold.arrays.cuda import CsrOnCuda, OnCuda
from pixfold.arrays.dense import Array, Dense, computes_in_double, type_name
from pixfold.arrays.entry import Samples, numbers, samples
from pixfold.arrays.interop import NUMPY, TORCH, Library, adopted, to_torch
from pixfold.arrays.packed import Packed
from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.ops.arguments import dtype_name, formula_of, image_dtype, layout_argument
from pixfold.ops.cuda import fold as cuda
from pixfold.ops.fold_packed import fold_packed
from pixfold.ops.formula_arguments import row_scale, slot_parameters
from pixfold.ops.refusals import check_values
from pixfold.util.optional import is_torch
from pixfold.util.text import short_repr

if TYPE_CHECKING:
    from pixfold.formula import Fitted, Formula
    from pixfold.layout import Layout


def fold_into_fresh(
    X: Any, layout: Layout, normalizer: Fitted | None, *, dtype: Any, out: Any, threads: int | None
) -> Any:
    """:func:`pixfold.fold` into memory that nobody has seen yet: an error may leave anything in `out`."""
    formula = formula_of("fold", normalizer)
    x = samples("fold", X, threads or 0)
    return fold_samples(x, X, layout, formula, dtype_name(dtype), out, threads or 0, check_first=False)


def fold_samples(
    x: Samples,
    given: Any,
    layout: Layout,
    formula: Formula | None,
    dtype: str,
    out: Any,
    threads: int,
    *,
    check_first: bool,
) -> Any:
    """Fold samples that were read from what the caller has `given`, and answer in its kind of array.

    With `check_first`, values that the normaliser refuses are refused before anything is written.
    """
    if x.shape[1] != layout.n_features:
        raise InputError(
            f"fold: X must have the layout's {layout.n_features} features, got {x.shape[1]} (shape {x.shape})"
        )
    shape = (x.shape[0], *layout.shape)
    memory = _memory_of_out(x.library, out)
    if isinstance(x, OnCuda | CsrOnCuda):
        images = cuda.fold_on_cuda(x, layout, formula, dtype, memory)
    else:
        if memory is None or isinstance(memory, ImagePool):
            images = _new_images(x.library, shape, dtype, memory)
        else:
            images = _given_images(given, shape, dtype, memory)
        _fold_on_cpu(x, layout, formula, dtype, images, threads, check_first)
    answer = x.library.give("fold", images)  # what its library does next waits for the images
    return answer if memory is None or isinstance(memory, ImagePool) else out


def _fold_on_cpu(
    x: Dense | Csr | Packed,
    layout: Layout,
    formula: Formula | None,
    dtype: str,
    images: Any,
    threads: int,
    check_first: bool,
) -> None:
    if isinstance(x, Packed):
        fold_packed(x, layout, formula, dtype, images, threads)
        return
    parameters = scales = None
    if formula is not None:
        if check_first:
            check_values(x, layout, formula.accepted, threads=threads or None)
        parameters = slot_parameters(formula, layout, in_double=computes_in_double(x.dtype))
        scales = row_scale(formula, x, threads)
    how = (layout.slots, parameters, scales, images, threads)
    missing, negative = _core.fold_csr(x.rows, *how) if isinstance(x, Csr) else _core.fold_dense(x.array, *how)
    if formula is not None and formula.accepted.refuses(missing, negative):
        check_values(x, layout, formula.accepted, threads=threads or None)


def unfold_images(images: Any, layout: Layout, threads: int) -> Any:
    """:func:`pixfold.unfold` of an array whose memory the kernels read; `threads` is 0 for the default."""
    layout_argument("unfold", layout)
    x = numbers("unfold", "images", images)
    if len(x.shape) != 4 or x.shape[1:] != layout.shape:
        raise InputError(
            f"unfold: images must have shape (n_samples, {', '.join(map(str, layout.shape))}), got {x.shape}"
        )
    if isinstance(x, OnCuda):
        return x.library.give("unfold", cuda.unfold_on_cuda(x, layout))
    features = x.empty((x.shape[0], layout.n_features))
    _core.unfold(x.contiguous(x.shape), layout.slots, features, threads)
    return x.give("unfold", features)


def _memory_of_out(library: Library, out: Any) -> Any:
    """What the ops write into: `out` as one of NumPy's or torch's arrays, a pool, or None for new memory."""
    if not library.writeable:
        if out is None:
            return ImagePool()  # for its alignment, without which JAX copies memory of the CPU
        if not isinstance(out, ImagePool):
            raise InputError(
                f"fold: out must be None for {library.name} arrays, which are never written to, got {short_repr(out)}"
            )
    if out is None or isinstance(out, ImagePool) or library in (NUMPY, TORCH):
        return out
    memory, its_own = adopted("fold", "out", out)
    if its_own.name != library.name:
        raise TypeError(f"fold: out must be a {library.name} array like the input, got {type(out).__name__}")
    return memory


def _new_images(library: Library, shape: tuple[int, ...], dtype: str, pool: ImagePool | None) -> Any:
    # NumPy's memory for tensors too: it asks for huge pages, which torch.empty does not.
    new = np.empty if pool is None else pool.empty
    if dtype != "bfloat16":
        return new(shape, dtype=dtype)
    kind = None if library is TORCH else image_dtype(dtype)
    bits: Array = new(shape, dtype=np.uint16)
    return to_torch(bits, bfloat16=True) if kind is None else bits.view(kind)


def _given_images(given: Any, shape: tuple[int, ...], dtype: str, out: Any) -> Any:
    """Check that the images of samples fit into `out`, and that the samples do not lie in it."""
    if is_torch(out):
        on_cpu = out.device.type == "cpu" and str(out.layout) == "torch.strided" and not out.requires_grad
        usable = on_cpu and out.is_contiguous() and out.data_ptr() % out.element_size() == 0
        memory = _bytes_of(out) if usable else None
    elif isinstance(out, np.ndarray):
        usable = bool(out.flags.carray and out.dtype.isnative)  # C-contiguous, aligned, writeable
        memory = out
    else:
        raise TypeError(f"fold: out must be a NumPy array, a torch tensor or an ImagePool, got {type(out).__name__}")
    found = type_name(out.dtype)
    if found != dtype or tuple(out.shape) != shape or not usable:
        state = "" if usable else ", not C-contiguous, aligned and writeable CPU memory in native byte order"
        raise InputError(
            f"fold: out must be a C-contiguous writeable {dtype} array of shape {shape}, "
            f"got {found} of shape {tuple(out.shape)}{state}"
        )
    if any(np.may_share_memory(memory, part) for part in _memory_of(given)):
        raise InputError("fold: out must not overlap X in memory, got one that does")
    return out


def _bytes_of(tensor: Any) -> Array:
    """The memory of a dense tensor of the CPU, whatever its elements are."""
    import torch

    same_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    values: Array = tensor.detach().view(same_size[tensor.element_size()]).numpy()
    return values


def _memory_of(x: Any) -> list[Array]:
    """Arrays over the memory that the caller's samples are in, whatever copies are made of them."""
    if is_torch(x):
        dense = str(x.layout) == "torch.strided"
        return [_bytes_of(part) for part in ([x] if dense else [x.values(), x.col_indices(), x.crow_indices()])]
    parts = (getattr(x, name, None) for name in ("data", "indices", "indptr", "row", "col", "bits"))
    return [part for part in (x, *parts) if isinstance(part, np.ndarray)]
