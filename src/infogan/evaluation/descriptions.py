"""What the metrics of an evaluation mean, in words, for tables in reports, model cards and the explorer."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from infogan.config.schema import Config
from infogan.utils.errors import UserError

MEANINGS = {
    "accuracy": "share of images whose category matches their label, one category per label (Hungarian matching)",
    "purity": "accuracy if several categories may match the same label",
    "nmi": "normalised mutual information of categories and labels, 0 to 1",
    "ari": "agreement of categories and labels on pairs of images; 0 = chance, 1 = equal partitions",
    "calibration_error": "mean difference between the probability of the category and the accuracy; 0 = calibrated",
    "brier": "squared error of the probabilities of the labels, 0 to 2; 0 = certain and correct",
    "log_loss": "negative log-likelihood of the labels, in nats; 0 = certain and correct",
    "frechet_pca64": "Fréchet distance of generated and real images in 64 principal components of pixels; 0 = none",
    "frechet_pca64_train_to_test": "the same distance between training and test images, as a lower limit",
    "kernel_pca64": "kernel distance in these components, unbiased for few images; 0 = none",
    "kernel_pca64_error": "standard error of that distance; two distances within about two errors do not differ",
    "kernel_pca64_train_to_test": "the same distance between training and test images, as a lower limit",
    "frechet_inception2048": "FID: Fréchet distance in the features of a network for photographs; 0 = none",
    "frechet_inception2048_train_to_test": "FID of training and test images, as a lower limit",
    "kernel_inception2048": "KID: kernel distance in these features, unbiased for few images; 0 = none",
    "kernel_inception2048_error": "standard error of the KID",
    "kernel_inception2048_train_to_test": "KID of training and test images, as a lower limit",
    "precision_pca64": "share of generated images near a real one; 1 = all",
    "recall_pca64": "share of real images near a generated one; 1 = all",
    "density_pca64": "real images near a generated one, relative to the number near a real one; 1 = equal",
    "coverage_pca64": "share of real images with a generated one among their neighbours; 0.97 = complete",
}
SCORE_MEANINGS = {
    "betavae": "accuracy of a linear classifier that predicts, from all codes, which factor two images share",
    "factorvae": "accuracy of predicting that factor from the code that varies least",
    "mig": "gap in information about a factor between the best code and the next one, over the factor's entropy",
    "dci_disentanglement": "whether a code matters to one factor only",
    "dci_completeness": "whether a factor depends on one code only",
    "dci_informativeness": "how well the codes predict the factors",
    "sap": "gap in predicting a factor between the best single code and the next one",
    "modularity": "whether a code has information about one factor only",
    "explicitness": "how well a linear classifier predicts each value of a factor from all codes; 0.5 = chance",
    "irs": "whether a code stays constant while other factors change",
}
EVIDENCE_MEANINGS = {
    "views_apart": "distance between augmented views of an image, relative to the distance to its neighbours",
    "view_agreement": "share of real images that keep their category under augmentation",
    "sureness": "mean probability of the category of a real image",
    "smallest_class": "share of images in the rarest category, relative to an equal share",
    "read_back": "share of generated images whose category is recognised as intended",
    "neighbours": "agreement (NMI) of the categories with clusters of the encoder's features, 0 to 1",
    "kinds": "clusters that the features had before the categories formed",
    "kinds_met": "ratio of that number and the number of categories, the smaller over the larger",
}


def metric_rows(result: Mapping[str, Any], code_names: Mapping[str, str]) -> list[list[str]]:
    """Return a table of an evaluation: name, value and meaning of each metric.

    Args:
        result: An evaluation, as `evaluation.evaluate` returns it.
        code_names: Current name of each code by its name in ``result``.
    """
    rows = []
    for name, meaning in MEANINGS.items():
        if name in result:
            rows.append([name.replace("_", " "), with_interval(result, name, result[name], ".4f"), meaning])
    scores = result.get("disentanglement", {})
    for name, meaning in SCORE_MEANINGS.items():
        if name in scores:
            rows.append([name.replace("_", " "), f"{scores[name]:.4f}", f"{meaning}; 1 is best"])
    for name, bound in result.get("information", {}).items():
        estimate = result.get("information_estimate", {}).get(name)  # missing in old evaluations
        model_free = "" if estimate is None else f"; model-free estimate {estimate:.3f} nats"
        rows.append(
            [
                f"information of {code_names.get(name, name)}",
                f"{with_interval(result, f'information/{name}', bound, '.3f')} nats",
                f"information of images about the code, whose entropy is {result['entropy'][name]:.3f}{model_free}",
            ]
        )
    for name in result.get("ignored", ()):
        rows.append([code_names.get(name, name), "ignored", "images contain almost no information about this code"])
    verdict = result.get("verdict", {})
    for name, meaning in EVIDENCE_MEANINGS.items():
        if verdict.get(name) is not None:
            rows.append([name.replace("_", " "), f"{verdict[name]:.4g}", f"{meaning} (no labels needed)"])
    return rows


def with_interval(result: Mapping[str, Any], name: str, value: float, form: str) -> str:
    """Return a number as text, followed by its interval if there is one, e.g. "0.9812 (0.9785 to 0.9838)".

    Args:
        result: An evaluation.
        name: Key of the interval.
        value: The number.
        form: Format of the number and of the ends, e.g. ``.4f``.
    """
    interval = result.get("intervals", {}).get(name)
    return format(value, form) + (f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else "")


def latest_metrics(evaluations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the latest value of each metric; a later evaluation may contain only some metrics."""
    result: dict[str, Any] = {}
    for evaluation in evaluations:
        result |= evaluation
    return result


def current_code_names(config: Config, codes: Collection[str]) -> dict[str, str]:
    """Return the current name of each code by its name during training, which the files of the run contain.

    Args:
        config: Configuration of the run.
        codes: Current names of the codes, in order.

    Raises:
        UserError: the model has another number of codes than its run.
    """
    if len(config.codes) != len(codes):
        raise UserError(f"the model has {len(codes)} codes but its run has {len(config.codes)}: they do not match")
    return {code.name: name for code, name in zip(config.codes, codes, strict=True)}
