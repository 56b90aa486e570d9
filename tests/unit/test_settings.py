"""Settings: which source wins, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.settings import NAMES, Settings, default, flag, load, variable


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_without_anything_the_defaults_hold():
    assert load({}, {}) == Settings()


def test_every_field_has_a_name_that_a_person_writes():
    assert sorted(NAMES.values()) == sorted(Settings.__struct_fields__)


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path):
    (tmp_path / "lambent.toml").write_text("port = 1\nregion = 'eu-west-1'\nkeep-alive = 5\n")
    found = load({"port": 3}, {"LAMBENT_PORT": "2", "LAMBENT_KEEP_ALIVE": "7.5"})
    assert (found.port, found.keep_alive_s, found.region) == (3, 7.5, "eu-west-1")


def test_a_flag_that_is_not_given_does_not_hide_the_environment():
    assert load({"port": None}, {"LAMBENT_PORT": "2"}).port == 2


def test_an_empty_variable_counts_as_unset():
    assert load({}, {"LAMBENT_PORT": ""}).port == default("port")


def test_keys_of_the_file_may_have_dashes_or_underscores(tmp_path: Path):
    (tmp_path / "lambent.toml").write_text("memory-budget = 512\nkeep_alive = 1\n")
    found = load({}, {})
    assert (found.memory_mb, found.keep_alive_s) == (512, 1.0)


def test_the_config_flag_and_variable_name_another_file(tmp_path: Path):
    (tmp_path / "a.toml").write_text("port = 11")
    (tmp_path / "b.toml").write_text("port = 12")
    assert load({}, {"LAMBENT_CONFIG": str(tmp_path / "a.toml")}).port == 11
    assert load({}, {"LAMBENT_CONFIG": str(tmp_path / "a.toml")}, tmp_path / "b.toml").port == 12


def test_flags_and_variables_are_spelled_from_the_name():
    assert (flag("keep_alive"), variable("keep_alive")) == ("--keep-alive", "LAMBENT_KEEP_ALIVE")


@pytest.mark.parametrize(
    ("flags", "environ", "file", "words"),
    [
        ({"port": 70000}, {}, "", ["--port", "70000", "0 to 65535"]),
        ({}, {"LAMBENT_PORT": "many"}, "", ["LAMBENT_PORT", "'many'", "0 to 65535"]),
        ({}, {"LAMBENT_PROT": "1"}, "", ["LAMBENT_PROT", "Did you mean LAMBENT_PORT?"]),
        ({}, {"LAMBENT_ACCOUNT_ID": "12"}, "", ["LAMBENT_ACCOUNT_ID", "twelve digits"]),
        ({}, {"LAMBENT_ISOLATION": "none"}, "", ["LAMBENT_ISOLATION", "auto, sandbox, process"]),
        ({}, {"LAMBENT_KEEP_ALIVE": "-1"}, "", ["LAMBENT_KEEP_ALIVE", "-1"]),
        ({}, {"LAMBENT_REGION": "moon"}, "", ["LAMBENT_REGION", "'moon'"]),
        ({}, {"LAMBENT_ENDPOINT_URL": "localhost:9000"}, "", ["LAMBENT_ENDPOINT_URL", "http://127.0.0.1:9000"]),
        ({}, {}, "port = true", ["lambent.toml", "'port'", "True"]),
        ({}, {}, "port = '9000x'", ["lambent.toml", "'port'", "9000x"]),
        ({}, {}, "prot = 1", ["lambent.toml", "'prot'", "Did you mean port?"]),
        ({}, {}, "colour = 1", ["lambent.toml", "'colour'", "Known: host, port"]),
        ({}, {}, "port = oops", ["lambent.toml", "not valid TOML", "line 1"]),
        ({}, {"LAMBENT_CONFIG": "absent.toml"}, "", ["absent.toml", "is not there"]),
    ],
)
def test_an_error_names_the_source_the_value_and_what_is_allowed(tmp_path: Path, flags, environ, file, words):
    if file:
        (tmp_path / "lambent.toml").write_text(file)
    with pytest.raises(ConfigurationError) as caught:
        load(flags, environ)
    for word in words:
        assert word in str(caught.value)


def test_other_programs_may_use_the_prefix():
    assert load({}, {"LAMBENT_WALL_COLOUR": "blue"}) == Settings()


def test_a_folder_as_the_file_is_an_error_not_a_traceback(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="could not be read"):
        load({}, {}, tmp_path)
