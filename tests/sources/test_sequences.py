from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.ops import fold
from pixfold.sources import Source, open_source
from pixfold.sources.disk import limits
from pixfold.stream.layout_for import layout_for

pytest.importorskip("dnaio")

FASTA = ">s1 label=x [organism=Homo sapiens] first one\nACG\nT\n\n>s2 label=y\nacu\n>s3\nNR-GA\n"


def one_hot(text: str, length: int, channels: str = "ACGT") -> np.ndarray:
    """The literal reading of letters that stand for one."""
    image = np.zeros((len(channels), length))
    for place, letter in enumerate(text):
        image[channels.index(letter), place] = 1
    return image


def write(path: Path, text: str | bytes) -> Path:
    content = text.encode() if isinstance(text, str) else text
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    if path.suffix == ".zst":
        content = pytest.importorskip("zstandard").compress(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
def test_fasta(tmp_path: Path, end: str) -> None:
    source: Any = open_source(write(tmp_path / f"x.fasta{end}", FASTA))
    assert isinstance(source, Source)
    assert source.sample_names == ["s1", "s2", "s3"]
    assert (source.n_samples, source.n_features, source.dtype) == (3, 20, np.float32)
    assert source.channel_sizes == [5] * 4
    assert source.feature_names[:2] == ["1:A", "2:A"]
    assert source.feature_names[5] == "1:C"
    assert source.labels is None
    images = source.read(slice(None)).reshape(3, 4, 5)
    np.testing.assert_array_equal(images[0], one_hot("ACGT", 5))
    np.testing.assert_array_equal(images[1], one_hot("ACT", 5))
    np.testing.assert_array_equal(images[2].T, [[0.25] * 4, [0.5, 0, 0.5, 0], [0] * 4, [0, 0, 1, 0], [1, 0, 0, 0]])
    assert "the sequences are read as DNA" in source.messages[0]
    assert "2 sequences shorter than 5 letters, padded with zeros" in source.messages[1]
    np.testing.assert_array_equal(source.read(np.array([2, 0])).reshape(2, 4, 5), images[[2, 0]])
    assert source.read(slice(0, 0)).shape == (0, 20)


def test_letters_stand_in_channels_of_the_image(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "x.fa", ">a\nACGTACGTA\n>b\nCCCCCCCCG\n"))
    layout = layout_for(source)
    assert layout.shape == (4, 3, 3)
    images = fold(source.read(slice(None)), layout)
    np.testing.assert_array_equal(images[0].reshape(4, 9), one_hot("ACGTACGTA", 9))
    np.testing.assert_array_equal(images[1].reshape(4, 9), one_hot("CCCCCCCCG", 9))


