"""A mapping that cannot be changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


class FrozenMapping(Mapping[K, V_co]):
    """A dict for reading only. Unlike ``types.MappingProxyType`` it can be hashed, copied and pickled.

    It equals any mapping with the same content. Hashing it needs values that can be hashed.

    >>> FrozenMapping({"car": 0.9})
    FrozenMapping({'car': 0.9})
    """

    __slots__ = ("_content",)

    def __init__(self, content: Mapping[K, V_co]) -> None:
        """Keep a copy of ``content``, in its order."""
        self._content = dict(content)

    def __getitem__(self, key: K) -> V_co:
        return self._content[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    # Equality is that of Mapping, which takes no account of the order; the hash must not either.
    def __hash__(self) -> int:
        return hash(frozenset(self._content.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._content!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._content,)
