"""``python -m trident``: the command line, where the ``trident`` command is not on the path."""

from trident.cli import main

if __name__ == "__main__":
    main(prog_name="trident")
