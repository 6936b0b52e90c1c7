"""The report: one HTML file that needs nothing beside it, and that nothing in it can make do anything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

from pixfold.report import page
from pixfold.report.contents import Contents
from pixfold.report.feature_table import feature_table, p_value
from pixfold.report.inline_svg import inlined
from pixfold.util.optional import require

_PAIRS = 10
# Figure -> what stands below it.
CAPTIONS = {
    "top_features": "The features with the best ranks.",
    "confusion_matrix": "True and predicted classes of the held-out samples, summed over the runs.",
    "predicted_values": "Every point is a held-out sample of a run.",
    "run_scores": "Every run holds out other samples.",
    "agreement": "The runs are halved at random: how far do the lists of both halves agree, the top weighing most?",
    "rank_frequency": "A rank that the runs bear out lies high in the upper panel and near the dashed line below.",
    "training_curves": "Training and validation, epoch by epoch.",
    "feature_values": "Values as the network sees them, of the samples or of a draw of 2,000.",
    "attribution_image": "The brighter, the more evidence. The best ten are ringed; light grey pixels are padding.",
    "class_means": "Mean of the normalised values of each class, folded like the samples.",
    "class_evidence": "Red moved the score of held-out samples of the class up, blue moved it down.",
    "latent": "Every sample along the directions in which the latent space varies most, two at most.",
}
# Section -> its figures, in order.
_SECTIONS = {
    "good": ("confusion_matrix", "predicted_values", "run_scores"),
    "stable": ("agreement", "rank_frequency"),
    "trained": ("training_curves",),
    "looked": ("top_features", "feature_values", "attribution_image", "class_evidence", "class_means", "latent"),
}


def render(contents: Contents, figures: Mapping[str, bytes]) -> str:
    """Make the page.

    Parameters
    ----------
    contents : Contents
        What it says.
    figures : mapping of str to bytes
        Name of a figure -> SVG file.

    Returns
    -------
    str
        An HTML document without links to other files. Its policy lets the browser load nothing and run no script but
        the one that sorts and searches the table.
    """
    jinja2 = require("jinja2", "train", "the report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    document, metrics = contents.document, contents.document["metrics"]
    history = {
        name.removeprefix("history."): values.tolist()
        for name, values in contents.arrays.items()
        if name.startswith("history.")
    }
    columns, rows = feature_table(document)
    script, style = (
        files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
        for name in ("report.js", "report.css")
    )
    drawn = {
        section: [
            (jinja2.utils.markupsafe.Markup(inlined(figures[name], name, CAPTIONS[name])), CAPTIONS[name])
            for name in names
            if name in figures
        ]
        for section, names in _SECTIONS.items()
    }
    text: str = environment.get_template("report.html.j2").render(
        title=page.title(document),
        task=document["task"],
        version=document["pixfold"],
        answer=document["answer"],
        warnings=document["warnings"],
        messages=document["messages"],
        headline=page.headline(document),
        columns=columns,
        rows=rows,
        n_ranked=f"{document['data']['n_ranked']:,}",
        n_features=f"{document['data']['n_features']:,}",
        several=any(feature["importance_se"] is not None for feature in document["features"]),
        unsteady=any(feature["unsteady"] for feature in document["features"]),
        compared=any("rank_test" in feature for feature in document["features"]),
        approximate=metrics.get("p_values_from") == "held-out samples",
        pairs=[
            (
                pair["shown_a"],
                pair["shown_b"],
                "" if pair["z"] is None else f"{pair['z']:.2f}",
                p_value(pair["p_bonferroni"]),
            )
            for pair in document["pairs"][:_PAIRS]
        ],
        scores=page.scores_table(document),
        classes=page.class_table(document),
        methods=page.methods_table(document),
        stable=page.how_stable(document),
        trained=page.how_trained(document),
        runs=page.runs_table(document, history),
        facts=page.facts(document),
        files=page.files(document),
        settings=list(page.settings(document["settings"])),
        figures=drawn,
        style=jinja2.utils.markupsafe.Markup(style),
        script=jinja2.utils.markupsafe.Markup(script),
        digest=base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode("ascii"),
    )
    return text
