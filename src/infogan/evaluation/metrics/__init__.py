"""Metrics as functions of arrays, without models and files; public as `infogan.metrics`."""
