"""Readers that turn one kind of source each into an `ImageSet` or a `Stream`.

They read image files, arrays, Parquet tables, remote addresses, and objects that a program holds.
"""
