"""The web explorer: a local server for one person, and the page it serves.

``server`` starts it, ``app`` holds its state, ``routes`` answers requests (parsed in ``requests``) behind ``auth``.
``render`` draws generated images, ``neighbours`` finds similar ones, ``image_index`` sorts real images, ``session``
applies and undoes changes (saved by ``persistence``), ``run_summary`` collects the evidence of a run, ``decode_worker``
decodes uploads in a separate process. ``static/`` is the page.
"""
