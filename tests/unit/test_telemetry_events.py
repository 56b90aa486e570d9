"""Events, text lines and stored records: the exact bytes."""

from __future__ import annotations

import json

import msgspec
import pytest

from engine.telemetry import events, records, report
from engine.telemetry.records import Ended, Format, Line, Started

TIME = 1_704_164_645_678
STREAM = "2024/01/02/[$LATEST]0123456789abcdef0123456789abcdef"
TRACE = "Root=1-65939e25-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"
TRACING = events.Tracing(type_="X-Amzn-Trace-Id", value=TRACE)

INIT_START = events.InitStart(
    initialization_type="on-demand", phase="init", function_name="f", function_version="$LATEST", instance_id=STREAM,
    instance_max_memory=134_217_728, runtime_version="python3.12.lambent", runtime_version_arn="arn:r",
)  # fmt: skip
REPORT = events.Report(
    request_id="rid", status="success", metrics=events.ReportMetrics(
        duration_ms=1.234, billed_duration_ms=102, memory_size_mb=128, max_memory_used_mb=35, init_duration_ms=100.12,
    ), tracing=TRACING,
)  # fmt: skip


def decoded(record, schema=None):
    return json.loads(events.encode(TIME, record, events.SCHEMAS[schema] if schema else None))


def test_an_event_has_time_type_and_record():
    raw = events.encode(TIME, events.Start(request_id="rid", version="$LATEST", tracing=TRACING))
    assert raw == (
        b'{"time":"2024-01-02T03:04:05.678Z","type":"platform.start","record":{"requestId":"rid","version":"$LATEST",'
        b'"tracing":{"type":"X-Amzn-Trace-Id","value":"' + TRACE.encode() + b'"}}}'
    )


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (
            INIT_START,
            {
                "initializationType": "on-demand", "phase": "init", "functionName": "f", "functionVersion": "$LATEST",
                "instanceId": STREAM, "instanceMaxMemory": 134_217_728, "runtimeVersion": "python3.12.lambent",
                "runtimeVersionArn": "arn:r",
            },
        ),
        (
            events.InitRuntimeDone(initialization_type="snap-start", phase="invoke", status="error", error_type="Runtime.ExitError"),
            {"initializationType": "snap-start", "phase": "invoke", "status": "error", "errorType": "Runtime.ExitError"},
        ),
        (
            events.InitReport(initialization_type="on-demand", phase="init", status="timeout", metrics=events.InitMetrics(duration_ms=10_010.03)),
            {"initializationType": "on-demand", "phase": "init", "status": "timeout", "metrics": {"durationMs": 10_010.03}},
        ),
        (
            events.RuntimeDone(
                request_id="rid", status="success", metrics=events.RuntimeDoneMetrics(duration_ms=140.0, produced_bytes=16),
                spans=(events.Span(name="responseLatency", start="2024-01-02T03:04:05.678Z", duration_ms=23.02),),
            ),
            {
                "requestId": "rid", "status": "success", "metrics": {"durationMs": 140.0, "producedBytes": 16},
                "spans": [{"name": "responseLatency", "start": "2024-01-02T03:04:05.678Z", "durationMs": 23.02}],
            },
        ),
        (
            REPORT,
            {
                "requestId": "rid", "status": "success",
                "metrics": {
                    "durationMs": 1.234, "billedDurationMs": 102, "memorySizeMB": 128, "maxMemoryUsedMB": 35,
                    "initDurationMs": 100.12,
                },
                "tracing": {"type": "X-Amzn-Trace-Id", "value": TRACE},
            },
        ),
        (
            events.Extension(name="e", state="Ready", events=("INVOKE", "SHUTDOWN")),
            {"name": "e", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]},
        ),
        (
            events.TelemetrySubscription(name="e", state="Subscribed", types=("platform", "function")),
            {"name": "e", "state": "Subscribed", "types": ["platform", "function"]},
        ),
        (
            events.LogsDropped(reason="r", dropped_records=3, dropped_bytes=77),
            {"reason": "r", "droppedRecords": 3, "droppedBytes": 77},
        ),
        (events.Fault(text="RequestId: x Process exited"), "RequestId: x Process exited"),
    ],
    ids=lambda value: value.type if isinstance(value, events.Record) else "",
)  # fmt: skip
def test_records_have_the_members_of_the_schema(record, wanted):
    assert decoded(record)["record"] == wanted


def test_the_first_schema_knows_less_of_an_init():
    assert set(decoded(INIT_START, "2022-07-01")["record"]) == {
        "initializationType", "phase", "runtimeVersion", "runtimeVersionArn",
    }  # fmt: skip
    assert decoded(INIT_START, "2022-12-13") == decoded(INIT_START, "2025-01-29") == decoded(INIT_START)


