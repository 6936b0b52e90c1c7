"""fold: normalise samples and place every feature at its pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold.arrays.dask import is_dask, map_samples
from pixfold.arrays.entry import goes_through_torch, samples
from pixfold.errors import InputError
from pixfold.image_pool import ImagePool
from pixfold.ops.arguments import check_features, dtype_name, formula_of, image_dtype, layout_argument
from pixfold.ops.cuda.fold_plan import planned_fold
from pixfold.ops.fold_samples import fold_samples
from pixfold.util.arguments import threads_argument
from pixfold.util.text import short_repr

if TYPE_CHECKING:
    from pixfold.formula import Fitted, Formula
    from pixfold.layout import Layout


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

    Examples
    --------
    >>> import numpy as np
    >>> import pixfold as pf
    >>> pf.fold(np.array([[1.0, 2.0, 3.0]]), pf.Layout.natural(3))[0, 0].tolist()
    [[1.0, 2.0], [3.0, 0.0]]
    """
    images = planned_fold(X, layout, normalizer, dtype, out, threads)
    if images is not None:
        return images
    if goes_through_torch(X):
        from pixfold.ops.torch import fold_tensor

        return fold_tensor(X, layout, normalizer, dtype, out, threads)
    layout_argument("fold", layout)
    formula = formula_of("fold", normalizer)
    n_threads = threads_argument("fold", threads)
    name = dtype_name(dtype)
    if is_dask(X):
        return _fold_dask(X, layout, formula, name, out, n_threads or 1)
    # The check reads X once more; only memory that the caller gave could show a fold that was refused half-way.
    given = out is not None and not isinstance(out, ImagePool)
    x = samples("fold", X, n_threads)
    return fold_samples(x, X, layout, formula, name, out, n_threads, check_first=given)


def _fold_dask(X: Any, layout: Layout, formula: Formula | None, dtype: str, out: Any, threads: int) -> Any:
    """Give the lazy images of a Dask array: blocks run side by side already, on one thread each by default."""
    if out is not None:
        what = "a Dask array, whose images are made when they are computed"
        raise InputError(f"fold: out must be None for {what}, got {short_repr(out)}")
    if formula is not None:
        check_features("fold", formula, layout)
    kind = image_dtype(dtype)
    return map_samples(
        "fold",
        X,
        layout.n_features,
        _fold_block,
        (layout, formula),
        layout.shape,
        np.empty((0, 0, 0, 0), dtype=kind),
        element=dtype,
        threads=threads,
    )


def _fold_block(block: Any, how: tuple[Layout, Formula | None], *, element: str, threads: int) -> Any:
    return fold(block, *how, dtype=element, threads=threads)
