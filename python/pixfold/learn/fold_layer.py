"""Fold: a fold as the first layer of a torch model."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops.arguments import dtype_name
from pixfold.ops.fold import fold
from pixfold.ops.named_folds import named_fold
from pixfold.util.arguments import threads_argument
from pixfold.util.files import arrays_in

_LAYOUT, _NORMALIZER = "layout.", "normalizer."


class Fold(nn.Module):
    """Samples in, pseudo-images out: :func:`pixfold.fold` as a layer, so that a model takes raw feature values.

    What it knows (layout and normaliser) is part of ``state_dict``, as one tensor of bytes, and comes back with
    ``load_state_dict``: weights that were trained on one arrangement never meet another. It has no parameters to learn.
    Captum's LRP goes through it: a feature gets the relevance of its pixel.

    Parameters
    ----------
    layout : Layout
        Feature -> pixel map.
    normalizer : Normalizer, optional
        A fitted normaliser. The layer keeps it as it is now: fitting it again does not change the layer.
    dtype : {"float32", "float16", "bfloat16"} or torch.dtype, optional
        Element type of the images. Default: float32 until the model's ``.half()``, ``.bfloat16()``, ``.double()`` or
        ``.to(dtype)`` asks for another. A dtype that is given stays.
    threads : int, optional
        As for :func:`pixfold.fold`.

    Raises
    ------
    InputError
        When the normaliser is not fitted or does not fit the layout, or `dtype` or `threads` is not usable.
    TypeError
        A layout or a normaliser that is none.

    Examples
    --------
    >>> import pixfold as pf
    >>> X = torch.rand(8, 9)
    >>> layout, normalizer = pf.Layout.natural(9), pf.Normalizer("zscore").fit(X)
    >>> model = nn.Sequential(pf.Fold(layout, normalizer), nn.Flatten(), nn.Linear(9, 2))
    >>> model(X).shape
    torch.Size([8, 2])
    """

    layout: Layout
    normalizer: Normalizer | None

    def __init__(
        self,
        layout: Layout,
        normalizer: Normalizer | None = None,
        *,
        dtype: Any = None,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self._given = None if dtype is None else dtype_name(dtype)
        # Has no elements: the model's .half() and the like change its dtype, as they change the parameters'.
        self.register_buffer("_follows", torch.empty(0, dtype=torch.float32), persistent=False)
        self._rule: Any = None
        threads_argument("fold", threads)
        self.threads = threads
        self._hold(layout, normalizer)

    def _hold(self, layout: Layout, normalizer: Normalizer | None) -> None:
        kept = copy.copy(normalizer)
        named_fold(layout, kept)  # refuses what does not fit
        self.layout, self.normalizer = layout, kept
        self._rule = None

    @property
    def dtype(self) -> str:
        """Element type of the images, by name."""
        return self._given or str(self.get_buffer("_follows").dtype).removeprefix("torch.")

    @property
    def rule(self) -> Any:
        """What Captum's LRP asks a layer for: a feature gets the relevance of its pixel, shared where it is shared."""
        if self._rule is None:
            from pixfold.learn.fold_relevance import FoldRule

            self._rule = FoldRule(self.layout)
        return self._rule

    @rule.deleter
    def rule(self) -> None:
        # LRP takes its rules off all layers at the end.
        self._rule = None

    def forward(self, X: Tensor) -> Tensor:
        """Fold a batch.

        Parameters
        ----------
        X : tensor (n_samples, n_features)

        Returns
        -------
        tensor (n_samples, channels, height, width)
        """
        # The kernels write at most 32 bits; a model of doubles gets them widened.
        wide = self.dtype == "float64"
        dtype = "float32" if wide else self.dtype
        images: Tensor = fold(X, self.layout, self.normalizer, dtype=dtype, threads=self.threads)
        return images.double() if wide else images

    def get_extra_state(self) -> Tensor:
        """Layout and normaliser as the bytes of an .npz file, which torch and safetensors save as any tensor."""
        states = {_LAYOUT: self.layout.state()}
        if self.normalizer is not None:
            states[_NORMALIZER] = self.normalizer.state()
        arrays = {prefix + name: values for prefix, state in states.items() for name, values in state.items()}
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # mypy takes the names for savez's own arguments
        return torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take layout and normaliser from what :meth:`get_extra_state` gave.

        Raises
        ------
        InputError
            When the state is something else.
        """
        try:
            arrays = arrays_in(io.BytesIO(state.cpu().numpy().tobytes()))
            layout = Layout.from_state(_part(arrays, _LAYOUT))
            kept = _part(arrays, _NORMALIZER)
            normalizer = Normalizer.from_state(kept) if kept else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Fold.load_state_dict: the state must be one that Fold.state_dict gave, got something else ({error})"
            ) from error
        self._hold(layout, normalizer)

    def extra_repr(self) -> str:
        """Say what is folded, for the model's repr."""
        return f"{self.layout!r}, {self.normalizer!r}, dtype={self.dtype!r}"


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
