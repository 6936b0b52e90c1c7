"""pydeepmapper's functions on pixfold's ops: ``from pixfold.compat.pydeepmapper import to_images``.

Names, arguments and results are those of pydeepmapper 1.0, its rule for ties included. Bad input is one clear error
(``InputError``, a ValueError) where pydeepmapper raises what comes first or returns something: NaN among importances,
a ``perm`` that is no permutation, passes of different lengths.

:func:`patch` puts the functions into an installed pydeepmapper.
"""

from pixfold.compat.pydeepmapper.accumulation import (
    accept_pass,
    mean_rank,
    median_importance,
    ranks_from_importances,
    selection_frequency,
    stability_selection_bound,
    top_k_set,
)
from pixfold.compat.pydeepmapper.arrangements import (
    image_side,
    inverse_permutation,
    permutation,
    pixels_to_features,
    square_dim,
    to_images,
)
from pixfold.compat.pydeepmapper.patching import Patch, patch, unpatch

__all__ = [
    "Patch",
    "accept_pass",
    "image_side",
    "inverse_permutation",
    "mean_rank",
    "median_importance",
    "patch",
    "permutation",
    "pixels_to_features",
    "ranks_from_importances",
    "selection_frequency",
    "square_dim",
    "stability_selection_bound",
    "to_images",
    "top_k_set",
    "unpatch",
]
