"""``python -m robustaug``."""

from robustaug.cli import main

main()
