"""Work at low priority: what is lowered, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from trident import background
from trident.background import LOWEST, THREAD_LIMITS, WarmUp, at_low_priority, give_way, import_at_low_priority

SINGLE_THREADED = dict.fromkeys(THREAD_LIMITS, "1")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


pytestmark = pytest.mark.skipif(niceness() >= LOWEST, reason="all runs at the lowest priority here")


def refuse(*_: object) -> None:
    raise PermissionError("not in this sandbox")


@pytest.fixture
def single_threaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in THREAD_LIMITS:
        monkeypatch.setenv(variable, "1")


@pytest.fixture
def heavy_module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that remembers the niceness of the thread that imported it."""
    name = "a_heavy_module"
    (tmp_path / f"{name}.py").write_text(
        "import os, threading\nNICENESS = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


class TestAtLowPriority:
    def test_the_work_is_lowered_and_the_caller_is_not(self) -> None:
        before = niceness()

        assert at_low_priority(niceness) == LOWEST

        assert niceness() == before
        assert at_low_priority(threading.get_native_id) != threading.get_native_id()

    def test_a_thread_that_gives_way_lowers_no_other(self) -> None:
        before = niceness()
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(one() for one in (niceness, give_way, niceness)))
        thread.start()
        thread.join()
        assert seen == [before, None, LOWEST]
        assert niceness() == before

    def test_the_thread_is_gone_afterwards(self) -> None:
        thread = at_low_priority(threading.current_thread)
        assert not thread.is_alive()

    @pytest.mark.parametrize("failure", [ValueError("no such thing"), SystemExit(3)], ids=["an error", "an exit"])
    def test_what_the_work_raises_reaches_the_caller(self, failure: BaseException) -> None:
        def fail() -> None:
            raise failure

        with pytest.raises(type(failure)) as caught:
            at_low_priority(fail)
        assert caught.value is failure

    def test_nothing_is_a_result_too(self) -> None:
        assert at_low_priority(lambda: None) is None

    def test_where_priorities_cannot_be_set_the_work_is_done_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(background.os, "setpriority", refuse)
        assert at_low_priority(niceness) == niceness()


class TestGivingWayAsASession:
    """In a process of its own, as it cannot be undone."""

    @staticmethod
    def said(code: str, *, own_session: bool) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", f"from trident.background import give_way_as_session\n{code}"],
            capture_output=True,
            text=True,
            check=True,
            start_new_session=own_session,
        )
        return done.stdout.split()

    @pytest.mark.skipif(not background._AUTOGROUP.exists(), reason="this kernel does not group processes by session")
    @pytest.mark.parametrize("own_session", [True, False], ids=["of its own", "of others too"])
    def test_the_group_of_a_session_is_lowered_only_if_it_is_its_own(self, own_session: bool) -> None:
        before, after = self.said(
            "from trident.background import _AUTOGROUP as group\n"
            # A process that no session groups, as under some container managers, reads an empty file.
            "def priority(): return (group.read_text().split() or ['none'])[-1]\n"
            "print(priority()); give_way_as_session(); print(priority())",
            own_session=own_session,
        )
        assert after == (str(LOWEST) if own_session else before)

    def test_the_process_is_lowered_where_there_are_no_groups(self) -> None:
        code = (
            "import os, pathlib\nfrom trident import background\n"
            "background._AUTOGROUP = pathlib.Path('/proc/self/no-such-file/autogroup')\n"
            "give_way_as_session(); print(os.getpriority(os.PRIO_PROCESS, 0))"
        )
        assert self.said(code, own_session=True) == [str(LOWEST)]


class TestImport:
    @pytest.mark.usefixtures("single_threaded")
    def test_happens_at_low_priority(self, heavy_module: str) -> None:
        import_at_low_priority(heavy_module)
        assert sys.modules[heavy_module].NICENESS == LOWEST

    @pytest.mark.usefixtures("single_threaded")
    def test_that_fails_says_so_as_the_statement_does(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            import_at_low_priority("no_such_module_at_all")

    @pytest.mark.usefixtures("single_threaded")
    @pytest.mark.parametrize("variable", THREAD_LIMITS)
    @pytest.mark.parametrize("value", ["4", None], ids=["four threads", "as many as there are cores"])
    def test_is_left_to_the_statement_where_libraries_start_threads(
        self, heavy_module: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None
    ) -> None:
        if value is None:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, value)
        import_at_low_priority(heavy_module)
        assert heavy_module not in sys.modules

    @pytest.mark.parametrize(
        ("modules", "tolerated"),
        [
            # onnxruntime's own timer thread: it computes nothing, and no request waits for it.
            pytest.param(("trident.onnx_backend",), 1, id="networks"),
            pytest.param(("trident.preprocess",), 0, id="preprocess"),
            pytest.param(("asyncio", "trident.entities.gallery", "trident.entities.recognizer"), 0, id="recognizer"),
            pytest.param(("trident.fusion.batch",), 0, id="fusion"),
        ],
    )
    def test_of_what_the_models_need_leaves_no_thread_behind_that_would_stay_slow(
        self, modules: tuple[str, ...], tolerated: int
    ) -> None:
        code = (
            "import os, sys, time; from trident.background import import_at_low_priority\n"
            f"import_at_low_priority(*{modules!r})\n"
            f"assert set({modules!r}) <= set(sys.modules)\n"
            "time.sleep(0.3)\n"  # a thread that has been joined may take a moment more to end
            "print(*[os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir('/proc/self/task')])"
        )
        env = os.environ | SINGLE_THREADED
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
        assert done.stdout.split().count(str(LOWEST)) <= tolerated


class TestWarmUp:
    @pytest.mark.parametrize(
        ("config", "calls"),
        [
            pytest.param({}, 0, id="none"),
            pytest.param({"model_warmup": [{"name": "one", "batch_size": 1}]}, 1, id="one sample"),
            pytest.param(
                {"model_warmup": [{"batch_size": 1, "count": 0}, {"batch_size": 1, "count": 3}]}, 4, id="three times"
            ),
            pytest.param({"model_warmup": [{"batch_size": 8}]}, 1, id="a batch is one call"),
            pytest.param({"model_warmup": [{"batch_size": 0, "count": 3}]}, 0, id="a sample that Triton leaves out"),
            pytest.param(
                {"model_warmup": [{"batch_size": 1, "count": "2"}]}, 2, id="a number as JSON writes 64-bit ones"
            ),
        ],
    )
    def test_lowers_as_many_calls_as_are_configured(self, config: dict[str, Any], calls: int) -> None:
        warm_up = WarmUp(config)
        usual = niceness()
        assert [warm_up.run(niceness) for _ in range(calls + 2)] == [LOWEST] * calls + [usual] * 2

    def test_a_call_that_fails_counts(self) -> None:
        warm_up = WarmUp({"model_warmup": [{"batch_size": 1}]})

        def fail() -> None:
            raise ValueError("no answer")

        with pytest.raises(ValueError, match="no answer"):
            warm_up.run(fail)
        assert warm_up.run(niceness) == niceness()
