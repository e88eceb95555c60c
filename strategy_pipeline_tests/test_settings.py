"""Settings: defaults, places that follow from them, and what a bad value is answered with."""

from pathlib import Path

import pytest

from strategy_pipeline.analytics.regime import REGIME_SYMBOLS
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline.settings import PROJECT_ROOT, load_settings, load_thresholds, load_watchlist


def test_everything_has_a_working_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.strategy_home == tmp_path / ".strategy"
    assert settings.lake_location == str(tmp_path / ".strategy" / "lake")
    assert settings.flat_files_location == str(tmp_path / ".strategy" / "vendor")
    assert settings.massive_s3_endpoint == "https://files.massive.com"
    assert settings.log_level == "INFO"


def test_with_keys_the_flat_files_are_the_vendors_bucket():
    settings = load_settings({"MASSIVE_AWS_ACCESS_KEY": "key", "MASSIVE_AWS_SECRET_KEY": "secret"})
    assert settings.flat_files_location == "s3://flatfiles"


def test_a_relative_mirror_is_taken_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings({"FLAT_FILES_URL": "../mirror"}).flat_files_location == str(tmp_path.parent / "mirror")


def test_the_environment_and_a_dotenv_file_are_read_and_the_environment_wins(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nMASSIVE_S3_REGION=eu-west-1\nUNKNOWN=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "warning")
    settings = load_settings()
    assert (settings.log_level, settings.massive_s3_region) == ("WARNING", "eu-west-1")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("LOG_LEVEL", "loud", "LOG_LEVEL is 'LOUD' (text): expected one of DEBUG, INFO, WARNING, ERROR."),
        ("LAKE_URL", "gs://b", "LAKE_URL is 'gs://b' (text): expected a folder or s3://bucket/prefix."),
        ("LAKE_URL", "s3://", "LAKE_URL is 's3://' (text): expected a folder or s3://bucket/prefix."),
        ("MASSIVE_S3_ENDPOINT", "files", "MASSIVE_S3_ENDPOINT is 'files' (text): expected a URL that starts with"),
        ("MASSIVE_S3_BUCKET", "a b", "MASSIVE_S3_BUCKET is 'a b' (text): expected a bucket name, such as flatfiles."),
    ],
)
def test_a_bad_value_is_answered_with_the_variable_its_kind_and_what_was_expected(variable, value, expected):
    with pytest.raises(SettingsError) as error:
        load_settings({variable: value})
    assert str(error.value).startswith(expected)


def test_a_secret_is_never_shown():
    with pytest.raises(SettingsError) as error:
        load_settings({"DATABASE_URL": "mysql://user:hunter2@host/db"})
    assert "hunter2" not in str(error.value)
    assert "DATABASE_URL is a value that is not shown" in str(error.value)
    assert "hunter2" not in repr(load_settings({"MASSIVE_API_KEY": "hunter2"}))


@pytest.mark.parametrize("name", ["MASSIVE_BASE_URL", "MASSIVE_S3_ENDPOINT"])
@pytest.mark.parametrize("address", ["http://{}@proxy:8080", "https://proxy/?k={}", "{}@proxy"])
def test_an_address_with_a_place_for_a_secret_is_refused_and_not_shown(name, address):
    # Every message about a request names the address that was asked.
    with pytest.raises(SettingsError, match=f"{name} is a value that is not shown") as error:
        load_settings({name: address.format("user:hunter2")})
    assert "hunter2" not in str(error.value)
    assert "without a user, a password or a question mark" in str(error.value)


@pytest.mark.parametrize(("given", "missing"), [("ACCESS", "SECRET"), ("SECRET", "ACCESS")])
def test_one_of_two_keys_is_an_error_that_names_the_other(given, missing):
    with pytest.raises(SettingsError, match=f"MASSIVE_AWS_{missing}_KEY is not set"):
        load_settings({f"MASSIVE_AWS_{given}_KEY": "value"})


