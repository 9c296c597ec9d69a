"""Changing a ``config.pbtxt`` without losing what somebody wrote in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trident.contract import MODELS
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import CONFIG_NAME, ensemble_pins, parse_config, served_versions
from trident.pbtxt import with_pins, with_served_versions

numbers = st.integers(1, 2**31 - 1)
version_sets = st.sets(numbers, min_size=1, max_size=4)
# Names that could mislead somebody who looks for words instead of reading: marks, quotes, comment signs, field names.
names = st.sampled_from(["classifier", "model_version: 7", "}{", "#1", "ein'er", 'say "x"', "a\\b", "versions: [ 9 ]"])
gaps = st.sampled_from([" ", "\n", "\t", "\r\n", "  # a note: versions [ 3 ] }\n", "\n# \"unclosed ' {\n  "])


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def written(draw: st.DrawFn, tokens: Sequence[str]) -> str:
    """The tokens with space and comments between them."""
    # A few, over and over: one draw for each token would take most of the test's time.
    between = draw(st.lists(gaps, min_size=1, max_size=7))
    return "".join(token + between[i % len(between)] for i, token in enumerate(tokens))


@st.composite
def messages(draw: st.DrawFn, fields: Sequence[str], *, colon: bool = False) -> list[str]:
    opening, closing = draw(st.sampled_from(["{}", "<>"]))
    return [*([":"] if colon else draw(st.sampled_from([[], [":"]]))), opening, *fields, closing]


@st.composite
def policies(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A component's configuration and the versions that it serves."""
    versions = sorted(draw(version_sets))
    separator = draw(st.sampled_from([[], [","], [";"]]))
    if draw(st.booleans()):
        listed = ["versions", ":", "[", *", ".join(map(str, versions)).replace(",", " ,").split(), "]", *separator]
    else:
        listed = [token for number in versions for token in ("versions", ":", str(number), *separator)]
    policy = ["version_policy", *draw(messages(["specific", *draw(messages(listed))]))]
    around = [["name", ":", quoted(draw(names))], ["max_batch_size", ":", "8"], policy]
    ordered = draw(st.permutations(around))
    return draw(written([token for field in ordered for token in field])), versions


@st.composite
def ensembles(draw: st.DrawFn) -> str:
    """An ensemble's configuration with some steps, pinned and not."""
    steps = []
    for model in draw(st.lists(names, min_size=1, max_size=4)):
        own = ["model_name", ":", quoted(model)]
        pin = draw(st.sampled_from([[], ["model_version", ":", str(draw(numbers))], ["model_version", ":", "-1"]]))
        maps = ["input_map", *draw(messages(["key", ":", '"A"', "value", ":", quoted(model)]))]
        parts = draw(st.permutations([own, pin, maps]))
        steps.append([token for part in parts for token in part])
    if draw(st.booleans()):
        bodies = [draw(messages(step))[-len(step) - 2 :] for step in steps]
        inside = ["step", ":", "["]
        for body in bodies:
            inside += [*body, ","]
        inside[-1] = "]"
    else:
        inside = [token for step in steps for token in ("step", *draw(messages(step)))]
    fields = ["platform", ":", '"ensemble"', "ensemble_scheduling", *draw(messages(inside))]
    return draw(written(fields))


def comments(text: str) -> list[str]:
    """Every comment; strings that hold a # are taken out first."""
    return re.findall(r"#[^\n]*", re.sub(r'"(?:[^"\\\n]|\\.)*"(?=[^\n]*)', _keep_comment, text))


def _keep_comment(match: re.Match[str]) -> str:
    line = match.string[: match.start()].rpartition("\n")[2]
    return match.group() if "#" in re.sub(r'"(?:[^"\\\n]|\\.)*"', "", line) else '""'


