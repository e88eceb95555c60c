"""One session of options read from the mirror as a piece."""

from datetime import date

from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.option_session import RATES_KEY, option_keys, pedigree_of, read_option_session
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import OPEN_INTEREST, OPTION_CONTRACTS, QUARANTINE

DAY = date(2015, 12, 24)


def mirror_of(shared_data, tmp_path, day):
    mirror = RawMirror(tmp_path / "raw")
    mirror.download(LocalFlatFileStore(shared_data), [*option_keys(day), RATES_KEY])
    return mirror


def test_the_files_of_a_session_make_its_contracts_open_interest_quotes_and_prints(shared_data, tmp_path):
    found = read_option_session(mirror_of(shared_data, tmp_path, DAY), DAY, ["GOOG"])
    # 2,192 contracts are quoted on that half day (data README), 2,058 have a number of open interest.
    assert (found.contracts.height, found.open_interest.height) == (2192, 2058)
    assert (found.quotes.height, found.prints.height) == (275_552, 958)
    assert (found.quarantine.height, found.refusals) == (0, ())
    conform(OPTION_CONTRACTS, found.contracts)
    conform(OPEN_INTEREST, found.open_interest)
    conform(QUARANTINE, found.quarantine)


def test_what_has_no_file_is_none_and_nothing_else_suffers(shared_data, tmp_path):
    day = date(2023, 8, 3)
    found = read_option_session(mirror_of(shared_data, tmp_path, day), day, ["SPY"])
    assert (found.contracts.height, found.open_interest.height) == (4, 0)
    empty = read_option_session(RawMirror(tmp_path / "nothing"), day, ["SPY"])
    assert (empty.contracts.height, empty.quotes, empty.prints, empty.sources) == (0, None, None, ())


def test_the_pedigree_changes_with_the_sources_and_the_symbols(shared_data, tmp_path):
    found = read_option_session(mirror_of(shared_data, tmp_path, DAY), DAY, ["GOOG"])
    assert found.pedigree(["GOOG"]) == pedigree_of(found.sources, ["GOOG"])
    assert found.pedigree(["GOOG"]) != found.pedigree(["GOOG", "SPX"])
    assert found.pedigree(["GOOG"]) != pedigree_of(found.sources[1:], ["GOOG"])
