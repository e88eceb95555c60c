"""The few exception types a user can meet.

Every message is one sentence that says what is wrong and what to do about it, and never holds a secret.
Errors of programming (a wrong argument between our own modules) stay ordinary Python exceptions.
"""


class PipelineError(Exception):
    """Something the user can mend; ``str()`` is the sentence to show."""


class SettingsError(PipelineError):
    """A setting, option or configuration file has a value that cannot be used."""


class CalendarError(PipelineError):
    """A date is not an exchange session, or lies outside the years the calendar covers."""


class SymbolError(PipelineError):
    """A ticker cannot be read as a symbol or an option contract."""


class DataError(PipelineError):
    """The content of an input is not what its format promises."""


class DamagedFileError(DataError):
    """A file cannot be read to its end: truncated, not gzip, or without a usable header."""


class ContractError(DataError):
    """A frame does not meet the contract of the table it was to be written to."""


class SourceError(PipelineError):
    """The vendor's store did not hand over what was asked for."""


class NotPublishedError(SourceError):
    """The vendor has no such object: not published yet, or no session on that date (404)."""


class NotEntitledError(SourceError):
    """The keys in use are wrong or are not allowed to read that object (401, 403)."""


class UnreachableError(SourceError):
    """The endpoint could not be reached or kept failing."""


class StorageError(PipelineError):
    """The lake or the local disk could not be written or read."""


class MissingDataError(PipelineError):
    """What was asked for has not been materialised, or the source does not hold it."""


class HoldoutError(PipelineError):
    """Sessions that a study holds out cannot be opened (again)."""
