"""Tests of features from pretrained encoders and files."""
