"""What a version may take, and what must be there, for a preflight to let it through."""

from __future__ import annotations

from dataclasses import dataclass, field

from trident.rollout.trial import TrialLimits


@dataclass(frozen=True, slots=True)
class PreflightLimits:
    """The limits of a preflight."""

    slower: float = field(
        default=5.0,
        metadata={"help": "Processor time of a picture, as a multiple of the old network's, to be refused."},
    )
    slower_warning: float = field(default=2.0, metadata={"help": "The same, to be warned of."})
    least_ms: float = field(
        default=1.0, metadata={"help": "Milliseconds more that nobody minds, whatever the multiple."}
    )
    cpu_s: float = field(default=60.0, metadata={"help": "Seconds of processor time that trying a network may take."})
    wall_s: float = field(default=180.0, metadata={"help": "Seconds that it may take."})
    memory_mib: int = field(default=8192, metadata={"help": "MiB of address space that it may take."})
    free_mib: int = field(
        default=64, metadata={"help": "MiB free on the repository's disk, for configurations, journal and report."}
    )

    @property
    def trial(self) -> TrialLimits:
        """Those of trying a network."""
        return TrialLimits(cpu_s=self.cpu_s, wall_s=self.wall_s, memory_mib=self.memory_mib)