def test_the_logs_api_knows_ends_and_less_of_the_rest():
    telemetry, first, second = (events.SCHEMAS[v].types for v in ("2022-12-13", "2020-08-15", "2021-03-18"))
    assert "platform.end" in first
    assert not {"platform.end", "platform.fault", "platform.logsSubscription"} & telemetry
    assert second - first == {"platform.runtimeDone"}
    assert set(decoded(REPORT, "2020-08-15")["record"]) == {"requestId", "metrics"}


def test_a_line_is_text_or_the_object_that_it_is():
    assert json.loads(events.encode_line(TIME, "function", 'a "b"\n'))["record"] == 'a "b"\n'
    raw = events.encode_line(TIME, "extension", '{"level":\n "INFO",\n"a": [1,\n 2]}\n', as_object=True)
    assert b"\n" not in raw, "TCP subscribers get one event per line"
    assert json.loads(raw) == {
        "time": "2024-01-02T03:04:05.678Z", "type": "extension", "record": {"level": "INFO", "a": [1, 2]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (INIT_START, "INIT_START Runtime Version: python3.12.lambent\tRuntime Version ARN: arn:r"),
        (events.Start(request_id="rid", version="$LATEST"), "START RequestId: rid Version: $LATEST"),
        (events.End(request_id="rid"), "END RequestId: rid"),
        (
            msgspec.structs.replace(REPORT, tracing=None),
            "REPORT RequestId: rid\tDuration: 1.23 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\tInit Duration: 100.12 ms\t",
        ),
        (
            REPORT,
            (
                "REPORT RequestId: rid\tDuration: 1.23 ms\tBilled Duration: 102 ms\tMemory Size: 128 MB\tMax Memory Used: 35 MB\tInit Duration: 100.12 ms\t\n"
                "XRAY TraceId: 1-65939e25-0123456789abcdef01234567\tSegmentId: 0123456789abcdef\tSampled: true\t"
            ),
        ),
        (
            events.Report(
                request_id="rid", status="error", error_type="Runtime.ExitError",
                metrics=events.ReportMetrics(
                    duration_ms=2, billed_duration_ms=3, memory_size_mb=128, max_memory_used_mb=1,
                    restore_duration_ms=3.14159, billed_restore_duration_ms=4,
                ),
            ),
            (
                "REPORT RequestId: rid\tDuration: 2.00 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 1 MB\t"
                "Restore Duration: 3.14 ms\tBilled Restore Duration: 4 ms\tStatus: error\tError Type: Runtime.ExitError"
            ),
        ),
        (
            events.InitReport(initialization_type="on-demand", phase="init", status="timeout", error_type="Runtime.Unknown", metrics=events.InitMetrics(duration_ms=10010.03)),
            "INIT_REPORT Init Duration: 10010.03 ms\tPhase: init\tStatus: timeout",
        ),
        (
            events.InitReport(initialization_type="on-demand", phase="invoke", status="error", error_type="Runtime.Unknown", metrics=events.InitMetrics(duration_ms=1)),
            "INIT_REPORT Init Duration: 1.00 ms\tPhase: invoke\tStatus: error\tError Type: Runtime.Unknown",
        ),
        (
            events.InitReport(initialization_type="on-demand", phase="init", status="success", metrics=events.InitMetrics(duration_ms=1)),
            None,
        ),
        (
            events.InitReport(initialization_type="provisioned-concurrency", phase="init", status="success", metrics=events.InitMetrics(duration_ms=1)),
            "INIT_REPORT Init Duration: 1.00 ms\tPhase: init\tStatus: success",
        ),
        (events.InitRuntimeDone(initialization_type="on-demand", phase="init", status="success"), None),
        (
            events.RestoreStart(function_name="f", function_version="1", instance_id=STREAM, instance_max_memory=1, runtime_version="v", runtime_version_arn="a"),
            "RESTORE_START Runtime Version: v\tRuntime Version ARN: a",
        ),
        (events.RestoreReport(status="success", metrics=events.InitMetrics(duration_ms=123.449)), "RESTORE_REPORT Restore Duration: 123.45 ms"),
        (
            events.RestoreReport(status="error", error_type="Runtime.Unknown", metrics=events.InitMetrics(duration_ms=1)),
            "RESTORE_REPORT Restore Duration: 1.00 ms\tStatus: error\tError Type: Runtime.Unknown",
        ),
        (events.Extension(name="n", state="Ready", events=("INVOKE", "SHUTDOWN")), "EXTENSION\tName: n\tState: Ready\tEvents: [INVOKE, SHUTDOWN]"),
        (events.Extension(name="n", state="LaunchError", events=(), error_type="PermissionDenied"), "EXTENSION\tName: n\tState: LaunchError\tEvents: []\tError Type: PermissionDenied"),
        (events.TelemetrySubscription(name="n", state="Subscribed", types=("platform", "function")), "TELEMETRY\tName: n\tState: Subscribed\tTypes: [platform, function]"),
        (events.LogsSubscription(name="n", state="Subscribed", types=("platform",)), "LOGS\tName: n\tState: Subscribed\tTypes: [platform]"),
    ],
)  # fmt: skip
def test_text_lines_word_for_word(record, line):
    assert report.text(record) == line


