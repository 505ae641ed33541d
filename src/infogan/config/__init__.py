"""Configuration of a run: the options, reading and merging them, presets, and migration of older files."""
