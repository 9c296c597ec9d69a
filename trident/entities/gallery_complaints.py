"""What an operator should mind about the gallery of a server that has just been started."""

from __future__ import annotations

from pathlib import Path

from trident.contract import RECOGNIZER
from trident.errors import SetupError
from trident.model_config import CONFIG_NAME, read_config, string_parameters


def gallery_complaints(repository: Path) -> list[str]:
    """Take the gallery's file away from others, and say what is wrong with how it is kept.

    Args:
        repository: The model repository; the server has this process's environment.

    Returns:
        A sentence each; what keeps the gallery from being read is one of them, since a server goes on without it. None
        for a repository without an entity recognizer.
    """
    file = repository / RECOGNIZER / CONFIG_NAME
    if not file.is_file():
        return []
    from trident.entities.gallery import Gallery  # noqa: PLC0415 - the database's library takes its time to load

    try:
        with Gallery(string_parameters(read_config(file)).get("gallery_url", "")) as gallery:
            return gallery.check()
    except SetupError as exc:
        return [f"{exc}: nobody is recognized by name"]
