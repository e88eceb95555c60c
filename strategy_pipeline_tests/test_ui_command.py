"""The ``ui`` command's words and environment; that the page answers is looked at by hand."""

from strategy_pipeline.commands.ui import HOST, command, environment
from strategy_pipeline.settings import load_settings


def test_dagster_is_bound_to_this_machine_only_and_as_talkative_as_asked():
    words = command(load_settings({"LOG_LEVEL": "warning"}), 3100)
    assert words[1:] == [
        "dev", "--host", "127.0.0.1", "--port", "3100", "--use-active-venv", "--log-level", "warning"
    ]  # fmt: skip
    assert HOST == "127.0.0.1"


def test_the_servers_see_the_instance_and_home_of_this_project_and_send_no_telemetry(tmp_path):
    settings = load_settings({"STRATEGY_HOME": str(tmp_path)})
    variables = environment(settings)
    assert variables["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert variables["STRATEGY_HOME"] == str(tmp_path)
    assert variables["DAGSTER_DISABLE_TELEMETRY"] == "1"
    assert "InstanceStorage" in (tmp_path / "dagster" / "dagster.yaml").read_text()


def test_the_servers_store_in_the_database_of_the_settings_and_no_file_names_it(tmp_path):
    url = "postgres://user:hunter2@db/dagster"
    variables = environment(load_settings({"STRATEGY_HOME": str(tmp_path), "DAGSTER_POSTGRES_URL": url}))
    assert variables["DAGSTER_POSTGRES_URL"] == "postgresql://user:hunter2@db/dagster"
    assert "hunter2" not in (tmp_path / "dagster" / "dagster.yaml").read_text()
