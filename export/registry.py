"""Every network version that the export knows: the ``VERSIONS`` of one module for each component."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from export.sources import Asset, NetworkVersion
from trident.contract import NETWORKS
from trident.errors import SetupError


def versions_of(component: str) -> tuple[NetworkVersion, ...]:
    """The versions of a component, lowest first.

    Raises:
        SetupError: there is no such component.
    """
    if component not in NETWORKS:
        raise SetupError(f"component: expected one of {', '.join(NETWORKS)}, got {component!r}")
    versions: Iterable[NetworkVersion] = import_module(f"export.{component}").VERSIONS
    return tuple(sorted(versions, key=lambda network: network.version))


def known_assets() -> tuple[Asset, ...]:
    """Every file that any network version needs."""
    networks = [network for component in NETWORKS for network in versions_of(component)]
    return tuple(asset for network in networks for asset in (*network.assets, *network.reference_assets))


def select(targets: Iterable[str] = (), *, every: bool = False) -> tuple[NetworkVersion, ...]:
    """The network versions that ``COMPONENT`` or ``COMPONENT=VERSION`` targets name, in the contract's order.

    Without targets, all components. A component without a version stands for its first, or, with ``every``, for all.

    Raises:
        SetupError: a component or version does not exist, or a target cannot be read.
    """
    wanted: dict[tuple[str, int], NetworkVersion] = {}
    for target in tuple(targets) or NETWORKS:
        component, separator, text = target.partition("=")
        known = versions_of(component)
        if separator:
            chosen = tuple(network for network in known if str(network.version) == text)
            if not chosen:
                numbers = ", ".join(str(network.version) for network in known)
                raise SetupError(f"version of {component}: expected one of {numbers}, got {text!r}")
        else:
            chosen = known if every else known[:1]
        wanted |= {(network.component, network.version): network for network in chosen}
    return tuple(wanted[key] for key in sorted(wanted, key=lambda key: (NETWORKS.index(key[0]), key[1])))
