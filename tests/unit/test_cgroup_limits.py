"""A share of the CPU as quota and period; what is written where; counters read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SandboxError
from engine.sandbox.cgroups import files, v1
from engine.sandbox.cgroups.limits import MAX_PERIOD_US, MIN_QUOTA_US, bandwidth


@pytest.mark.parametrize(
    ("memory_mb", "expected"),
    [(128, (1447, 20_000)), (512, (5789, 20_000)), (1769, (20_000, 20_000)), (10_240, (115_772, 20_000))],
)
def test_lambdas_shares_come_in_periods_of_20_ms(memory_mb, expected):
    assert bandwidth(memory_mb / 1769) == expected


def test_a_share_too_small_for_the_smallest_quota_gets_a_longer_period():
    assert bandwidth(0.01) == (1000, 100_000)


@given(st.floats(0.001, 512))
def test_the_share_is_kept_within_half_a_thousandth_of_the_smallest_quota(cores):
    quota, period = bandwidth(cores)
    assert quota >= MIN_QUOTA_US
    assert 1000 <= period <= MAX_PERIOD_US
    assert quota / period == pytest.approx(cores, rel=0.0011)


@pytest.mark.parametrize("cores", [0, -1.0])
def test_no_share_is_an_error(cores):
    with pytest.raises(ValueError, match="no share"):
        bandwidth(cores)


def test_what_the_kernel_refuses_is_said_with_file_value_and_cause(tmp_path):
    with pytest.raises(SandboxError) as caught:
        files.put(str(tmp_path / "gone"), "memory.max", 5)
    assert str(caught.value) == (
        f"cannot set memory.max to 5 ({tmp_path}/gone/memory.max): No such file or directory; "
        "the cgroup has been removed, or the kernel has no such file"
    )


def test_counters_are_read_by_name():
    text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    assert files.counter(text, "oom_kill") == 3
    assert files.counter(text.encode(), "under_oom") == 0
    assert files.counter(text, "missing") == 0


class Recorder:
    """Stands for the files of a v1 memory cgroup: refuses what the kernel would."""

    def __init__(self, monkeypatch, tmp_path):
        self.limit = self.with_swap = 1 << 62
        for name in (
            "memory.memsw.limit_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.oom_control",
            "cgroup.event_control",
        ):
            (tmp_path / name).write_text("0")
        monkeypatch.setattr(files, "put", self.put)
        self.memory = v1.Memory(str(tmp_path))

    def put(self, directory, file, value):
        value = 1 << 62 if value == -1 else value
        if file == "memory.limit_in_bytes":
            assert value <= self.with_swap, "EINVAL"
            self.limit = value
        else:
            assert value >= self.limit, "EINVAL"
            self.with_swap = value


@given(limits=st.lists(st.none() | st.integers(1, 100), max_size=8))
def test_the_two_v1_limits_are_set_in_the_order_that_the_kernel_takes(limits, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(patch, tmp_path_factory.mktemp("memory"))
        try:
            for limit in limits:
                recorder.memory.limit(limit)
                assert recorder.limit == recorder.with_swap == (1 << 62 if limit is None else limit)
        finally:
            recorder.memory.close()
