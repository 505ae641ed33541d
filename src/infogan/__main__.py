"""``python -m infogan`` is the command line."""

from infogan.cli import main

main()
