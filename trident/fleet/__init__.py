"""Several servers that answer the same callers, and are moved from one release to another together.

``file`` reads which ones there are; ``member`` is one of them at work. ``past`` is what their journals know of an
earlier rollout of all, ``plans`` what is to change on each, ``alike`` whether that is the same everywhere, ``before``
what is looked at on all of them first, and ``rollout`` moves them. ``status`` and ``versions`` tell who serves what.
"""
