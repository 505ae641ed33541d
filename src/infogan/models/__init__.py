"""Trained models: networks, latent codes, model folders, the Hugging Face Hub and exports.

`infogan.models.infogan.InfoGAN` is what users load. It builds on `networks` (from `architectures` and `encoder`), the
columns of codes in `latents`, their names in `naming`, and the files in `serialization`.
"""
