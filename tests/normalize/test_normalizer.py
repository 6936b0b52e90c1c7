"""Normalizer: each preset against its definition, fitting in parts, and what it refuses."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold

PRESETS = [
    "none", "log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore", "genotype",
]  # fmt: skip
FLOAT32 = 2.0**-24


def samples(n=40, n_features=30, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.7, 8.0, (n, n_features))
    x[rng.random(x.shape) < 0.3] = 0.0
    return x.astype(dtype)


def genotypes(n=40, n_features=30, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return rng.binomial(2, rng.uniform(0.1, 0.9, n_features), (n, n_features)).astype(dtype)


def data_for(preset, seed=0, dtype="float64"):
    return genotypes(seed=seed, dtype=dtype) if preset == "genotype" else samples(seed=seed, dtype=dtype)


def define(preset, train, x):
    """Each preset as its source writes it, in float64."""
    if preset == "none":
        return x
    if preset == "log1p":
        return np.log1p(x)
    if preset == "minmax":
        low, high = train.min(axis=0), train.max(axis=0)
        return np.clip((x - low) / (high - low), 0, 1)
    if preset == "log1p-minmax":
        return define("minmax", np.log1p(train), np.log1p(x))
    if preset == "norm2":
        offset = np.maximum(0, -train.min(axis=0))
        top = np.log1p(train + offset).max()
        return np.clip(np.log1p(np.maximum(x + offset, 0)) / top, 0, 1)
    if preset == "cp10k-log1p":
        return np.log1p(x * (1e4 / x.sum(axis=1, keepdims=True)))
    if preset == "zscore":
        return (x - train.mean(axis=0)) / train.std(axis=0)
    if preset == "log1p-zscore":
        return define("zscore", np.log1p(train), np.log1p(x))
    if preset == "genotype":
        p = train.mean(axis=0) / 2
        return (x - 2 * p) / np.sqrt(2 * p * (1 - p))
    raise KeyError(preset)


def assert_parameters_equal(one, other, rtol):
    one, other = one.parameters(), other.parameters()
    for name in ("offset", "shift", "scale", "fill"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=rtol, err_msg=name)
    for name in ("log", "library_size", "lo", "hi", "missing", "clip_below_zero", "negative"):
        assert getattr(one, name) == getattr(other, name), name


class TestPresets:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_definition(self, preset):
        train, x = data_for(preset), data_for(preset, seed=1)
        y = Normalizer(preset).fit(train).transform(x)
        assert y.dtype == np.float32
        assert y.shape == x.shape
        # Parameters and formula are float64 here: both ways round 40 sums and a few operations, which the
        # z-score of data whose mean is below 10 standard deviations cannot raise above 1e-12; then one
        # rounding to float32.
        np.testing.assert_allclose(y, define(preset, train, x), rtol=FLOAT32 * (1 + 1e-6), atol=1e-12)

    def test_default_is_log1p_zscore(self):
        assert_parameters_equal(Normalizer().fit(samples()), Normalizer("log1p-zscore").fit(samples()), rtol=0)

    @pytest.mark.parametrize(
        ("preset", "parts"),
        [
            ("log1p", {"log": True}),
            ("minmax", {"scale": "minmax", "clip": (0.0, 1.0)}),
            ("zscore", {"scale": "zscore"}),
            ("log1p-zscore", {"log": True, "scale": "zscore"}),
            ("cp10k-log1p", {"library_size": 1e4, "log": True}),
        ],
    )
    def test_parts(self, preset, parts):
        assert_parameters_equal(Normalizer("none", **parts).fit(samples()), Normalizer(preset).fit(samples()), rtol=0)

    def test_norm2_takes_negative_values(self):
        train, x = samples() - samples(seed=1), samples(seed=2) - samples(seed=3)
        y = Normalizer("norm2").fit(train).transform(x)
        # As above, and the sum x + offset loses nothing that the log does not.
        np.testing.assert_allclose(y, define("norm2", train, x), rtol=FLOAT32 * (1 + 1e-6), atol=1e-12)
        assert y.min() == 0.0

    @pytest.mark.parametrize("preset", ["minmax", "log1p-minmax", "norm2"])
    def test_unseen_values_clip(self, preset):
        y = Normalizer(preset).fit(samples()).transform(samples(seed=1) * 100)
        assert y.min() >= 0.0
        assert y.max() == 1.0

    def test_cells_reach_the_library_size(self):
        y = Normalizer("cp10k-log1p").fit(samples()).transform(samples(seed=1))
        # 30 values of one float32 rounding each: exp turns an error of up to half an ulp of 10 into a
        # relative one.
        np.testing.assert_allclose(np.expm1(y.astype(np.float64)).sum(axis=1), 1e4, rtol=10 * FLOAT32)

    @pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset not in ("none", "log1p", "cp10k-log1p")])
    def test_constant_features(self, preset):
        train = data_for(preset)
        train[:, 3] = 0.0
        train[:, 4] = 2.0
        x = data_for(preset, seed=1)
        y = Normalizer(preset).fit(train).transform(x)
        assert np.all(np.isfinite(y))
        if preset != "norm2":
            # norm2 divides by one maximum for all features, so there a constant feature is like any other.
            np.testing.assert_array_equal(y[:, 3:5], 0.0)

    def test_all_zero_data(self):
        for preset in PRESETS:
            y = Normalizer(preset).fit(np.zeros((3, 4))).transform(np.zeros((2, 4)))
            np.testing.assert_array_equal(y, 0.0)

    def test_nearly_constant_float32(self):
        # 0.1 is not a float32: rounding must not make a spread, and so a scale of 1e8, out of nothing.
        train = np.full((1_000, 20), 0.1, dtype=np.float32)
        for preset in ("zscore", "log1p-zscore", "minmax", "log1p-minmax"):
            np.testing.assert_array_equal(Normalizer(preset).fit(train).transform(train * 2), 0.0)

    def test_one_sample(self):
        for preset in ("zscore", "minmax"):
            np.testing.assert_array_equal(Normalizer(preset).fit(samples(n=1)).transform(samples(n=1)), 0.0)

    def test_training_data_alone_decides(self):
        train = samples()
        normalizer = Normalizer("zscore").fit(train)
        first = normalizer.transform(train)
        normalizer.transform(samples(seed=1) * 100)
        np.testing.assert_array_equal(normalizer.transform(train), first)

    def test_fit_starts_anew(self):
        again = Normalizer("zscore").fit(samples(seed=1) * 9).fit(samples())
        assert_parameters_equal(again, Normalizer("zscore").fit(samples()), rtol=0)


class TestFittingInParts:
    @pytest.mark.parametrize("preset", PRESETS)
    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
    def test_partial_fit_and_merge(self, preset, dtype):
        x = data_for(preset, dtype=dtype)
        whole = Normalizer(preset).fit(x)
        parts = [x[:1], x[1:9], x[9:9], x[9:30], x[30:]]
        for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (3, 0, 4, 2, 1)):
            streamed = Normalizer(preset)
            merged = Normalizer(preset).partial_fit(parts[order[0]])
            for k in order:
                streamed.partial_fit(parts[k])
            for k in order[1:]:
                merged.merge(Normalizer(preset).partial_fit(parts[k]))
            # The design's promise.
            assert_parameters_equal(streamed, whole, rtol=1e-6)
            assert_parameters_equal(merged, whole, rtol=1e-6)

    @pytest.mark.parametrize("preset", ["norm2", "log1p", "log1p-minmax"])
    def test_negative_shift_in_any_order(self, preset):
        # The offset is known only at the end, so parts cannot have used it.
        x = samples() - 5 * samples(seed=1)
        options = {} if preset == "norm2" else {"negative": "shift"}
        whole = Normalizer(preset, **options).fit(x)
        parts = np.array_split(x, 3)
        for order in itertools.permutations(range(3)):
            streamed = Normalizer(preset, **options)
            for k in order:
                streamed.partial_fit(parts[k])
            assert_parameters_equal(streamed, whole, rtol=1e-6)

    def test_a_mean_after_the_shift_needs_a_second_pass(self):
        x = samples() - 5 * samples(seed=1)
        part = Normalizer("log1p-zscore", negative="shift").partial_fit(samples())
        before = part.transform(samples())
        with pytest.raises(InputError, match=r"second pass.*fit"):
            part.partial_fit(x)
        # What was refused has left nothing behind.
        np.testing.assert_array_equal(part.transform(samples()), before)

    @pytest.mark.parametrize("options", [{}, {"negative": "shift"}])
    def test_processes_that_read_a_part_each(self, options):
        """All get the normaliser of all samples, one without a sample too; a mean after the shift takes two passes."""
        x = samples() - (5 * samples(seed=1) if options else 0)
        parts, meet = [x[:9], x[9:9], x[9:]], threading.Barrier(3)
        told = [None] * 3

        def fitted(rank):
            def shared(own):
                told[rank] = own
                meet.wait(60)
                found = list(told)
                meet.wait(60)
                return found

            def read():
                return [parts[rank][:2], parts[rank][2:]]

            return Normalizer("log1p-zscore", **options).fit_blocks(read, shared=shared)

        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(fitted, range(3)))
        whole = Normalizer("log1p-zscore", **options).fit(x)
        for normalizer in found:
            assert_parameters_equal(normalizer, whole, rtol=1e-12)
            assert_parameters_equal(normalizer, found[0], rtol=0)

    def test_merge_of_a_second_pass_is_refused(self):
        x = samples() - 5 * samples(seed=1)
        fitted = Normalizer("log1p-zscore", negative="shift").fit(x)
        with pytest.raises(InputError, match=r"two passes"):
            fitted.merge(Normalizer("log1p-zscore", negative="shift").fit(samples()))
        with pytest.raises(InputError, match=r"two passes"):
            fitted.partial_fit(samples())

    @pytest.mark.parametrize("preset", PRESETS)
    @pytest.mark.parametrize("index", ["int32", "int64"])
    def test_csr_as_dense(self, preset, index):
        x = data_for(preset)
        sparse = scipy.sparse.csr_array(x)
        sparse = scipy.sparse.csr_array(
            (sparse.data, sparse.indices.astype(index), sparse.indptr.astype(index)), shape=x.shape
        )
        one, other = Normalizer(preset).fit(x), Normalizer(preset).fit(sparse)
        assert_parameters_equal(one, other, rtol=1e-6)
        np.testing.assert_allclose(one.transform(sparse), one.transform(x), rtol=2 * FLOAT32, atol=1e-12)

    def test_missing_values_in_parts(self):
        x = samples()
        x[np.random.default_rng(3).random(x.shape) < 0.2] = np.nan
        whole = Normalizer("zscore", missing="mean").fit(x)
        streamed = Normalizer("zscore", missing="mean")
        for part in np.array_split(x, 5):
            streamed.partial_fit(part)
        assert_parameters_equal(streamed, whole, rtol=1e-6)

    def test_merge_leaves_the_other_alone(self):
        one, other = Normalizer("zscore").fit(samples()), Normalizer("zscore").fit(samples(seed=1))
        before = other.transform(samples())
        one.merge(other)
        one.partial_fit(samples(seed=2))
        np.testing.assert_array_equal(other.transform(samples()), before)

    def test_merge_refuses_another_recipe(self):
        with pytest.raises(ValueError, match=r"(?i)zscore|minmax|preset|merge"):
            Normalizer("zscore").fit(samples()).merge(Normalizer("minmax").fit(samples()))

    def test_merge_refuses_other_features(self):
        with pytest.raises(ValueError, match=r"(?s)(30.*7|7.*30)"):
            Normalizer("zscore").fit(samples()).merge(Normalizer("zscore").fit(samples(n_features=7)))

    def test_partial_fit_refuses_other_features(self):
        with pytest.raises(ValueError, match=r"(?s)(30.*7|7.*30)"):
            Normalizer("zscore").fit(samples()).partial_fit(samples(n_features=7))


class TestNegativeValues:
    LOGS = ("log1p", "log1p-minmax", "cp10k-log1p", "log1p-zscore")

    @pytest.mark.parametrize("preset", LOGS)
    @pytest.mark.parametrize("sparse", [False, True])
    def test_refused(self, preset, sparse):
        x = samples(dtype="float32")
        x[3, 17] = -1.5
        x[5, 17] = -0.5
        x[0, 21] = -2.0
        names = [f"gene {j}" for j in range(30)]
        with pytest.raises(InputError, match=r"(?s)3 negative.*gene 17.*negative=.shift"):
            Normalizer(preset).fit(scipy.sparse.csr_array(x) if sparse else x, feature_names=names)

    def test_refused_without_names(self):
        x = samples()
        x[3, 17] = -1.5
        with pytest.raises(InputError, match=r"(?s)1 negative.*17.*negative=.shift"):
            Normalizer("log1p").fit(x)

    def test_refused_when_transforming(self):
        x = samples()
        x[3, 17] = -1.5
        with pytest.raises(InputError, match=r"(?s)1 negative.*17.*negative=.shift"):
            Normalizer("log1p").fit(samples()).transform(x)

    @pytest.mark.parametrize("preset", ["log1p", "log1p-minmax", "log1p-zscore"])
    def test_shift(self, preset):
        train, x = samples() - samples(seed=1), samples(seed=2) - samples(seed=3)
        y = Normalizer(preset, negative="shift").fit(train).transform(x)
        offset = np.maximum(0, -train.min(axis=0))
        expected = define(preset, train + offset, np.maximum(x + offset, 0))
        np.testing.assert_allclose(y, expected, rtol=FLOAT32 * (1 + 1e-6), atol=1e-12)

    def test_negative_totals_do_not_hide_negative_values(self):
        x = samples()
        x[3, 17] = -1e6
        with pytest.raises(InputError, match=r"(?s)1 negative.*17"):
            Normalizer("cp10k-log1p").fit(x)
        with pytest.raises(InputError, match=r"(?s)1 negative.*17"):
            Normalizer("cp10k-log1p").fit(samples()).transform(x)

    @pytest.mark.parametrize("preset", ["cp10k-log1p"])
    def test_library_size_with_shift_refused(self, preset):
        with pytest.raises(InputError, match=r"(?i)library.size"):
            Normalizer(preset, negative="shift").fit(samples() - 1)

    def test_shift_leaves_positive_features_where_they_are(self):
        train = samples() + 1
        np.testing.assert_array_equal(Normalizer("log1p", negative="shift").fit(train).parameters().offset, 0.0)

    def test_without_log_negative_values_are_plain(self):
        train = samples() - 10
        np.testing.assert_allclose(
            Normalizer("zscore").fit(train).transform(train),
            define("zscore", train, train),
            rtol=FLOAT32 * (1 + 1e-6),
            atol=1e-12,
        )


class TestMissing:
    @pytest.mark.parametrize("sparse", [False, True])
    def test_refused(self, sparse):
        x = samples()
        x[3, 17] = np.nan
        with pytest.raises(InputError, match=r"(?is)missing.*1 NaN.*17.*missing="):
            Normalizer("zscore").fit(scipy.sparse.csr_array(x) if sparse else x)

    @pytest.mark.parametrize("preset", ["zscore", "minmax", "log1p-zscore", "log1p-minmax"])
    def test_left_out_of_the_statistics(self, preset):
        train = samples()
        train[:6, 4] = np.nan
        part = train[6:, 4:5]
        fitted = Normalizer(preset, missing="zero").fit(train)
        y = fitted.transform(samples(seed=1))[:, 4:5]
        np.testing.assert_allclose(
            y, define(preset, part, samples(seed=1)[:, 4:5]), rtol=FLOAT32 * (1 + 1e-6), atol=1e-12
        )

    def test_fill(self):
        train = samples()
        train[:6, 4] = np.nan
        x = samples(seed=1)
        x[2, 4] = np.nan
        assert Normalizer("log1p-minmax", missing="zero").fit(train).transform(x)[2, 4] == 0.0
        y = Normalizer("log1p-minmax", missing="mean").fit(train).transform(x)[2, 4]
        g = np.log1p(train[6:, 4])
        np.testing.assert_allclose(y, (g.mean() - g.min()) / (g.max() - g.min()), rtol=FLOAT32 * (1 + 1e-6), atol=1e-12)

    def test_feature_missing_everywhere(self):
        train = samples()
        train[:, 4] = np.nan
        for missing in ("zero", "mean"):
            for preset in ("zscore", "minmax", "log1p-zscore", "norm2"):
                y = Normalizer(preset, missing=missing).fit(train).transform(train)
                assert np.all(np.isfinite(y))
                np.testing.assert_array_equal(y[:, 4], 0.0)

    def test_genotype_missing_is_the_mean(self):
        x = genotypes()
        x[::5, 2] = np.nan
        y = Normalizer("genotype").fit(x).transform(x)
        np.testing.assert_array_equal(y[::5, 2], 0.0)


class TestInverse:
    @pytest.mark.parametrize(
        "preset", ["none", "log1p", "minmax", "log1p-minmax", "norm2", "zscore", "log1p-zscore", "genotype"]
    )
    def test_brings_the_samples_back(self, preset):
        x = data_for(preset)
        normalizer = Normalizer(preset).fit(x)
        back = normalizer.inverse_transform(normalizer.transform(x))
        p = normalizer.parameters()
        # y is off by half an ulp; undoing scale and log multiplies that by 1/scale and by 1 + x (the
        # derivative of expm1), and the result may be float32 itself, after parameters that are: 4 roundings
        # of |g| and of x.
        y = np.abs(define(preset, x, x))
        g = np.log1p(x) if p.log else np.abs(x)
        step = (y / p.scale + 4 * (g + np.abs(p.shift))) * FLOAT32
        bound = step * (1 + x + p.offset if p.log else 1.0) + 4 * FLOAT32 * (np.abs(x) + p.offset + 1)
        assert np.all(np.abs(back - x) <= bound * 1.01)

    def test_library_size_cannot_be_undone_silently(self):
        normalizer = Normalizer("cp10k-log1p").fit(samples())
        y = normalizer.transform(samples())
        try:
            back = normalizer.inverse_transform(y)
        except ValueError as error:
            refusal = str(error)
            assert "library" in refusal
        else:
            # What can be undone is the log: samples of the common sum.
            np.testing.assert_allclose(back.sum(axis=1), 1e4, rtol=20 * FLOAT32)


class TestState:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_save_and_load(self, tmp_path, preset):
        normalizer = Normalizer(preset).fit(data_for(preset))
        path = tmp_path / "normalizer.npz"
        normalizer.save(path)
        again = Normalizer.load(path)
        x = data_for(preset, seed=1)
        np.testing.assert_array_equal(again.transform(x), normalizer.transform(x))
        assert_parameters_equal(again, normalizer, rtol=0)
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                assert archive[name].dtype != object

    @pytest.mark.parametrize("options", [{"negative": "shift"}, {"missing": "mean"}, {"clip": (-3.0, 3.0)}])
    def test_options_survive(self, options):
        normalizer = Normalizer("log1p-zscore", **options).fit(samples())
        again = Normalizer.from_state(normalizer.state())
        assert_parameters_equal(again, normalizer, rtol=0)

    def test_fitting_does_not_silently_start_anew_after_loading(self):
        # The statistics are not saved: going on would forget the samples of before.
        loaded = Normalizer.from_state(Normalizer("zscore").fit(samples()).state())
        for extend in (
            lambda: loaded.partial_fit(samples()),
            lambda: loaded.merge(Normalizer("zscore").fit(samples())),
        ):
            with pytest.raises(InputError, match=r"(?i)load|statistics|state"):
                extend()
        other = Normalizer("zscore").fit(samples(seed=1))
        with pytest.raises(InputError, match=r"(?i)load|statistics|state"):
            other.merge(loaded)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda normalizer: pickle.loads(pickle.dumps(normalizer))])
    def test_copies(self, duplicate):
        # As joblib, multiprocessing and scikit-learn's clone do, after it was used.
        normalizer = Normalizer("log1p-zscore").fit(samples())
        x = samples(seed=1)
        y = normalizer.transform(x)
        np.testing.assert_array_equal(duplicate(normalizer).transform(x), y)

    @pytest.mark.parametrize("preset", ["cp10k-log1p", None])
    def test_a_file_of_the_first_format(self, tmp_path, preset):
        """As commit fa91dd1 wrote it: settings in JSON as bytes, and the formula's four arrays."""
        settings = {
            "preset": preset,
            "library_size": 1e4,
            "log": True,
            "scale": "zscore" if preset is None else None,
            "lift": False,
            "clip": [None, 3.0],
            "negative": "error",
            "missing": "mean",
            "clip_below_zero": False,
        }
        arrays = {"offset": [0.0, 0.0], "shift": [0.5, 0.0], "scale": [0.25, 1.0], "fill": [1.0, 0.125]}
        written = np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8)
        np.savez(tmp_path / "n.npz", settings=written, **arrays)
        normalizer = Normalizer.load(tmp_path / "n.npz")
        assert normalizer.preset == preset
        assert normalizer.clip == (-np.inf, 3.0)
        x = np.array([[30.0, 10.0], [np.nan, 40.0]])
        scaled = np.log1p(x * (1e4 / np.nansum(x, axis=1, keepdims=True)))
        expected = np.minimum((scaled - arrays["shift"]) * arrays["scale"], 3.0)
        expected[1, 0] = arrays["fill"][0]
        # The kernels' float32 and its logarithm: a few roundings of numbers below 10.
        np.testing.assert_allclose(normalizer.transform(x), expected, rtol=0, atol=10 * 8 * FLOAT32)

    def test_load_refuses_other_files(self, tmp_path):
        np.savez(tmp_path / "other.npz", something=np.ones(3))
        with pytest.raises(ValueError, match=r"other.npz|ormali"):
            Normalizer.load(tmp_path / "other.npz")