def test_options(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fa", FASTA)
    zeros: Any = open_source(path, ambiguous="zero")
    assert zeros.dtype == np.uint8
    np.testing.assert_array_equal(zeros.read(np.array([2])).reshape(4, 5).sum(axis=0), [0, 0, 0, 1, 1])
    cut: Any = open_source(path, length=2)
    assert cut.n_features == 8
    np.testing.assert_array_equal(cut.read(slice(0, 2)).reshape(2, 4, 2)[1], one_hot("AC", 2))
    assert "3 sequences cut to the first 2 letters" in cut.messages[1]
    longer = open_source(path, length=9)
    assert longer.n_features == 36
    peptides: Any = open_source(path, alphabet="protein", length=4)
    assert len(peptides.channel_sizes) == 20
    for options, message in (
        ({"alphabet": "latin"}, "open_source: alphabet must be 'dna' or 'rna' or 'protein', got 'latin'"),
        ({"ambiguous": "guess"}, "ambiguous must be 'spread' or 'zero', got 'guess'"),
        ({"length": 0}, "length must be a positive integer, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(path, **options)


def test_protein(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fasta", ">p\nMKLVB*\n>q\nmklvx\n")
    source: Any = open_source(path)
    assert "the sequences are read as protein" in source.messages[0]
    letters = "ACDEFGHIKLMNPQRSTVWY"
    first, second = source.read(slice(None)).reshape(2, 20, 6)
    np.testing.assert_array_equal(first[:, :4], one_hot("MKLV", 4, letters))
    assert (first[letters.index("D"), 4], first[letters.index("N"), 4], first[:, 4].sum()) == (0.5, 0.5, 1)
    assert first[:, 5].sum() == 0
    np.testing.assert_allclose(second[:, 4], 1 / 20)
    # The suffix says protein, whatever the letters.
    assert len(open_source(write(tmp_path / "y.faa", ">p\nACGT\n")).channel_sizes) == 20  # type: ignore[attr-defined]


def test_fastq(tmp_path: Path) -> None:
    source = open_source(
        write(tmp_path / "x.fq.gz", "@r1 lane=1\nACGT\n+\nIIII\n@r2 lane=2\nTTTT\n+\nIIII\n"), label="lane"
    )
    assert source.labels is not None
    assert source.labels.tolist() == ["1", "2"]
    np.testing.assert_array_equal(source.read(slice(1, 2)).reshape(4, 4), one_hot("TTTT", 4))


def test_labels_of_headers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fasta", FASTA)
    for label, expected in (
        ("label", ["x", "y", None]),
        ("organism", ["Homo sapiens", None, None]),
        ("description", ["label=x [organism=Homo sapiens] first one", "label=y", None]),
    ):
        source = open_source(path, label=label)
        assert source.labels is not None
        assert source.labels.tolist() == expected
    with pytest.raises(InputError, match=r"no label column 'labl'; did you mean 'label'\? columns there are: 'descrip"):
        open_source(path, label="labl")
    given = open_source(path, y=[1, 2, 1])
    assert given.labels is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.fa", ">s1\nACGT\n>s2\n>s3\nA\n", r"record 2 \('s2'\) has no sequence"),
        ("x.fa", "ACGT\n>s1\nAC\n", "at line 1: Expected '>'"),
        ("x.fq", "@s1\nACGT\n+\nIII\n", "at line 4: Length of sequence and qualities differ"),
        ("x.fq", "@s1\nACGT\n+\nIIII\n@s2\nAC", "at line 6: Premature end of file"),
        (
            "x.fa",
            ">s1\nACGTACGTACGT\n>s2\nAC!T\n",
            r"record 2 \('s2'\), position 3 must be a letter of DNA \(ABC",
        ),
        ("x.fasta", ">s1\nACGTACGTACGTACGT1\n", r"record 1 \('s1'\), position 17 must be a letter of DNA .*, got '1'"),
        ("x.faa", ">s1\nMKL\n>s2\nM?\n", r"record 2 \('s2'\), position 2 must be a letter of protein .*, got '\?'"),
        ("x.fa", b"", "the file is empty"),
        ("x.fa", b"\n\n", "sequences must be at least one, got none"),
        ("x.fa", gzip.compress(b">a\nA\n", mtime=0), "must be text, as its name says, got gzip"),
        ("x.fa", ">s1 \u00e9\nAC\n", "must be ASCII encoded"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("spoil", [lambda b: b[:-300], lambda b: b[:100] + bytes(20) + b[120:]])
def test_damaged_gzip(tmp_path: Path, spoil: Any) -> None:
    rng = np.random.default_rng(0)
    text = "".join(f">s{i}\n{''.join(rng.choice(list('ACGT'), 50))}\n" for i in range(500))
    path = tmp_path / "x.fa.gz"
    path.write_bytes(spoil(gzip.compress(text.encode(), mtime=0)))
    with pytest.raises(InputError, match=r"x\.fa\.gz: "):
        open_source(path)


def test_many_letters_go_through_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), rng.integers(1, 60))) for _ in range(300)]
    path = write(tmp_path / "x.fa", "".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    whole = open_source(path).read(slice(None))
    monkeypatch.setattr(limits, "LARGEST", 1000)
    source = open_source(path)
    np.testing.assert_array_equal(source.read(slice(None)), whole)
    np.testing.assert_array_equal(source.read(np.array([299, 3])), whole[[299, 3]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(slice(5, 9)), whole[5:9])


@pytest.mark.parametrize("end", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_a_column_of_a_table(tmp_path: Path, end: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b", "c"], "site": ["ACGT", "NA", "TTTT"], "kind": ["x", None, "y"]})
    path = tmp_path / f"x{end}"
    if end == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if end == ".tsv" else ",", index=False)
    source = open_source(path, sequence="site", label="kind")
    assert source.sample_names == ["a", "b", "c"]
    assert source.labels is not None
    assert [label == label and label for label in source.labels.tolist()][::2] == ["x", "y"]
    np.testing.assert_array_equal(source.read(slice(1, 2)).reshape(4, 4)[:, :2].T, [[0.25] * 4, [1, 0, 0, 0]])
    with pytest.raises(InputError, match="no label column 'seq'"):
        open_source(path, sequence="seq")


def test_sequences_where_there_are_none(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"site": ["ACGT", None], "n": [1, 2]})
    with pytest.raises(InputError, match=r"DataFrame: record 2 \('1'\) has no sequence"):
        open_source(frame, sequence="site")
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match="a column of sequences is read from tables alone"):
        open_source(tmp_path / "x.npy", sequence="site")
    with pytest.raises(InputError, match="alphabet must be None, because it holds no sequences, got 'dna'"):
        open_source(tmp_path / "x.npy", alphabet="dna")
