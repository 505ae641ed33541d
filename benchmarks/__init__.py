"""What every published figure is made with: `python -m benchmarks.accuracy --help`."""
