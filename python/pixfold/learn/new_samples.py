"""New samples for a model that is fitted: opened as it reads them, their features matched, normalised as trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pixfold.errors import InputError
from pixfold.learn.alleles import check_alleles
from pixfold.learn.model_files import Model
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import open_source
from pixfold.sources.alignment import align
from pixfold.sources.base import Source
from pixfold.util.text import counted


@dataclass(frozen=True)
class NewSamples:
    """Samples that a model can fold.

    Attributes
    ----------
    source : Source
        The features that were learned, in their order.
    normalizer : Normalizer
        That of the model; where features are missing it makes their training mean of them.
    messages : list of str
        What the user should be told of features that are ignored or filled.
    """

    source: Source
    normalizer: Normalizer
    messages: list[str]


def new_samples(
    model: Model, data: Any, *, who: str, fill_missing: bool = False, ignore_versions: bool = False, **options: Any
) -> NewSamples:
    """Open samples, and match their features to those that a model has learned.

    Parameters
    ----------
    model : Model
        What was learned.
    data : path, array, DataFrame, AnnData, Source or a list of several
        What :func:`pixfold.open_source` opens.
    who : str
        The model, for messages.
    fill_missing : bool
        Whether features may be missing: they take their normalised training mean.
    ignore_versions : bool
        Whether ENSG00000141510.17 and ENSG00000141510 are one feature.
    **options
        Of :func:`pixfold.open_source`.

    Returns
    -------
    NewSamples

    Raises
    ------
    InputError
        When the data cannot be read or features are missing; the message names them and what helps.
    """
    source = open_source(
        data,
        # Text columns are encoded by the codes that were learned, columns that were not learned are not looked at.
        categories=model.categories,
        learned=_names_in_tables(model) if model.features_named else None,
        **options,
    )
    used = model.layout.pixel_of_feature >= 0
    found = align(
        source,
        model.features,
        named=model.features_named,
        used=used,
        who=who,
        fill_missing=fill_missing,
        ignore_versions=ignore_versions,
    )
    check_alleles(found.source, model.alleles, who)
    messages, filled = list(found.messages), found.absent & used
    if not filled.any():
        return NewSamples(found.source, model.normalizer, messages)
    if model.mean is None:
        raise InputError(
            f"{source.name}: fill_missing must be False for this model, because it was saved by an earlier version "
            "that did not keep training means: train it again, got True"
        )
    n, share = int(filled.sum()), 100 * float(filled.sum()) / float(used.sum())
    evidence = np.maximum(np.nan_to_num(model.importance), 0.0)
    weight = 100 * float(evidence[filled].sum()) / float(evidence.sum() or 1.0)
    messages.append(
        f"{source.name}: {counted(n, 'feature')} missing, {share:.2g} % of those learned, {weight:.2g} % of the "
        f"evidence: {'it takes its' if n == 1 else 'they take their'} training mean"
    )
    return NewSamples(found.source, model.normalizer.with_constants(filled, model.mean), messages)


def _names_in_tables(model: Model) -> list[str]:
    """Names of the columns that hold the features: those that were encoded one-hot stand for several."""
    return [*model.features, *(key.removesuffix("=") for key in model.categories)]
