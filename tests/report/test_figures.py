from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_array_equal

from pixfold.layout import Layout
from pixfold.report import figures, pixel_images
from pixfold.report.contents import Contents
from pixfold.report.figures import feature_images, ranking, samples, scores, style
from pixfold.report.pixel_images import Grid


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def features_of(results) -> list[dict]:
    return Contents.of(results).document["features"]


def attribution(results):
    contents = Contents.of(results)
    arrays = contents.arrays
    grid = Grid(*arrays["grid"].tolist())
    return figures.attribution_image(arrays["evidence"], arrays["marked"], contents.document["features"], grid)


def drawn_of(results) -> dict:
    return {name: figure for name, figure in figures._figures(Contents.of(results)) if figure is not None}


def test_files_are_whole_alike_and_of_one_width(written):
    names = {path.stem for path in (written / "figures").iterdir()}
    assert names == set(figures.NAMES) - {"latent", "predicted_values"}
    for name in names:
        image = imread(written / "figures" / f"{name}.png")
        assert image.shape[1] == 750
        assert image.shape[0] > 300
        assert image[..., :3].std() > 0.01  # something is drawn
        root = ET.parse(written / "figures" / f"{name}.svg").getroot()
        assert root.get("width") == "360pt"


def test_what_is_drawn_of_each_kind_of_job(make_results):
    common = {"top_features", "training_curves", "attribution_image", "feature_values", "rank_frequency"}
    of_runs = common | {"run_scores", "agreement"}
    assert set(drawn_of(make_results(n_classes=0))) == common | {"latent"}
    assert set(drawn_of(make_results(quantity=True, n_runs=5))) == of_runs | {"predicted_values"}
    assert set(drawn_of(make_results(n_classes=12))) == common | {"confusion_matrix", "class_means", "class_evidence"}


def test_settings_of_the_caller_stay(make_results):
    with mpl.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        style.both(ranking.top_features(features_of(make_results())), "top_features")
        assert dict(mpl.rcParams) == before


def test_no_figure_without_content():
    assert ranking.top_features([], ["x", "y"]) is None
    assert ranking.agreement_curve([None, 0.5]) is None
    assert ranking.rank_frequency(np.ones(3, np.float32), np.ones(3, np.float32), 10, 1) is None
    assert scores.training_curves({}, {}) is None
    assert scores.training_curves({"epoch": np.ones(3), "train_loss": np.ones(3)}, {}) is None
    assert scores.run_scores({"runs": [{"balanced_accuracy": 0.5}] * 4}, n_classes=2) is None
    assert samples.feature_values(np.empty((5, 0), np.float32), [], None, []) is None


def test_top_features_are_the_best_twenty_in_order(make_results):
    results = make_results(n_features=64)
    axes = ranking.top_features(features_of(results), results.class_names).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == results.findings["feature"].tolist()[:20]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best is on top
    assert [bar.get_width() for bar in axes.patches[:20]] == results.findings["importance"].tolist()[:20]


def test_agreement_is_drawn_as_it_was_measured():
    axes = ranking.agreement_curve([None, 0.3, 0.5, None, 0.9]).axes[0]
    assert axes.lines[1].get_xdata().tolist() == [2, 3, 5]
    assert axes.lines[1].get_ydata().tolist() == [0.3, 0.5, 0.9]


def test_ranks_against_selection_frequencies():
    frequency, mean_rank = np.array([1.0, 0.2, 0.6], np.float32), np.array([1.0, 30.0, 4.0], np.float32)
    upper, lower = ranking.rank_frequency(frequency, mean_rank, 10, 5).axes
    assert upper.lines[0].get_xdata().tolist() == [1, 3]  # half of the runs or more
    assert upper.lines[1].get_ydata() == pytest.approx([0.2])
    assert lower.lines[0].get_ydata().tolist() == [1.0, 30.0, 4.0]


