"""What programs call and commands wrap: resolving options, training, encoding, samples, sweeps, the estimator."""
