"""The page can be made again from what lies in the folder, and a folder that will not do gets one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.report import write_report
from pixfold.report.contents import Contents
from pixfold.report.schema import fault_of, schema
from pixfold.report.stored import load, save


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edited(folder: Path, change) -> None:
    path = folder / "findings.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_another_process_makes_the_same_page_and_figures_again(folder):
    before = files_of(folder)
    (folder / "report.html").unlink()
    (folder / "figures" / "agreement.svg").write_text("something else")
    (folder / "figures" / "latent.png").write_bytes(b"of an earlier job")
    code = f"""
import sys
from pixfold.report import write_report
for path in write_report({str(folder)!r}):
    print(path.relative_to({str(folder)!r}))
assert "torch" not in sys.modules  # to draw a page takes no network
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert files_of(folder) == before
    drawn = {name for name in before if name == "report.html" or name.startswith("figures/")}
    assert set(done.stdout.split()) == drawn


@pytest.mark.parametrize(
    "kind", [{"n_classes": 3, "n_runs": 3}, {"quantity": True}, {"n_classes": 0}, {"n_features": 1}]
)
def test_what_is_stored_keeps_the_schema(make_results, tmp_path, kind):
    save(Contents.of(make_results(**kind)), tmp_path, tables=["findings"], parquet=False)
    document = json.loads((tmp_path / "findings.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema())
    # Nothing is written that the schema does not explain.
    assert set(document) == set(schema()["properties"])
    known = schema()["properties"]["features"]["items"]["properties"]
    assert set(known) >= {key for feature in document["features"] for key in feature}
    assert load(tmp_path).document == document


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("answer"),
        lambda d: d.update(format="1"),
        lambda d: d.update(task="clustering"),
        lambda d: d["features"][2].update(rank=0),
        lambda d: d["features"][2].update(rank=True),
        lambda d: d["features"][2].update(selection_frequency=1.5),
        lambda d: d["features"][2].update(called="yes"),
        lambda d: d["features"][2].pop("q"),
        lambda d: d.update(features={}),
        lambda d: d["features"].append(None),
        lambda d: d["metrics"].update(n_runs="many"),
        lambda d: d["data"]["class_sizes"].update(x=0.5),
        lambda d: d["files"].update(arrays=None),
    ],
)
def test_our_reading_of_the_schema_is_that_of_the_validator(folder, change):
    """Readers of reports need no jsonschema, and see the same faults."""
    document = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    assert fault_of(document, schema()) is None
    change(document)
    assert fault_of(document, schema()) is not None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["features"][2].update(rank="first"), "features[2].rank must be number, got 'first'"),
        (lambda d: d.pop("layout"), "it must have 'layout', got none"),
        (lambda d: d.update(format=2, pixfold="9.0"), "must be of pixfold 0.1.0 or older, got one of 9.0; pip install"),
        (lambda d: d["files"].update(arrays="0" * 64), "report.npz must be the file that belongs to findings.json"),
        (lambda d: d["metrics"].update(top_k="x"), "must be as a run wrote it, got a damaged file"),
        (lambda d: d["metrics"].update(confusion_matrix=[[1]]), "must be as a run wrote it, got a damaged file"),
    ],
)
def test_a_document_that_will_not_do(folder, change, message):
    edited(folder, change)
    before = files_of(folder)
    with pytest.raises(InputError) as raised:
        write_report(folder)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert files_of(folder) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("findings.json", b"{"),
        ("findings.json", b"\xff\xfe"),
        ("findings.json", b"[]"),
        ("findings.json", b"[" * 100_000),
        ("report.npz", b""),
        ("report.npz", b"PK\x03\x04 and no more"),
        ("report.npz", None),
    ],
)
def test_a_damaged_file(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"^report: .*{name} must be") as raised:
        load(folder)
    assert "\n" not in str(raised.value)


def test_arrays_that_do_not_fit_the_document(folder):
    contents = load(folder)
    save(Contents(contents.document, contents.arrays | {"grid": np.zeros(1)}), folder, tables=[], parquet=False)
    with pytest.raises(InputError, match="got a damaged file"):
        write_report(folder)


def test_a_folder_that_is_none(folder, tmp_path):
    with pytest.raises(InputError, match="which is no folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"which has no findings\.json"):
        load(tmp_path)
    (folder / "findings.json").unlink()  # as runs of earlier versions are
    with pytest.raises(InputError, match="a run of an earlier one; repeat the run"):
        load(folder)
