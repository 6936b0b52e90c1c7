"""Slow, literal references of the screen: one pair at a time, float64."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist

import numpy as np


def signs(x, codes):
    out = np.zeros(len(x))
    for c in np.unique(codes):
        at = np.flatnonzero(codes == c)
        v = x[at]
        cut = np.sort(v)[(len(v) - 1) // 2]
        above, reached = v > cut, v >= cut
        upper = reached if abs(2 * reached.sum() - len(v)) < abs(2 * above.sum() - len(v)) else above
        out[at] = np.where(upper, 1, -1)
    return out


def scores(x):
    n = len(x)
    out = np.empty(n)
    for i, value in enumerate(x):
        below, same = (x < value).sum(), (x == value).sum()
        rank = below + (same + 1) / 2
        out[i] = NormalDist().inv_cdf((rank - 0.5) / n)
    return out


def unit(x):
    x = x - x.mean()
    spread = np.sqrt((x**2).mean())
    return x / spread if spread > 0 else x


def left_of(x, columns):
    """x without what columns explain."""
    return x - columns @ np.linalg.lstsq(columns, x, rcond=None)[0]


def features(X, codes, transform, columns=None):
    """Features as they are multiplied; `columns` are projected out instead of class means alone."""
    indicators = np.eye(codes.max() + 1)[codes]
    fixed = indicators if columns is None else np.column_stack([indicators, columns])
    made = []
    for x in X.T.astype(np.float64):
        if transform == "sign":
            value = left_of(signs(x if columns is None else left_of(unit(x), fixed), codes), indicators)
            made.append(value if columns is None else left_of(value, fixed))
        else:
            value = left_of(scores(x) if transform == "rank" else unit(x), fixed)
            made.append(unit(value) if (value**2).mean() > 1e-9 else 0 * value)
    return np.array(made)


def contrasts(codes):
    k = codes.max() + 1
    return {c: unit((codes == c).astype(float)) for c in ([1] if k == 2 else range(k))}


def scale_of(y, codes):
    sizes = np.bincount(codes)
    total = sum((y[codes == c][0] ** 2) * sizes[c] ** 2 / (sizes[c] - 1) for c in range(len(sizes)) if sizes[c] > 1)
    return 1 / np.sqrt(total)


def screen(X, codes, transform):
    """{(a, b): (z, class)} of the strongest class of each pair."""
    Z = features(X, codes, transform)
    found = {}
    for a, b in combinations(range(len(Z)), 2):
        of_class = {c: (y * Z[a] * Z[b]).sum() * scale_of(y, codes) for c, y in contrasts(codes).items()}
        best = max(of_class, key=lambda c: abs(of_class[c]))
        found[a, b] = of_class[best], best
    return found


def score_test(columns, product, label, *, logistic):
    if not logistic:
        rest, x = left_of(label, columns), left_of(product, columns)
        beta = (x @ rest) / (x @ x)
        variance = ((rest - beta * x) ** 2).sum() / (len(label) - columns.shape[1] - 1)
        return beta / np.sqrt(variance / (x @ x))
    beta = np.zeros(columns.shape[1])
    for _ in range(100):
        mean = 1 / (1 + np.exp(-columns @ beta))
        w = mean * (1 - mean)
        beta = beta + np.linalg.solve(columns.T @ (w[:, None] * columns), columns.T @ (label - mean))
    mean = 1 / (1 + np.exp(-columns @ beta))
    root = np.sqrt(mean * (1 - mean))
    x = left_of(root * product, root[:, None] * columns)
    return (x @ ((label - mean) / root)) / np.sqrt(x @ x)


def fast_epistasis(a, b, cases):
    terms = []
    for group in (cases, ~cases):
        tables = {}
        for i in range(3):
            for j in range(3):
                tables[i, j] = int((group & (a == i) & (b == j)).sum())
        weights = {(i, j): ((2 - i) * (2 - j), (2 - i) * j, i * (2 - j), i * j) for i, j in tables}
        cells = [float(sum(weights[cell][c] * m for cell, m in tables.items())) for c in range(4)]
        if 0 in cells:
            cells = [cell + 0.5 for cell in cells]
        A, B, C, D = cells
        log = np.log(A * D / (B * C))
        variance = 0.0
        for cell, m in tables.items():
            w = weights[cell]
            variance += m * (w[0] / A - w[1] / B - w[2] / C + w[3] / D) ** 2
        terms.append((log, variance))
    (r, var_r), (s, var_s) = terms
    return (r - s) / np.sqrt(var_r + var_s)
