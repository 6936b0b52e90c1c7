"""fold: normalise samples and place every feature at its pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold import _core
from pixfold.arrays.dask import fold_dask, is_dask
from pixfold.arrays.dense import (
    Array,
    Csr,
    Dense,
    Packed,
    is_on_cuda,
    is_torch,
    layout_argument,
    memory_of,
    samples,
    takes_torch_op,
    threads_argument,
    to_torch,
)
from pixfold.arrays.interop import adopted
from pixfold.errors import BackendError, InputError
from pixfold.image_pool import ImagePool
from pixfold.ops.fold_packed import fold_packed
from pixfold.ops.formula_arguments import formula_of, row_scale, slot_parameters
from pixfold.ops.refusals import check_values
from pixfold.util.text import short_repr

if TYPE_CHECKING:
    from pixfold.formula import Fitted
    from pixfold.layout import Layout

_DTYPES = ("float32", "float16", "bfloat16")


def fold(
    X: Any,
    layout: Layout,
    normalizer: Fitted | None = None,
    *,
    dtype: Any = "float32",
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Turn samples into pseudo-images: normalise, then place every feature at its pixel, in one pass.

    Parameters
    ----------
    X : array (n_samples, n_features)
        NumPy array of any float, integer or bool dtype and any strides, SciPy sparse matrix (never made dense),
        :class:`pixfold.PackedGenotypes`, or torch tensor on the CPU or a CUDA device, dense or sparse CSR. A dense
        tensor that requires a gradient gets one, through everything that the normaliser does. JAX arrays (on the
        CPU or a CUDA device) and BCSR matrices, CuPy arrays and sparse matrices, and what else offers DLPack or the
        CUDA array interface on such a device are read where they are, without a copy; on a GPU that needs torch. Of a
        Dask array (blocks of NumPy or SciPy CSR) the result is a Dask array: nothing is computed yet, blocks of
        samples stay.
    layout : Layout
        Feature -> pixel map with ``layout.n_features == X.shape[1]``.
    normalizer : Normalizer, optional
        A fitted normaliser. Without one, values are moved and converted, missing values (NaN) included.
    dtype : {"float32", "float16", "bfloat16"}
        Element type of the images; torch dtypes are understood too. bfloat16 for NumPy input needs ml_dtypes.
    out : array (n_samples, channels, height, width) or ImagePool, optional
        An array: images are written here; C-contiguous, of `dtype`, not overlapping `X`; on an error it is untouched.
        A CuPy array for CuPy's; none for JAX's, which are never written to. An :class:`~pixfold.ImagePool`: the
        images' memory comes from it and goes back to it when they are gone.
    threads : int, optional
        Default: OMP_NUM_THREADS and the process's CPU affinity decide; 1 for each block of a Dask array.

    Returns
    -------
    images : array (n_samples, channels, height, width)
        Of the library of `X` and on its device: torch, CuPy or JAX (a torch tensor for others on a CUDA device), else
        a NumPy array. Padding is 0; a pixel with several
        features shows their mean. The bits do not depend on `threads`; processors without AVX2 may differ by 4 ulp
        where a logarithm is taken.

    Raises
    ------
    InputError
        A wrong shape, a missing value under ``missing="error"``, a negative value under a log normaliser without
        ``negative="shift"``, an unusable `out` (any, where the tensor requires a gradient), a sparse tensor that
        requires a gradient, a second derivative. It is a ValueError.
    TypeError
        A dtype that is not a number; a layout or a normaliser that is none.
    BackendError
        `X` is on a device for which this build has no kernels, or which they do not run on.

    Notes
    -----
    The gradient with respect to a value is 0 where the value does not move its pixel: where it is missing, clipped (a
    result that equals a limit is not), below zero under ``negative="shift"``, dropped by the layout, or of a constant
    feature. A shared pixel passes each of its m features 1/m. With a library size, each value also moves the sum of its
    sample, and with it every pixel; that is part of the gradient. Under torch, a fold is an op of its own
    (:mod:`pixfold.ops.torch`), and so a node of the graphs of torch.compile.

    On a CUDA device the work is queued on the current stream and nothing waits for it: values that the normaliser
    refuses raise nothing. Missing ones then come out as NaN; :func:`pixfold.ops.cuda.check_folds` looks afterwards,
    :meth:`pixfold.Normalizer.check` before. There, `out` may also be contiguous in torch's channels_last format.
    """
    if is_dask(X):
        layout_argument("fold", layout)
        formula = formula_of("fold", normalizer)
        threads_argument("fold", threads)
        return fold_dask(X, layout, formula, dtype_name(dtype), out, threads)
    X, kind = adopted("fold", "X", X)
    if kind is not None:
        return kind.into(
            "fold", out, lambda memory: fold(X, layout, normalizer, dtype=dtype, out=memory, threads=threads)
        )
    if takes_torch_op(X):
        from pixfold.ops.torch import fold_tensor

        return fold_tensor(X, layout, normalizer, dtype, out, threads)
    # The check reads X once more; only memory that the caller gave could show a fold that was refused half-way.
    given = out is not None and not isinstance(out, ImagePool)
    return _fold(X, layout, normalizer, dtype, out, threads, check_first=given)


