from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from numpy.testing import assert_array_equal

from pixfold.layout import Layout
from pixfold.learn.consensus import Consensus
from pixfold.learn.tables import findings_table, history_table
from pixfold.report import figures
from pixfold.report.figures import feature_images, style

SUPERVISED = {"training_curves", "confusion_matrix", "top_features", "class_means", "attribution_image"}


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_render_of_a_classification(make_results):
    drawn = figures.render(make_results())
    assert set(drawn) == SUPERVISED
    for png in drawn.values():
        image = imread(io.BytesIO(png))
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.01  # something is drawn


def test_render_of_a_self_supervised_job(make_results):
    drawn = figures.render(make_results(n_classes=0))
    assert set(drawn) == {"training_curves", "top_features", "attribution_image", "latent"}
    assert set(drawn) <= set(figures.NAMES)


def test_settings_of_the_caller_stay(make_results):
    with mpl.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        results = make_results()
        style.png(figures.top_features(results.findings, results.class_names))
        assert dict(mpl.rcParams) == before


def test_no_figure_without_content():
    findings = findings_table(Consensus(4).result(), list("abcd"), ["x", "y"])
    assert figures.top_features(findings, ["x", "y"]) is None
    assert figures.attribution_image(findings, Layout.natural(4)) is None
    assert figures.training_curves(history_table([]), {}) is None
    assert figures.class_means(np.full((2, 4), np.nan), Layout.natural(4), ["x", "y"]) is None
    assert figures.latent(pd.DataFrame(np.ones((5, 2)))) is None


def test_top_features_are_the_best_twenty_in_order(make_results):
    results = make_results(n_features=64)
    axes = figures.top_features(results.findings, results.class_names).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == results.findings["feature"].tolist()[:20]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best is on top
    assert [bar.get_width() for bar in axes.patches[:20]] == results.findings["importance"].tolist()[:20]


@pytest.mark.parametrize("n", [2, 7, 30, 31])
def test_confusion_matrix_prints_counts_up_to_30_classes(n):
    counts = np.eye(n, dtype=np.int64) * 5
    counts[0, 1] = 3
    figure = figures.confusion_matrix(counts, [f"a class with quite a long name {i}" for i in range(n)])
    assert sorted(texts(figure)) == ([] if n > 30 else ["3"] + ["5"] * n)
    assert_array_equal(figure.axes[0].images[0].get_array()[0, :2], [0.625, 0.375])


def test_class_means_of_more_than_twelve_classes():
    layout = Layout.natural(9)
    figure = figures.class_means(np.arange(14 * 9.0).reshape(14, 9), layout, [f"c{i}" for i in range(14)])
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [f"c{i}" for i in range(12)]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert_array_equal(panels[1].images[0].get_array(), np.arange(9.0, 18.0).reshape(3, 3))


def test_attribution_image_names_the_best_at_their_pixels(make_results):
    results = make_results(n_features=30)
    figure = figures.attribution_image(results.findings, results.layout)
    shown = texts(figure)
    assert len(shown) == 10
    assert any(text.startswith("1  ") and text.endswith(results.findings["feature"].iloc[0]) for text in shown)
    (rings,) = figure.axes[0].lines
    assert (rings.get_xdata()[0], rings.get_ydata()[0]) == (3, 0)  # gene_3 in rows of six
    image = figure.axes[0].images[0].get_array()
    assert image[0, 3] == results.findings["importance"].iloc[0]


def test_features_without_a_pixel_or_sharing_one(make_results):
    # Features 0 and 1 share a pixel; the layout has three channels and is not square.
    layout = Layout.from_coordinates([0, 0, 1, 1, 0], [0, 0, 0, 1, 3], (2, 5))
    image = feature_images._image(np.array([1.0, 3.0, 5.0, 7.0, 9.0]), layout)
    assert_array_equal(image, [[2, np.nan, np.nan, 9, np.nan], [5, 7, np.nan, np.nan, np.nan]])


def test_channels_are_averaged():
    layout = Layout.natural(8, shape=(2, 2, 2))
    assert_array_equal(feature_images._image(np.arange(8.0), layout), [[2, 3], [4, 5]])


def test_large_images_keep_their_extremes():
    image = np.zeros((1000, 700))
    image[999, 699], image[500, 3], image[0, 0] = -7.0, 5.0, np.nan
    pooled = feature_images._pooled(image)
    assert max(pooled.shape) <= 280
    assert (pooled.min(), pooled.max()) == (-7.0, 5.0)
    assert not np.isnan(pooled).any()


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (4, 25)])
def test_strips(make_results, shape):
    results = make_results(n_features=40, layout=Layout.natural(40, shape=shape))
    assert style.png(figures.attribution_image(results.findings, results.layout)).startswith(b"\x89PNG")
    assert style.png(figures.class_means(results.class_means, results.layout, ["a", "b"])).startswith(b"\x89PNG")


def test_latent_of_one_dimension():
    figure = figures.latent(pd.DataFrame({"a": np.arange(30.0)}))
    assert "100%" in figure.axes[0].get_xlabel()


def test_names_are_elided_and_never_read_as_mathematics(make_results):
    results = make_results()
    results.findings.loc[3, "feature"] = "$\\broken{" + "x" * 60 + "end"
    figure = figures.top_features(results.findings, results.class_names)
    name = figure.axes[0].get_yticklabels()[0].get_text()
    assert len(name) <= 30
    assert name.startswith("$\\broken{")
    assert name.endswith("end")
    assert style.png(figure).startswith(b"\x89PNG")


def test_levels_are_pushed_apart():
    placed = feature_images._spread([0.1, 0.1, 0.5, 0.99, 1.0], 0.1)
    assert placed == pytest.approx([0.1, 0.2, 0.5, 0.9, 1.0])
