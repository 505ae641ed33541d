"""Public name of `infogan.api.sweep`: train many runs, rank them without labels, and copy the best one."""

from infogan.api.sweep import RunRecord, SweepFolder, Variation, choose, run_all, variations

__all__ = ["RunRecord", "SweepFolder", "Variation", "choose", "run_all", "variations"]
