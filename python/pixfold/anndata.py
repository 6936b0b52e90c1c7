"""Findings beside the data they came from: a job on an AnnData object that writes back as scanpy's tools do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold.errors import InputError
from pixfold.sources import open_source
from pixfold.stream.labels import is_quantity, labelled_rows
from pixfold.util.optional import require
from pixfold.util.text import one_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pixfold.learn.estimators import DeepMapperAutoencoder, DeepMapperClassifier, DeepMapperRegressor
    from pixfold.learn.results import Results
    from pixfold.sources.base import Source

TASKS = ("auto", "classification", "regression")
# Columns of the findings -> what stands behind the key in var.
_PER_FEATURE = {
    "rank": "rank",
    "importance": "importance",
    "importance_se": "importance_se",
    "selection_frequency": "selection_frequency",
    "direction": "direction",
    "q": "q",
    "called": "called",
}


def run(
    adata: AnnData,
    label: str | None = None,
    *,
    layer: str | None = None,
    groups: str | None = None,
    covariates: str | list[str] | tuple[str, ...] = (),
    task: str = "auto",
    key_added: str = "pixfold",
    **options: Any,
) -> DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder:
    """Find the features that tell samples apart, and write them into ``adata``.

    Parameters
    ----------
    adata : AnnData (n_obs, n_vars)
        Samples x features, in memory or backed. ``X`` and its layers stay as they are.
    label : str, optional
        Column of ``obs`` that holds the classes, or a quantity. Without it the job is self-supervised.
    layer : str, optional
        Layer to read instead of ``X``, or "raw".
    groups, covariates : str, list of str
        Columns of ``obs``, as for :func:`pixfold.open_source`.
    task : {"auto", "classification", "regression"}
        What is learned of the label. "auto" takes numbers of more than 10 different values for a quantity.
    key_added : str
        What the names below begin with.
    **options
        Of :class:`pixfold.DeepMapperClassifier`, :class:`pixfold.DeepMapperRegressor` or
        :class:`pixfold.DeepMapperAutoencoder`: ``n_runs``, ``fdr``, ``random_state``, ``normalize``, ...

    Returns
    -------
    DeepMapperClassifier, DeepMapperRegressor or DeepMapperAutoencoder
        The fitted estimator, which predicts and has ``save(folder)``.

    Raises
    ------
    InputError
        When ``adata`` is no AnnData object or an argument cannot be used; nothing is written then.

    Notes
    -----
    What is written, with the default key:

    - ``var["pixfold_rank"]``, ``"pixfold_importance"``, ``"pixfold_importance_se"``,
      ``"pixfold_selection_frequency"``; with labels also ``"pixfold_direction"``, ``"pixfold_q"`` and
      ``"pixfold_called"``: the columns of ``findings.csv``. Features without a rank have NaN.
    - ``varm["pixfold_attribution"]``: a DataFrame, signed evidence per class; of classes alone.
    - ``obs["pixfold_prediction"]``: what held-out predictions say of each sample, the mean over the runs that did not
      learn from it; missing where there is none. With labels alone.
    - ``obsm["X_pixfold"]``: float32 (n_obs, latent_dim), the latent values. Without labels alone.
    - ``obs["pixfold_cluster"]``: clusters in the latent space, where ``clusters=`` asks for them.
    - ``uns["pixfold"]``: task, label, the scores of the job, and as JSON its settings and its runs.

    Examples
    --------
    >>> import anndata, numpy, pandas
    >>> X = numpy.random.default_rng(0).random((40, 6))
    >>> X[1::2, 3] += 1
    >>> obs = pandas.DataFrame({"type": ["B", "T"] * 20}, index=[f"cell_{i}" for i in range(40)])
    >>> var = pandas.DataFrame(index=[f"gene_{i}" for i in range(6)])
    >>> adata = anndata.AnnData(X, obs=obs, var=var)
    >>> _ = run(adata, label="type", n_runs=4, normalize="zscore", random_state=0)
    >>> adata.var.query("pixfold_called").index.tolist()
    ['gene_3']
    """
    package = require("anndata", "io", "pixfold.anndata.run")
    if not isinstance(adata, package.AnnData):
        raise InputError(f"pixfold.anndata.run: adata must be an AnnData object, got {type(adata).__name__}")
    if task not in TASKS:
        raise InputError(f"pixfold.anndata.run: task must be {one_of(TASKS)}, got {task!r}")
    if label is None and task != "auto":
        raise InputError(f"pixfold.anndata.run: label must name a column of obs for task {task!r}, got None")
    for name in ("where", "features", "drop"):
        if name in options:
            raise InputError(
                f"pixfold.anndata.run: {name} must be left out, because findings are written for all of adata: give "
                f"adata[samples, features].copy(), got {options[name]!r}"
            )
    reading = {"label": label, "layer": layer, "groups": groups, "covariates": covariates}
    source = open_source(adata, **{name: value for name, value in reading.items() if value})
    estimator: DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder
    estimator = _estimator(source, label, task, options)
    estimator.fit_source(source)
    _write(adata, estimator.results_, key_added, label)
    return estimator


def _estimator(source: Source, label: str | None, task: str, options: Mapping[str, Any]) -> Any:
    from pixfold.learn.estimators import DeepMapperAutoencoder, DeepMapperClassifier, DeepMapperRegressor

    # The command line's defaults, which look at the data.
    options = {"normalize": "auto", "negative": "auto"} | dict(options)
    if label is None:
        return DeepMapperAutoencoder(**options)
    if task == "auto":
        labels = labelled_rows(source, [])[1]
        task = "regression" if labels is not None and is_quantity(labels) else "classification"
    return (DeepMapperRegressor if task == "regression" else DeepMapperClassifier)(**options)


def _write(adata: AnnData, results: Results, key: str, label: str | None) -> None:
    import pandas as pd

    findings = results.findings.sort_index()  # the index is the position of the feature
    supervised = results.task != "self-supervised"
    for column, name in _PER_FEATURE.items():
        if column in findings and (supervised or column not in ("direction", "q", "called")):
            adata.var[f"{key}_{name}"] = _writable(findings[column]).to_numpy()
    if results.task == "classification":
        per_class = {name: findings[f"mean_{name}"] for name in results.class_names if f"mean_{name}" in findings}
        table = pd.DataFrame(
            {name: np.asarray(values, np.float64) for name, values in per_class.items()}, index=adata.var_names
        )
        adata.varm[f"{key}_attribution"] = table
    if results.predictions is not None and adata.obs_names.is_unique:
        adata.obs[f"{key}_prediction"] = _predicted(results).reindex(adata.obs_names).to_numpy()
        if results.task == "classification":
            column = pd.Categorical(adata.obs[f"{key}_prediction"], categories=results.class_names)
            adata.obs[f"{key}_prediction"] = column
    if results.latent is not None:
        latent = results.latent.reindex(adata.obs_names) if adata.obs_names.is_unique else results.latent
        adata.obsm[f"X_{key}"] = latent.to_numpy(dtype=np.float32)
    if results.clusters is not None and adata.obs_names.is_unique:
        found = results.clusters.reindex(adata.obs_names)
        names = [None if number != number else str(int(number)) for number in found]
        adata.obs[f"{key}_cluster"] = pd.Categorical(names)
    scores = {name: value for name, value in results.metrics.items() if isinstance(value, (bool, int, float, str))}
    adata.uns[key] = {
        "task": results.task,
        "label": label or "",
        "metrics": scores,
        "runs": json.dumps(results.metrics.get("runs", []), default=str),
        "config": json.dumps(results.config, default=str),
        "messages": list(results.messages),
    }


def _writable(column: pd.Series) -> pd.Series:
    """Give a column in a type that every file format of AnnData holds."""
    if column.dtype.kind in "iufb":
        return column
    if set(column.dropna().unique()) <= {True, False} and len(column.dropna()):
        return column.fillna(False).astype(bool)
    if column.isna().all():
        return column.astype(np.float64)
    return column.fillna("").astype(str).astype("category")


def _predicted(results: Results) -> pd.Series:
    """What held-out predictions say of each sample, the mean over the runs."""
    table = results.predictions
    assert table is not None
    by_sample = table.groupby("sample", sort=False)
    if results.task == "regression":
        predicted: pd.Series = by_sample["predicted"].mean()
        return predicted
    columns = [name for name in table if str(name).startswith("probability_")]
    chances = by_sample[columns].mean()
    names = np.asarray(results.class_names, dtype=object)
    import pandas as pd

    return pd.Series(names[chances.to_numpy().argmax(axis=1)], index=chances.index)
