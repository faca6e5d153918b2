"""The command line says what is wrong before anything starts."""

import gc
import json
import logging
from collections.abc import Iterator

import pytest

from whimbrel.runtime import logs, main


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "whimbrel", *logs.QUIET)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_a_kubeconfig_that_is_not_there_ends_the_start_with_a_hint(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    code = main.main(["--kubeconfig", f"{tmp_path}/none", "--health-port", "0"])

    assert code == 2
    assert "Pass --kubeconfig and --context, or run in a pod." in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--health-port", "99999"],
        ["--metrics-interval", "0"],
        ["--log-format", "xml"],
        ["--prometheus-url", "prometheus:9090"],
        ["--prometheus-url", "https://somebody:secret@prometheus"],
        ["--prometheus-url", "https://prometheus/?query=up"],
    ],
)
def test_an_impossible_option_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.parser().parse_args(arguments)

    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("url", [[], ["--prometheus-url", "http://prometheus"]])
@pytest.mark.parametrize("option", ["--prometheus-token-file", "--prometheus-ca-file"])
def test_a_token_is_never_sent_in_the_clear(url: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([*url, option, "file"])

    assert ended.value.code == 2
    assert f"{option} needs a --prometheus-url with https" in capsys.readouterr().err


def test_the_identity_is_the_pods_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "whimbrel-0")

    assert main.identity() == "whimbrel-0"


def test_outside_a_pod_two_processes_never_have_the_same_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAME", raising=False)

    assert main.identity() != main.identity()


def test_a_json_log_line_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("whimbrel.x", logging.INFO, __file__, 1, "moved %s", ("db1",), None)

    line = json.loads(logs.JsonFormatter().format(record))

    assert (line["level"], line["logger"], line["message"]) == ("info", "whimbrel.x", "moved db1")
