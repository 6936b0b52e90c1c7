"""The auto-encoder's latent space beside principal components of the same size.

``python -m benchmarks.latent_space --data FOLDER`` writes benchmarks/results/latent_space.md. On scikit-learn's digits,
and on 10x_pbmc68k_reduced.h5ad (which scanpy ships) where FOLDER has it: k-means with as many clusters as there are
labels, its agreement with them (ARI, NMI), and the balanced accuracy of 15 nearest neighbours in 5-fold
cross-validation. Values are standardised for both.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from numpy.typing import NDArray

import pixfold as pf
from pixfold.learn.clusters import clusters_of

RESULTS = Path(__file__).resolve().parent / "results"
PBMC = "10x_pbmc68k_reduced.h5ad"


def sets(folder: Path | None) -> Iterator[tuple[str, NDArray[np.float32], NDArray[Any]]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    yield "digits", digits.data.astype(np.float32), digits.target.astype(str)
    path = None if folder is None else folder / PBMC
    if path is not None and path.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import anndata

            data = anndata.read_h5ad(path)
        yield "pbmc68k_reduced", np.asarray(data.X, dtype=np.float32), data.obs["bulk_labels"].astype(str).to_numpy()


def scores(latent: NDArray[np.float32], labels: NDArray[Any], seed: int) -> dict[str, float]:
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    found = clusters_of(latent, "kmeans", labels=labels.astype(object), seed=seed).metrics
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    accuracy = cross_val_score(KNeighborsClassifier(15), latent, labels, cv=folds, scoring="balanced_accuracy")
    return {"ARI": found["ari"], "NMI": found["nmi"], "kNN": float(accuracy.mean())}


def latents(X: NDArray[np.float32], size: int, seed: int) -> Iterator[tuple[str, NDArray[np.float32], float]]:
    from sklearn.decomposition import PCA

    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    started = time.perf_counter()
    yield "PCA", PCA(size, random_state=seed).fit_transform(Z).astype(np.float32), time.perf_counter() - started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        model = pf.DeepMapperAutoencoder(
            size, backbone="convolutional", n_runs=1, normalize="zscore", random_state=seed
        ).fit(X)
        yield "auto-encoder", model.transform(X), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent_space", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help=f"folder with {PBMC}")
    parser.add_argument("--sets", nargs="+", default=["digits", "pbmc68k_reduced"], help="names of sets")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32], help="sizes of the latent space")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = [
        "# Latent space",
        "",
        f"`python -m benchmarks.latent_space`: means over seeds ({arguments.seeds}), one run each; ± standard "
        "deviation.",
        "",
        "| set | latent values | of | ARI of k-means | NMI of k-means | balanced accuracy of 15 neighbours | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, X, labels in sets(arguments.data):
        if name not in arguments.sets:
            continue
        for size in arguments.sizes:
            found: dict[str, list[dict[str, float]]] = {}
            for seed in range(arguments.seeds):
                for method, latent, seconds in latents(X, size, seed):
                    found.setdefault(method, []).append({**scores(latent, labels, seed), "seconds": seconds})
            for method, each in found.items():
                values = {key: np.array([one[key] for one in each]) for key in each[0]}
                shown = " | ".join(
                    f"{values[key].mean():.3f} ± {values[key].std():.3f}" for key in ("ARI", "NMI", "kNN")
                )
                lines.append(f"| {name} | {size} | {method} | {shown} | {values['seconds'].mean():.1f} |")
                print(lines[-1], flush=True)
    (arguments.out / "latent_space.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
