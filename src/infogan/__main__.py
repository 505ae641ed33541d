"""``python -m infogan`` is the command line."""

from infogan.cli.app import main

main()
