"""What a run is worth, as numbers: arrays in, numbers out, no models and no files."""
