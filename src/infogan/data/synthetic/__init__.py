"""Image sets that are drawn from known factors: `dsprites`, `shapes` and `glyphs`."""
