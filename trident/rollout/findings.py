"""What the preflight found out, one finding a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a finding means for the rollout."""

    OK = "ok"
    WARNING = "warning"
    """It may go on; somebody should know."""
    REFUSED = "refused"
    """It may not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check of one component."""

    component: str
    check: str
    """A word for what was looked at, as ``signature``."""
    verdict: Verdict
    sentence: str
    """For the operator: argument, expected, got and what to do."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was measured or read; of kinds that ``json`` takes."""


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that a preflight found, in the order in which it looked."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing stands against the rollout."""
        return not self.refusals

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What stands against it."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.REFUSED)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be known."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.WARNING)

    def facts(self) -> dict[str, dict[str, Any]]:
        """All facts by component, for the journal: digest, sha256, bytes, milliseconds and the like."""
        known: dict[str, dict[str, Any]] = {}
        for finding in self.findings:
            if finding.facts:
                known.setdefault(finding.component, {}).update(finding.facts)
        return known
