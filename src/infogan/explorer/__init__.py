"""The web explorer: a server for one person's browser, and the page it serves.

`views` turns what the page asks to see into images, `neighbours` finds generated ones, `collection` files real images
and keeps corrections, `desk` holds what a person changes, `saved` the files it goes into, which others write too,
`decoding` is the process that reads uploaded pictures and `uploads` its other end, `guard` decides who may ask at all,
`server` joins them over HTTP. ``static/`` is the page, written by hand and served as it is.
"""