def fold_into_fresh(
    X: Any, layout: Layout, normalizer: Fitted | None, *, dtype: Any, out: Any, threads: int | None
) -> Any:
    """:func:`fold` into memory that nobody has seen yet: an error may leave anything in `out`."""
    return _fold(X, layout, normalizer, dtype, out, threads, check_first=False)


def _fold(
    X: Any,
    layout: Layout,
    normalizer: Fitted | None,
    dtype: Any,
    out: Any,
    threads: int | None,
    check_first: bool,
) -> Any:
    layout_argument("fold", layout)
    formula = formula_of("fold", normalizer)
    n_threads = threads_argument("fold", threads)
    if is_on_cuda(X):
        from pixfold.ops.cuda.fold import fold_tensor

        return fold_tensor(X, layout, formula, dtype_name(dtype), out)
    x = samples("fold", X, n_threads)
    if x.shape[1] != layout.n_features:
        raise InputError(
            f"fold: X must have the layout's {layout.n_features} features, got {x.shape[1]} (shape {x.shape})"
        )
    name = dtype_name(dtype)
    shape = (x.shape[0], *layout.shape)
    images, result = _output(X, x, shape, name, out)
    if isinstance(x, Packed):
        fold_packed(x, layout, formula, name, images, n_threads)
        return result
    if check_first and formula is not None:
        check_values(X, layout, formula.accepted, threads=threads)
    parameters = None
    row_scales = None
    if formula is not None:
        in_double = _core.computes_in_double(x.values if isinstance(x, Csr) else x.array, x.bfloat16)
        parameters = slot_parameters(formula, layout, in_double=in_double)
        row_scales = row_scale(formula, x, n_threads)
    how = (layout.slots, parameters, row_scales, images, name == "bfloat16", n_threads)
    if isinstance(x, Csr):
        missing, negative = _core.fold_csr(x.rows, *how)
    else:
        missing, negative = _core.fold_dense(x.array, x.bfloat16, *how)
    if formula is not None and formula.accepted.refuses(missing, negative):
        check_values(X, layout, formula.accepted, threads=threads)
    return result


def dtype_name(dtype: Any) -> str:
    """Name of an element type that images can have."""
    name = str(dtype).removeprefix("torch.") if is_torch_dtype(dtype) else _numpy_name(dtype)
    if name not in _DTYPES:
        raise InputError(f"fold: dtype must be one of {', '.join(_DTYPES)}, got {short_repr(dtype)}")
    return name


def is_torch_dtype(dtype: object) -> bool:
    """Whether `dtype` is a torch.dtype."""
    return type(dtype).__module__ == "torch"


def _numpy_name(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype == "bfloat16":
        return "bfloat16"
    try:
        return str(np.dtype(dtype).name)
    except (TypeError, ValueError):  # whatever NumPy makes of something that is no dtype
        return repr(dtype)


def _output(X: Any, x: Dense | Csr | Packed, shape: tuple[int, ...], name: str, out: Any) -> tuple[Array, Any]:
    """Memory for the kernel (uint16 bits for bfloat16) and the same memory as the caller will see it."""
    if out is not None and not isinstance(out, ImagePool):
        return _given_output(X, shape, name, out), out
    # NumPy's memory for tensors too: it asks for huge pages, which torch.empty does not.
    new = np.empty if out is None else out.empty
    if name != "bfloat16":
        images: Array = new(shape, dtype=name)
        return images, to_torch(images) if x.torch else images
    bits: Array = new(shape, dtype=np.uint16)
    if x.torch:
        return bits, to_torch(bits, bfloat16=True)
    return bits, bits.view(image_dtype(name))


def image_dtype(name: str) -> np.dtype[Any]:
    """NumPy's element type of that name; bfloat16 is that of ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise BackendError(
            "fold: NumPy has no bfloat16 of its own: pip install ml_dtypes, pass a torch tensor, or use float16"
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


def _given_output(X: Any, shape: tuple[int, ...], name: str, out: Any) -> Array:
    if is_torch(out):
        found = str(out.dtype).removeprefix("torch.")
        usable = out.device.type == "cpu" and str(out.layout) == "torch.strided" and not out.requires_grad
        memory = to_numpy_bits(out) if usable and out.is_contiguous() else None
        usable = memory is not None and bool(memory.flags.carray)
    elif isinstance(out, np.ndarray):
        found = out.dtype.name
        usable = bool(out.flags.carray and out.dtype.isnative)  # C-contiguous, aligned, writeable
        memory = out.view(np.uint16) if usable and found == "bfloat16" else out
    else:
        raise TypeError(f"fold: out must be a NumPy array, a torch tensor or an ImagePool, got {type(out).__name__}")
    if found != name or tuple(out.shape) != shape or not usable or memory is None:
        state = "" if usable else ", not C-contiguous, aligned and writeable CPU memory in native byte order"
        raise InputError(
            f"fold: out must be a C-contiguous writeable {name} array of shape {shape}, "
            f"got {found} of shape {tuple(out.shape)}{state}"
        )
    if any(np.may_share_memory(memory, part) for part in memory_of(X)):
        raise InputError("fold: out must not overlap X in memory")
    return memory


def to_numpy_bits(tensor: Any) -> Array:
    """A CPU tensor's memory as NumPy, bfloat16 as uint16 bits."""
    import torch

    if tensor.dtype == torch.bfloat16:
        bits: Array = tensor.view(torch.int16).numpy().view(np.uint16)
        return bits
    values: Array = tensor.numpy()
    return values