@pytest.mark.parametrize("n", [2, 7, 20, 21])
def test_confusion_matrix_prints_counts_up_to_20_classes(n):
    counts = np.eye(n, dtype=np.int64) * 5
    counts[0, 1] = 3
    figure = scores.confusion_matrix(counts, [f"a class with quite a long name {i}" for i in range(n)])
    assert sorted(texts(figure)) == ([] if n > 20 else ["3"] + ["5"] * n)
    assert_array_equal(figure.axes[0].images[0].get_array()[0, :2], [0.625, 0.375])


def test_scores_of_runs_beside_chance_and_linear_models():
    values = np.linspace(0.6, 0.9, 7)
    model = {"name": "logistic regression (L2)", "balanced_accuracy": 0.8, "n_splits": 5}
    metrics = {"runs": [{"balanced_accuracy": score} for score in values], "baselines": {"l2": model}}
    figure = scores.run_scores(metrics, n_classes=4)
    axes = figure.axes[0]
    assert axes.lines[0].get_ydata().tolist() == values.tolist()
    assert [line.get_ydata()[0] for line in axes.lines[1:]] == [values.mean(), 0.8, 0.25]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[1] == "logistic regression (L2) 0.800, the first 5 runs"


def test_scores_of_a_quantity():
    axes = scores.run_scores({"runs": [{"r2": score} for score in (0.1, -0.2, 0.3, None, 0.2, 0.0)]}).axes[0]
    assert len(axes.lines[0].get_ydata()) == 5
    assert axes.lines[-1].get_ydata()[0] == 0.0


def test_curves_of_every_run():
    epochs = np.array([1.0, 2.0, 1.0, 2.0])
    history = {
        "run": np.array([1.0, 1.0, 2.0, 2.0]),
        "epoch": epochs,
        "train_loss": epochs,
        "validation_loss": epochs + 1,
    }
    (axes,) = scores.training_curves(history, {}).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 2], [1, 2], [2, 3], [2, 3]]


def test_class_images_of_more_than_twelve_classes(make_results):
    results = make_results(n_classes=14, n_features=9)
    contents = Contents.of(results)
    arrays = contents.arrays
    figure = figures.class_images(
        arrays["class_means"],
        arrays["class_means.codes"],
        int(arrays["class_means.of"]),
        Grid(3, 3, 1),
        results.class_names,
        title="Means",
        label="mean",
    )
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [f"class {i}" for i in range(12)]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    expected = results.class_means[1].reshape(3, 3).astype(np.float32)
    assert_array_equal(panels[1].images[0].get_array(), expected)
    assert figure.get_suptitle() == "Means (first 12 of 14)"


def test_attribution_image_rings_the_best_at_their_pixels(make_results):
    results = make_results()
    figure = attribution(results)
    assert sorted(texts(figure), key=int) == [str(rank) for rank in range(1, 11)]
    named = [text.get_text() for text in figure.texts]
    assert named[0] == f"1  {results.findings['feature'].iloc[0]}"
    (rings,) = figure.axes[0].lines
    assert (rings.get_xdata()[0], rings.get_ydata()[0]) == (3, 0)  # gene_3 in rows of six
    image = figure.axes[0].images[0].get_array()
    assert image[0, 3] == np.float32(results.findings["importance"].iloc[0])


def test_features_without_a_pixel_or_sharing_one():
    # Features 0 and 1 share a pixel; the layout has three channels and is not square.
    layout = Layout.from_coordinates([0, 0, 1, 1, 0], [0, 0, 0, 1, 3], (2, 5))
    image = pixel_images.folded(np.array([1.0, 3.0, 5.0, 7.0, 9.0]), layout)
    assert_array_equal(image, [[2, np.nan, np.nan, 9, np.nan], [5, 7, np.nan, np.nan, np.nan]])
    assert_array_equal(pixel_images.place_of(np.array([3, 4]), layout), [[1, 1], [0, 3]])


def test_channels_are_averaged():
    layout = Layout.natural(8, shape=(2, 2, 2))
    assert_array_equal(pixel_images.folded(np.arange(8.0), layout), [[2, 3], [4, 5]])


