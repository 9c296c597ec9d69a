"""What the digest of a Python component is made of: the one place that its ``model.py`` and offline tools use."""

from __future__ import annotations

from pathlib import Path

import trident
from trident.errors import SetupError
from trident.layout import CODE_FILE
from trident.provenance import digest_of_files

# In a version's folder, and in the package; the order is part of the digest.
_OWN_FILES: dict[str, tuple[str, ...]] = {
    "preprocess": (CODE_FILE,),
    "entity_recognizer": (CODE_FILE, "networks.json"),
    "fusion": (CODE_FILE, "policy.json"),
}
_PACKAGE_FILES: dict[str, tuple[str, ...]] = {
    "preprocess": ("preprocess", "contract.py", "geometry.py"),
    "entity_recognizer": ("entities", "contract.py", "geometry.py"),
    "fusion": (
        "fusion",
        "fusion/data/imagenet_classes.json",
        "fusion/data/imagenet_to_coco.json",
        "contract.py",
        "geometry.py",
        "provenance.py",
    ),
}


def digest_of_component(component: str, version_folder: Path) -> str:
    """SHA-256 of all that decides what a version of a Python component answers.

    Args:
        component: ``preprocess``, ``entity_recognizer`` or ``fusion``.
        version_folder: The folder that holds the version's ``model.py``.

    Returns:
        ``sha256:`` and 64 hexadecimal digits, over the version's own files and the package's as they are now.

    Raises:
        SetupError: The component is not one of these, or a file of it cannot be read.
    """
    if component not in _OWN_FILES:
        raise SetupError(f"component: expected one of {', '.join(_OWN_FILES)}, got {component!r}")
    package = Path(trident.__file__).parent
    own = (version_folder / name for name in _OWN_FILES[component])
    shared = (package / name for name in _PACKAGE_FILES[component])
    try:
        return digest_of_files(*own, *shared)
    except OSError as exc:
        raise SetupError(f"{component}: cannot read {exc.filename}: {exc.strerror or exc}") from exc
