"""Helpers that know nothing of models: errors, files, distributed training, random numbers, memory, matching."""