def test_large_images_keep_their_extremes():
    layout = Layout.natural(700_000, shape=(1, 1000, 700))
    values = np.zeros(700_000)
    values[-1], values[500 * 700 + 3] = -7.0, 5.0
    image = pixel_images.kept_image(values, layout)
    assert max(image.shape) <= 280
    assert (image.min(), image.max()) == (-7.0, 5.0)
    assert not np.isnan(image).any()


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (4, 25)])
def test_strips(make_results, shape):
    results = make_results(n_features=40, layout=Layout.natural(40, shape=shape))
    assert style.png(attribution(results)).startswith(b"\x89PNG")


def test_values_by_class_by_quantity_and_alone():
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    labels = np.array([0, 1, 0, 1])
    axes = samples.feature_values(values, ["a", "b"], labels, ["x", "y"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in points] == [[0, 4], [2, 6]]
    (line,) = samples.feature_values(values, ["a", "b"], labels / 2.0, []).axes[1].lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0, 0.5, 0, 0.5], [1, 3, 5, 7])
    assert samples.feature_values(values, ["a", "b"], None, []).axes[0].patches


def test_latent_of_one_dimension():
    figure = samples.latent(np.arange(30, dtype=np.float32)[:, None], np.ones(1), (30, 1))
    assert "100%" in figure.axes[0].get_xlabel()


def test_names_are_elided_and_never_read_as_mathematics(make_results):
    names = [f"g{i}" for i in range(30)]
    names[3] = "$\\broken{" + "x" * 60 + "end"
    figure = ranking.top_features(features_of(make_results(names=names)))
    name = figure.axes[0].get_yticklabels()[0].get_text()
    assert len(name) == 22
    assert name.startswith("$\\broken{")
    assert name.endswith("end")
    assert style.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("short", "short"),
        ("two\nlines", "two lines"),
        ("abcdefghijklmnop", "abcdefg…nop"),
        ("遺伝子の長い名前", "遺伝子…前"),
    ],
)
def test_elided(name, expected):
    assert style.elided(name, 11) == expected
    assert style.elided(name, 100) == " ".join(name.split())


def test_any_script_and_any_markup_is_text_of_the_svg(make_results):
    names = [f"g{i}" for i in range(30)]
    names[3] = "<b>&遺伝子</b>\N{DNA DOUBLE HELIX}"
    files = style.both(ranking.top_features(features_of(make_results(names=names))), "x")
    assert any("".join(node.itertext()).strip() == names[3] for node in ET.parse(io.BytesIO(files["svg"])).iter())
    assert re.search(rb"<b>", files["svg"]) is None


def test_levels_are_pushed_apart():
    placed = feature_images.spread([0.1, 0.1, 0.5, 0.99, 1.0], 0.1)
    assert placed == pytest.approx([0.1, 0.2, 0.5, 0.9, 1.0])


@pytest.mark.parametrize("end", [0.05, 1.0])
def test_the_legend_of_the_loss_lies_on_no_line(end):
    """Whether the loss falls to nothing or stays where it began."""
    losses = np.linspace(1.0, end, 6)
    figure = scores.training_curves({"epoch": np.arange(1.0, 7.0), "train_loss": losses, "validation_loss": losses}, {})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    box = axes.get_legend().get_window_extent()
    for line in axes.lines:
        assert not line.get_transform().transform_path(line.get_path()).intersects_bbox(box, filled=False)


@pytest.mark.parametrize(("n", "last"), [(3, "cluster 2"), (12, "other clusters")])
def test_latent_space_shows_clusters(n, last):
    places = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    clusters = np.arange(60) % n
    figure = samples.latent(places, np.array([0.5, 0.2]), (60, 8), clusters)
    lines = figure.axes[0].lines
    assert lines[-1].get_label() == last
    np.testing.assert_array_equal(lines[1].get_xdata(), places[clusters == 1, 0])
    assert sum(len(line.get_xdata()) for line in lines) == 60
    assert len(figure.legends[0].get_texts()) == min(n, len(samples.PALETTE))
