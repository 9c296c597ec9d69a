"""Subcommands of ``trident``, one module each; see ``trident.cli``."""
