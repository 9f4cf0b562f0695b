"""The configuration file: what a good one means, and one line for every mistake."""

from pathlib import Path

import pytest

from federation.agent.settings import AgentSettings, KeySettings, SettingsError, load, parse

GOOD = """
cluster: tw-us
region: us-central1
model_servers: [http://10.0.0.7:8000, https://gpu.internal]
stores: [redis://redis.internal:6379, rediss://:secret@other:6380/1]
key: {id: k1, secret_file: key}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        parse(text, "agent.yaml")
    return [mistake.removeprefix("agent.yaml: ") for mistake in raised.value.mistakes]


def test_a_short_file_is_enough() -> None:
    assert parse(GOOD, "agent.yaml") == AgentSettings(
        cluster="tw-us",
        region="us-central1",
        model_servers=("http://10.0.0.7:8000", "https://gpu.internal"),
        stores=("redis://redis.internal:6379", "rediss://:secret@other:6380/1"),
        key=KeySettings(id="k1", secret_file="key"),
    )


def test_every_setting_can_be_given() -> None:
    text = GOOD + (
        "slots_per_replica: {llama: 32}\nfeatures: [continue_final_message]\ninterval_s: 2\nscrape_timeout_s: 0.25\n"
        "store_timeout_s: 1\nhost: '::1'\nport: 9100\nlog_level: debug\n"
    )
    settings = parse(text, "agent.yaml")
    assert (settings.slots_per_replica, settings.interval_s, settings.port) == ({"llama": 32}, 2.0, 9100)


def test_no_model_servers_is_a_cluster_that_serves_nothing_yet() -> None:
    assert parse(GOOD.replace("[http://10.0.0.7:8000, https://gpu.internal]", "[]"), "x").model_servers == ()


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("cluster: tw-us", "", "cluster: missing"),
        ("cluster: tw-us", "cluster: 3", "cluster: expected str, got int"),
        ("cluster: tw-us", "cluster: 'a b'", "cluster: expected letters, digits, '.', '_' and '-', got 'a b'"),
        ("region:", "regio:", "regio: unknown setting"),
        ("http://10.0.0.7:8000", "10.0.0.7:8000", "model_servers[0]: expected a URL"),
        ("http://10.0.0.7:8000", "http://x:99999", "model_servers[0]: expected a URL"),
        ("http://10.0.0.7:8000", "https://gpu.internal", "model_servers: the same URL stands there twice"),
        ("[http://10.0.0.7:8000, https://gpu.internal]", "[1]", "model_servers[0]: expected str, got int"),
        ("[redis://redis.internal:6379, rediss://:secret@other:6380/1]", "[]", "stores: expected at least one"),
        ("redis://redis.internal:6379", "http://redis", "stores[0]: expected a URL that starts with redis://"),
        ("key: {id: k1, secret_file: key}", "key: {id: k1}", "key: expected either secret_file or secret_env"),
        ("secret_file: key", "secret_file: a, secret_env: b", "key: expected either secret_file or secret_env"),
        ("{id: k1,", "{id: 'k 1',", "key.id: expected one word, got 'k 1'"),
        ("{id: k1, secret_file: key}", "{id: 1, secret_file: key}", "key.id: expected str, got int"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(old: str, new: str, mistake: str) -> None:
    found = mistakes(GOOD.replace(old, new, 1))
    assert any(line.startswith(mistake) for line in found), found
    assert all("\n" not in line and "secret@" not in line for line in found)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("interval_s: 0", "interval_s: expected 0.05 to 60, got 0"),
        ("interval_s: soon", "interval_s: expected float, got str"),
        ("port: 70000", "port: expected 0 to 65535, got 70000"),
        ("slots_per_replica: 0", "slots_per_replica: expected at least 1, got 0"),
        ("slots_per_replica: {m: 0}", "slots_per_replica.m: expected at least 1, got 0"),
        ("slots_per_replica: {m: x}", "slots_per_replica.*: expected int, got str"),
        ("log_level: loud", "log_level: expected one of debug, info, warning, error, got 'loud'"),
    ],
)
def test_a_bad_value_is_one_line(line: str, mistake: str) -> None:
    assert mistakes(GOOD + line) == [mistake]


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes("cluster: 1\nregion: 2\nport: x\nwhat: 1\n")) == 7  # Three wrong, one unknown, three missing.


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [", "agent.yaml:1:5: not YAML"),
        ("a: b: c", "agent.yaml:1:5: not YAML"),
        ("", "expected a mapping of settings, got nothing"),
        ("- a", "expected a mapping of settings, got a list"),
        ("a: \x00", "agent.yaml: not YAML"),
    ],
)
def test_what_is_no_mapping_is_told(text: str, start: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(start.removeprefix("agent.yaml: "))
    assert "\n" not in found


def test_the_key_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(GOOD)
    assert load(tmp_path / "agent.yaml").key.secret_file == str(tmp_path / "key")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "agent.yaml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path / "agent.yaml")
