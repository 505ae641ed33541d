"""Configuration of a run: the options, reading and merging them, recipes, and migration of older files."""