LEVELS = {"DEBUG": events.DEBUG, "INFO": events.INFO, "WARN": events.WARN}


@pytest.mark.parametrize(
    ("record", "level"),
    [
        (INIT_START, "INFO"),
        (msgspec.structs.replace(INIT_START, runtime_version=None), "DEBUG"),
        (events.InitRuntimeDone(initialization_type="on-demand", phase="init", status="success"), "DEBUG"),
        (events.InitRuntimeDone(initialization_type="on-demand", phase="init", status="error"), "WARN"),
        (events.InitReport(initialization_type="on-demand", phase="init", status="success", metrics=events.InitMetrics(duration_ms=1)), "DEBUG"),
        (events.InitReport(initialization_type="snap-start", phase="init", status="success", metrics=events.InitMetrics(duration_ms=1)), "INFO"),
        (events.InitReport(initialization_type="on-demand", phase="init", status="timeout", metrics=events.InitMetrics(duration_ms=1)), "WARN"),
        (events.RestoreRuntimeDone(status="success"), "DEBUG"),
        (events.RestoreRuntimeDone(status="failure"), "WARN"),
        (events.RestoreReport(status="success", metrics=events.InitMetrics(duration_ms=1)), "INFO"),
        (events.Start(request_id="r"), "INFO"),
        (events.RuntimeDone(request_id="r", status="success"), "DEBUG"),
        (events.RuntimeDone(request_id="r", status="timeout"), "WARN"),
        (REPORT, "INFO"),
        (msgspec.structs.replace(REPORT, status="error"), "WARN"),
        (events.Extension(name="n", state="Ready", events=()), "INFO"),
        (events.Extension(name="n", state="LaunchError", events=(), error_type="e"), "WARN"),
        (events.TelemetrySubscription(name="n", state="s", types=()), "INFO"),
        (events.LogsDropped(reason="r", dropped_records=1, dropped_bytes=1), "WARN"),
    ],
)  # fmt: skip
def test_levels_are_those_of_the_documentation(record, level):
    assert record.level == LEVELS[level]


ENDED = Ended(
    0, TIME, "rid", 100.0, 101, 128, 35, "success", "", 50.0, 40.0, 16, TRACE, "", runtime_ms=60.0
)  # fmt: skip


def test_the_spans_of_an_invocation_add_up():
    done, told = records.runtime_done_event(ENDED), records.report_event(ENDED)
    assert [(span.name, span.start, span.duration_ms) for span in (*done.spans, *told.spans)] == [
        ("responseLatency", "2024-01-02T03:04:05.578Z", 40.0),
        ("responseDuration", "2024-01-02T03:04:05.618Z", 0.0),
        ("runtimeOverhead", "2024-01-02T03:04:05.618Z", 20.0),
        ("extensionOverhead", "2024-01-02T03:04:05.638Z", 40.0),
    ]
    assert done.metrics == events.RuntimeDoneMetrics(duration_ms=60.0, produced_bytes=16)
    assert told.metrics.init_duration_ms == 50.0


def test_what_is_kept_comes_back_as_it_was():
    kept = [Line(0, TIME, "é\n", "rid", events.WARN), Started(1, TIME, "rid", "$LATEST", TRACE), ENDED]
    assert records.decode(msgspec.msgpack.encode(kept)) == kept


def test_a_record_of_an_older_engine_has_the_defaults_of_what_was_added():
    assert records.decode(msgspec.msgpack.encode([[0, 3, TIME, "text"]])) == [Line(3, TIME, "text")]


@pytest.mark.parametrize(
    ("system", "start", "end"),
    [
        (events.DEBUG, ["platform.start"], ["platform.runtimeDone", "platform.report"]),
        (events.INFO, ["platform.start"], ["platform.report"]),
        (events.WARN, [], []),
    ],
)
def test_json_logs_have_the_events_from_their_level_on(system, start, end):
    shape = Format(json=True, system=system)
    shown = [
        [json.loads(message)["type"] for message in records.messages(record, shape)]
        for record in (Started(0, TIME, "rid", "1"), ENDED)
    ]
    assert shown == [start, end]


def test_text_logs_have_end_and_report():
    assert [line.split()[0] for line in records.messages(ENDED, records.TEXT)] == ["END", "REPORT"]
