"""What the numbers of an evaluation mean, in words, for whoever shows them."""

from collections.abc import Collection, Mapping
from typing import Any

from infogan.config.schema import Config
from infogan.utils.errors import UserError

MEANINGS = {
    "accuracy": "share of images whose category stands for their label, one category a label (Hungarian matching)",
    "purity": "the same, but several categories may stand for one label",
    "nmi": "information shared by categories and labels, 0 to 1",
    "ari": "pairs of images that categories and labels put together or apart alike; 0 = by chance, 1 = all",
    "calibration_error": "by how much accuracy differs from the probability of the category; 0 = believe it",
    "brier": "squared error of the probabilities of the labels, 0 to 2; 0 = sure and right",
    "log_loss": "nats that the probabilities lack of the labels; 0 = sure and right",
    "frechet_pca64": "distance of generated from real images in 64 principal components of these; 0 = none",
    "frechet_pca64_train_to_test": "the same distance between two sets of real images: what there is to reach",
    "kernel_pca64": "distance in means, spreads and skews of these components, not biased by few images; 0 = none",
    "kernel_pca64_error": "standard error of that distance: within some two of it, distances are equal",
    "kernel_pca64_train_to_test": "the kernel distance between two sets of real images: what there is to reach",
    "frechet_inception2048": "FID: distance of generated from real images in what tells photographs apart; 0 = none",
    "frechet_inception2048_train_to_test": "the FID of two sets of real images: what there is to reach",
    "kernel_inception2048": "KID: the same in means, spreads and skews, not biased by few images; 0 = none",
    "kernel_inception2048_error": "standard error of the KID",
    "kernel_inception2048_train_to_test": "the KID of two sets of real images: what there is to reach",
    "precision_pca64": "share of generated images that lie near a real one; 1 = all",
    "recall_pca64": "share of real images that lie near a generated one; 1 = all",
    "density_pca64": "real images that a generated one is near to, relative to the usual number; 1 = as usual",
    "coverage_pca64": "share of real images with a generated one as near as their neighbours; 0.97 = all kinds reached",
}
SCORES = {
    "betavae": "how well a line through all codes tells which factor two images share",
    "factorvae": "how well the code that varies least tells it",
    "mig": "how much more the best code tells of a factor than the next one, over the factor's entropy",
    "dci_disentanglement": "whether a code matters to one factor only",
    "dci_completeness": "whether one code only matters to a factor",
    "dci_informativeness": "how well factors are predicted from the codes",
    "sap": "how much better the best code alone predicts a factor than the next one",
    "modularity": "whether a code tells of one factor only",
    "explicitness": "how well a line through all codes tells each value of a factor; 0.5 = by chance",
    "irs": "whether a code stays as it is while other factors change",
}
TRACES = {
    "views_apart": "how far what was said not to matter moves an image, relative to its distance to its neighbours",
    "view_agreement": "share of real images that keep their category under what was said not to matter",
    "sureness": "mean probability of the category that a real image is filed under",
    "smallest_class": "mass of the rarest category, relative to an equal share",
    "read_back": "share of generated images in which the category they were made from is read",
    "neighbours": "agreement of the categories with clusters of the encoder's features, 0 to 1",
    "kinds": "kinds of image that the features showed before the categories formed",
    "kinds_met": "that number and the number of categories, the smaller over the larger",
}


def metric_rows(result: Mapping[str, Any], called: Mapping[str, str]) -> list[list[str]]:
    """The numbers of an evaluation: for each what it is called, its value and what it means.

    Args:
        result: As `evaluation.evaluate` gives it.
        called: Today's names of the codes by those in ``result``.
    """
    rows = []
    for name, meaning in MEANINGS.items():
        if name in result:
            rows.append([name.replace("_", " "), with_interval(result, name, result[name], ".4f"), meaning])
    scores = result.get("disentanglement", {})
    for name, meaning in SCORES.items():
        if name in scores:
            rows.append([name.replace("_", " "), f"{scores[name]:.4f}", f"{meaning}; 1 is best"])
    for name, bound in result.get("information", {}).items():
        entropy = result["entropy"][name]
        estimate = result.get("information_estimate", {}).get(name)  # evaluations of before have none
        alone = "" if estimate is None else f"; {estimate:.3f} nats by what is read alone"
        rows.append(
            [
                f"information of {called.get(name, name)}",
                f"{with_interval(result, f'information/{name}', bound, '.3f')} nats",
                f"what images tell of the code; its entropy is {entropy:.3f}{alone}",
            ]
        )
    for name in result.get("ignored", ()):
        rows.append([called.get(name, name), "ignored", "images hardly tell which value of it they were made from"])
    verdict = result.get("verdict", {})
    for name, meaning in TRACES.items():
        if verdict.get(name) is not None:
            rows.append([name.replace("_", " "), f"{verdict[name]:.4g}", f"{meaning} (no labels needed)"])
    return rows


def with_interval(result: Mapping[str, Any], name: str, value: float, form: str) -> str:
    """A number as text, with the ends of its interval where there is one."""
    ends = result.get("intervals", {}).get(name)
    return format(value, form) + (f" ({ends[0]:{form}} to {ends[1]:{form}})" if ends else "")


def current_code_names(config: Config, codes: Collection[str]) -> dict[str, str]:
    """The codes' names by those that they had while training, by which what was written then calls them.

    Args:
        config: Of the run.
        codes: What the model of that run calls them now.

    Raises:
        UserError: the model has other codes than its run.
    """
    if len(config.codes) != len(codes):
        raise UserError("the model is of another run than what lies beside it: it has another number of codes")
    return {code.name: name for code, name in zip(config.codes, codes, strict=True)}
