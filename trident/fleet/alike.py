"""Whether servers that are to answer the same callers are given the same: version numbers alone do not say so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from trident.contract import COMPONENTS, RECOGNIZER
from trident.fleet.member import Member, listed
from trident.rollout.digests import digest_of
from trident.rollout.release import Release
from trident.rollout.served_gallery import served_gallery_url

_DIGITS = 19
"""``sha256:`` and the twelve digits that are shown."""


def differences(members: Sequence[Member], releases: Mapping[str, Release]) -> dict[str, str]:
    """The components that are not one and the same on all servers.

    Versions are compared by the digests that their answers carry, so a recognizer that a rollout has made may bear
    another number on each of them. What has no digest that the files tell is left to others to complain about.

    Args:
        members: The servers.
        releases: What each one is to serve, by its name.

    Returns:
        A sentence for each such component, by its name.
    """
    found = {}
    for component in COMPONENTS:
        groups: dict[str, list[Member]] = {}
        for member in members:
            digest = digest_of(member.repository, component, releases[member.name][component])
            if digest:
                groups.setdefault(digest, []).append(member)
        if len(groups) > 1:
            found[component] = f"{component} is not the same on all servers: " + "; ".join(
                f"{listed(_versioned(one, component, releases) for one in same)} ({digest[:_DIGITS]})"
                for digest, same in groups.items()
            )
    return found


def _versioned(member: Member, component: str, releases: Mapping[str, Release]) -> str:
    return f"{member.name} {releases[member.name][component]}"


def galleries_differ(members: Collection[Member], releases: Mapping[str, Release]) -> str:
    """A sentence where servers are known to look at different galleries; empty where none are.

    Args:
        members: The servers.
        releases: What each one serves, by its name.
    """
    groups: dict[str, list[str]] = {}
    for member in members:
        url = served_gallery_url(member.repository.path, releases[member.name][RECOGNIZER])
        if url:  # it may hold a password: it is compared, and not shown
            groups.setdefault(url, []).append(member.name)
    if len(groups) < 2:
        return ""
    return (
        f"the servers look at {len(groups)} galleries ({'; '.join(listed(names) for names in groups.values())}): "
        "somebody who is enrolled in one is a stranger to the others"
    )