def test_the_default_watchlist_is_the_specified_one():
    watchlist = load_watchlist(PROJECT_ROOT / "config" / "watchlist.yaml")
    assert watchlist.symbols == ("SPY", "SPX", "NDX", "QQQ", "TSLA", "SOFI", "AMD", "NVDA", "MSFT", "PLTR", "UNH")
    classes = {one.symbol: (one.asset_class, one.proxy) for one in watchlist.instruments}
    assert classes["SPX"] == ("INDEX", "SPY")
    assert classes["NDX"] == ("INDEX", "QQQ")
    assert classes["QQQ"] == ("EQUITY_ETF", None)
    assert classes["UNH"] == ("STOCK", None)


def test_a_watchlist_keeps_what_the_regime_reads_even_where_it_does_not_say_so(tmp_path):
    own = load_watchlist(PROJECT_ROOT / "config" / "watchlist.yaml")
    assert {one.symbol for one in own.context} == set(REGIME_SYMBOLS)
    assert {one.symbol: one.asset_class for one in own.context}["VIX"] == "INDEX"
    path = tmp_path / "watchlist.yaml"
    path.write_text("symbols: [IBM]")
    assert load_watchlist(path).context == own.context
    assert load_watchlist(path).extended(["AAPL"]).context == own.context
    path.write_text("symbols: [IBM]\ncontext: [VIX]")
    assert [(one.symbol, one.asset_class) for one in load_watchlist(path).context] == [("VIX", "INDEX")]
    path.write_text("symbols: [IBM]\ncontext: []")
    assert load_watchlist(path).context == ()


def test_further_symbols_come_after_the_watched_ones_and_only_once():
    watchlist = load_watchlist(PROJECT_ROOT / "config" / "watchlist.yaml").extended(["IBM", "SPY", "IBM"])
    assert watchlist.symbols[-2:] == ("UNH", "IBM")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("symbols: []", "holds no list of symbols"),
        ("symbols: [SPY, SPY]", "names SPY twice"),
        ("symbols: [ON]", "write it in quotes"),
        ("symbols: [spy]", "is not a ticker"),
        ("symbols: [{symbol: SPY, asset_class: BOND}]", "has asset class 'BOND'"),
        ("symbols: [{symbol: SPY, asset_klass: STOCK}]", r"watchlist\.yaml: .*'SPY'.* unknown key asset_klass"),
        ("symbols: [{symbol: SPX, proxy: 5}]", r"watchlist\.yaml: proxy of .*'SPX'.* is no text"),
        ("symbols: [{symbol: SPX, proxy: [SPY]}]", "proxy of .* is no text"),
        ("symbols: [{symbol: SPX, proxy: spy}]", "'spy' is not a ticker"),
        ("symbols: [{symbol: SPY, asset_class: 1}]", "asset_class of .* is no text"),
        ("symbols: [", "cannot be read"),
        ("symbols: [SPY]\ncontext: VIX", "context is no list of symbols"),
        ("symbols: [SPY]\ncontext: [VIX, VIX]", "names VIX twice"),
    ],
)
def test_a_bad_watchlist_is_answered_with_the_entry_at_fault(tmp_path: Path, text, sentence):
    path = tmp_path / "watchlist.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        load_watchlist(path)


def test_a_missing_watchlist_is_answered_with_its_path(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.yaml cannot be read"):
        load_watchlist(tmp_path / "absent.yaml")


def test_the_default_thresholds_are_the_packages_own():
    assert load_thresholds(load_settings({}).thresholds).version == rules_from().version


def test_a_thresholds_file_may_say_little_or_nothing(tmp_path: Path):
    file = tmp_path / "thresholds.yaml"
    file.write_text("class_floors: {STOCK: {rr: 2.5}}\n")
    assert load_thresholds(file).floor("STOCK", "breakout")["rr"] == 2.5
    file.write_text("")
    assert load_thresholds(file).version == rules_from().version


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "windows: {noon: {base: 1}}",
            r"THRESHOLDS .*thresholds\.yaml: thresholds: windows has the unknown entry 'noon'",
        ),
        ("- 1", r"THRESHOLDS .* holds no mapping"),
        ("a: [", r"THRESHOLDS .* cannot be read"),
    ],
)
def test_bad_thresholds_are_answered_with_the_entry_at_fault(tmp_path: Path, text, sentence):
    file = tmp_path / "thresholds.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        load_thresholds(file)
