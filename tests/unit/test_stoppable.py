"""Which signals end a command that changes servers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from trident.commands.at_work import Stop, stoppable

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of before, whatever a test makes of them."""
    assert threading.current_thread() is threading.main_thread(), "signals are Python's main thread's"
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_command_ends_as_by_ctrl_c(number: signal.Signals) -> None:
    with pytest.raises(Stop), stoppable():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", SIGNALS)
def test_what_it_was_started_to_ignore_does_not_end_it(number: signal.Signals) -> None:
    """``nohup`` starts a command so that it outlives its terminal."""
    signal.signal(number, signal.SIG_IGN)
    other = next(one for one in SIGNALS if one != number)
    with stoppable():
        signal.raise_signal(number)
        with pytest.raises(Stop):
            signal.raise_signal(other)
    assert signal.getsignal(number) is signal.SIG_IGN
