"""Evaluation: metrics of a model, the verdict on a run, and selection among models without labels."""
