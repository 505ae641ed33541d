"""Training: the loop, its steps, losses, optimizers, checkpoints, callbacks and the run folder."""