class TestServedVersions:
    @given(policies(), version_sets)
    @settings(max_examples=100, deadline=None)
    def test_only_the_versions_change(self, before: tuple[str, list[int]], versions: set[int]) -> None:
        text, old = before
        assert list(served_versions(parse_config(text))) == old
        after = with_served_versions(text, tuple(versions))
        expected = parse_config(text)
        expected.version_policy.specific.versions[:] = sorted(versions)
        assert parse_config(after) == expected
        assert comments(after) == comments(text)
        # There and back again means the same, and nothing piles up.
        assert parse_config(with_served_versions(after, old)) == parse_config(text)

    @pytest.mark.parametrize("model", [name for name in MODELS if name != "trident"])
    def test_the_projects_own_change_in_one_line(self, model: str) -> None:
        text = (DEFAULT_REPOSITORY / model / CONFIG_NAME).read_text()
        old = served_versions(parse_config(text))
        after = with_served_versions(text, (41, 42))
        changed = [(a, b) for a, b in zip(text.splitlines(), after.splitlines(), strict=True) if a != b]
        assert [b for _, b in changed] == ["version_policy { specific { versions: [ 41, 42 ] } }"]
        assert with_served_versions(after, old) == text

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            pytest.param(
                "version_policy { specific { versions: [1,2]}}",
                "version_policy { specific { versions: [3, 4]}}",
                id="tight",
            ),
            pytest.param(
                "version_policy: { specific: { versions: 1 versions: 2 } }",
                "version_policy: { specific: { versions: [ 3, 4 ]  } }",
                id="one by one",
            ),
            pytest.param(
                "version_policy { specific { versions: [ 1, # old\n  2 # new\n ] } }",
                "version_policy { specific { versions: [ 3, 4 # old\n   # new\n ] } }",
                id="comments between the numbers",
            ),
            pytest.param(
                "version_policy { specific { } }", "version_policy { specific { versions: [ 3, 4 ] } }", id="none"
            ),
            pytest.param(
                "version_policy { specific { versions: [] } }",
                "version_policy { specific { versions: [ 3, 4 ] } }",
                id="an empty list",
            ),
            pytest.param(
                "version_policy { latest { num_versions: 1 } } max_batch_size: 8",
                "version_policy { specific { versions: [ 3, 4 ] } } max_batch_size: 8",
                id="another policy",
            ),
            pytest.param(
                'name: "x" # it\n',
                'name: "x" # it\n\nversion_policy { specific { versions: [ 3, 4 ] } }\n',
                id="no policy",
            ),
        ],
    )
    def test_forms(self, before: str, after: str) -> None:
        assert with_served_versions(before, (4, 3)) == after

    def test_what_is_so_already_is_left_alone(self) -> None:
        text = "version_policy { specific { versions: [ 2,1 ] } }"
        assert with_served_versions(text, (1, 2)) is text

    @pytest.mark.parametrize("versions", [(), (0,), (-1, 2), (2, 2)])
    def test_wrong_versions_are_refused(self, versions: tuple[int, ...]) -> None:
        with pytest.raises(SetupError, match=r"^here: versions: expected different numbers of 1 or more, got \["):
            with_served_versions("", versions, "here")

    def test_a_comment_is_not_thrown_away(self) -> None:
        text = "version_policy { latest { num_versions: 1 # mine\n } }"
        with pytest.raises(SetupError, match=r"^here: cannot be changed without losing something else in it"):
            with_served_versions(text, (1,), "here")


class TestPins:
    @given(ensembles(), names, names, numbers, numbers)
    @settings(max_examples=100, deadline=None)
    def test_only_the_pins_change(self, text: str, one: str, other: str, first: int, second: int) -> None:
        expected = parse_config(text)
        models = {step.model_name for step in expected.ensemble_scheduling.step}
        pins = {model: version for model, version in ((one, first), (other, second)) if model in models}
        after = with_pins(text, pins)
        for step in expected.ensemble_scheduling.step:
            if step.model_name in pins:
                step.model_version = pins[step.model_name]
        assert parse_config(after) == expected
        assert comments(after) == comments(text)
        assert with_pins(after, pins) == after

    def test_the_projects_own_change_in_one_line_each(self) -> None:
        text = (DEFAULT_REPOSITORY / "trident" / CONFIG_NAME).read_text()
        old = ensemble_pins(parse_config(text))
        after = with_pins(text, {"detector": 12, "fusion": 3})
        changed = [(a, b) for a, b in zip(text.splitlines(), after.splitlines(), strict=True) if a != b]
        assert [b for _, b in changed] == ["      model_version: 12", "      model_version: 3"]
        assert ensemble_pins(parse_config(after)) == old | {"detector": 12, "fusion": 3}
        assert with_pins(after, old) == text

    def test_an_unknown_step_is_refused(self) -> None:
        text = 'ensemble_scheduling { step { model_name: "b" } step { model_name: "a" } }'
        with pytest.raises(SetupError, match=r"^here: step: expected one of a, b, got 'c'$"):
            with_pins(text, {"c": 1}, "here")
        with pytest.raises(SetupError, match=r"^here: model_version of a: expected 1 or more, got 0$"):
            with_pins(text, {"a": 0}, "here")

    def test_what_is_no_configuration_is_refused(self) -> None:
        with pytest.raises(SetupError, match=r"^here is not a valid model configuration: .*nme"):
            with_pins("nme: 3", {}, "here")


@given(st.text(alphabet='abn: {}[]<>"#\\\n1,;-', max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_changed_rightly_or_refused(text: str) -> None:
    try:
        after = with_served_versions(text, (5,))
    except SetupError:
        return
    expected = parse_config(text)
    expected.version_policy.specific.versions[:] = [5]
    assert parse_config(after) == expected