class TestRefused:
    @pytest.mark.parametrize("call", [lambda n: n.transform(samples()), lambda n: n.parameters(), lambda n: n.state()])
    def test_not_fitted(self, call):
        with pytest.raises(ValueError, match=r"(?i)fit"):
            call(Normalizer("zscore"))

    @pytest.mark.parametrize("sparse", [False, True])
    def test_other_number_of_features(self, sparse):
        normalizer = Normalizer("zscore").fit(samples())
        x = samples(n_features=7)
        with pytest.raises(ValueError, match=r"(?s)30.*7"):
            normalizer.transform(scipy.sparse.csr_array(x) if sparse else x)

    @pytest.mark.parametrize(
        "x",
        [
            np.ones(4),
            np.ones((2, 3, 4)),
            np.ones((2, 3), complex),
            np.full((2, 3), "a"),
            np.ones((2, 3), object),
        ],
    )
    def test_data(self, x):
        with pytest.raises((ValueError, TypeError), match="X"):
            Normalizer("zscore").fit(x)

    def test_no_samples(self):
        with pytest.raises(ValueError, match=r"(?i)sample|empty|0"):
            Normalizer("zscore").fit(np.empty((0, 4)))

    @pytest.mark.parametrize("preset", ["zscore", "log1p-zscore", "minmax", "cp10k-log1p"])
    def test_infinite_values(self, preset):
        x = samples()
        x[3, 17] = np.inf
        with pytest.raises(InputError, match=r"(?is)infinite.*17|17.*infinite"):
            Normalizer(preset).fit(x)

    @pytest.mark.parametrize("value", [3.0, -1.0])
    def test_not_genotypes(self, value):
        x = genotypes()
        x[3, 17] = value
        with pytest.raises(InputError, match=r"(?is)genotype"):
            Normalizer("genotype").fit(x)


def test_a_data_frame_names_its_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"good": [1.0, 2.0], "bad": [1.0, -2.0]})
    with pytest.raises(InputError, match=r"1 negative value in 1 feature \('bad'\)"):
        Normalizer("log1p").fit(frame)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint16"])
@pytest.mark.parametrize("preset", ["log1p-minmax", "minmax", "norm2"])
def test_training_extremes_reach_the_ends(preset, dtype):
    """Also where the logarithms of a feature's smallest and largest value hardly differ: by 21 ulp of float32."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60_000, (50, 40)).astype(dtype)
    x[:, 7] = 50_000 + np.arange(50) % 2
    images = fold(x, Layout.natural(40), Normalizer(preset).fit(x)).reshape(50, -1)[:, :40]
    # The difference of the extremes, its reciprocal and their product are rounded once each.
    lowest_end = 1.0 - 3 * 2.0**-24
    if preset == "norm2":  # one scale for all features, from 0 to the largest logarithm
        assert images.max() >= lowest_end
    else:
        assert np.all(images.min(axis=0) == 0.0)
        assert np.all(images.max(axis=0) >= lowest_end)
