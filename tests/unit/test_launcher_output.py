"""What the launcher writes, as sentences and as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime

import click
import pytest
from click.testing import CliRunner

from trident.errors import SetupError
from trident.launcher.log import Level, parse_line
from trident.launcher.output import LogFormat, Output, ServingCommand, log_format_option

HEAD = "I1122 06:44:10.152871 3184 model.py:98] "


def lines(text: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert list(line)[:4] == ["ts", "level", "component", "message"]
        moment = datetime.fromisoformat(str(line["ts"]))
        assert moment.utcoffset() is not None
    return found


class TestEntries:
    def test_a_models_line_names_its_component_and_its_request(self, capsys):
        text = '"refused a picture [component=preprocess request_id=4f1c reason=damaged]"'
        Output(LogFormat.JSON).show(parse_line(HEAD + text), serving=True)
        (line,) = lines(capsys.readouterr().err)
        del line["ts"]
        assert line == {
            "level": "info",
            "component": "preprocess",
            "message": "refused a picture",
            "request_id": "4f1c",
            "reason": "damaged",
            "source": "model.py:98",
        }

    def test_other_lines_are_tritons(self, capsys):
        output = Output(LogFormat.JSON, verbose=True)
        output.show(parse_line('E1122 06:44:10.1 7 server.cc:241] "it \\"fails\\"\\nAt:\\n  there"'), serving=False)
        output.show(parse_line("+-----+", Level.WARNING), serving=True)
        first, second = lines(capsys.readouterr().err)
        assert (first["level"], first["component"], first["message"]) == ("error", "triton", 'it "fails"\nAt:\n  there')
        assert (second["level"], second["message"], "source" in second) == ("warning", "+-----+", False)

    def test_nothing_of_a_line_passes_for_the_launchers_own_words(self, capsys):
        Output(LogFormat.JSON).show(
            parse_line('W1122 06:44:10.1 7 a.cc:1] "x\\n{\\"level\\": \\"fatal\\"}"'), serving=True
        )
        (line,) = lines(capsys.readouterr().err)
        assert line["level"] == "warning"

    @pytest.mark.parametrize("log_format", LogFormat)
    def test_without_verbose_only_what_is_worth_it_is_shown(self, log_format, capsys):
        output = Output(log_format)
        output.show(parse_line(HEAD + '"usual"'), serving=True)
        output.show(parse_line('E1122 06:44:10.1 7 a.cc:1] "before it serves"'), serving=False)
        assert capsys.readouterr().err == ""

    def test_refusals_are_for_log_collectors_and_not_for_terminals(self, capsys):
        entry = parse_line(HEAD + '"refused a picture [component=preprocess reason=damaged]"')
        Output(LogFormat.TEXT).show(entry, serving=True)
        assert capsys.readouterr().err == ""
        Output(LogFormat.TEXT, verbose=True).show(entry, serving=True)
        assert capsys.readouterr().err == "I refused a picture [component=preprocess reason=damaged]\n"


class TestLauncher:
    def test_sentences_stay_as_they_are(self, capsys):
        Output(LogFormat.TEXT).say("it serves", err=False, grpc="127.0.0.1:8001")
        assert capsys.readouterr().out == "it serves\n"

    def test_facts_never_take_the_place_of_the_message(self, capsys):
        Output(LogFormat.JSON).say("it serves", err=False, grpc="127.0.0.1:8001", ts="never")
        (line,) = lines(capsys.readouterr().out)
        assert (line["component"], line["message"], line["grpc"]) == ("launcher", "it serves", "127.0.0.1:8001")
        assert line["ts"] != "never"

    def test_what_is_logged_comes_with_its_facts(self, capsys):
        logger = logging.getLogger("trident.supervisor.test")
        with Output(LogFormat.JSON).logged():
            logger.warning("%s died", "fusion", extra={"component": "fusion", "attempts": 2})
            logger.debug("not shown")
        with Output(LogFormat.TEXT).logged():
            logger.info("as it is", extra={"attempts": 2})
        first, second = capsys.readouterr().err.splitlines()
        (line,) = lines(first)
        assert (line["level"], line["component"], line["message"]) == ("warning", "fusion", "fusion died")
        assert line["attempts"] == 2
        assert second == "as it is"
        logger.warning("nobody writes this")
        assert "nobody" not in capsys.readouterr().out

    def test_a_trace_stays_in_its_line(self, capsys):
        with Output(LogFormat.JSON).logged():
            try:
                raise ValueError("why")
            except ValueError:
                logging.getLogger("trident").exception("it failed")
        (line,) = lines(capsys.readouterr().err)
        assert str(line["message"]).startswith("it failed\nTraceback")


@click.command(cls=ServingCommand)
@log_format_option
def failing(log_format: str) -> None:
    raise SetupError("a port is taken")


class TestErrors:
    def test_as_json(self):
        result = CliRunner().invoke(failing, ["--log-format", "json"])
        (line,) = lines(result.stderr)
        assert (result.exit_code, line["level"], line["message"]) == (1, "error", "a port is taken")

    def test_as_text_the_program_says_it(self):
        assert isinstance(CliRunner().invoke(failing, []).exception, SetupError)
