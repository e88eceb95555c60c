"""What a run of the command line says on standard error while it works; Dagster keeps the rest in its event log.

How far the work is, is progress.py's to say; what a run says in the UI is not changed by anything here.
"""

import logging
import sys

import dagster as dg

# The name under which a run's configuration asks for these lines.
PLAIN_LINES = "plain_lines"


class PlainLines(logging.Handler):
    """Writes ``warning: sentence`` for what an asset logs; what Dagster itself has to say is for debugging only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line to what is standard error now: a progress bar puts something of its own there."""
        about = getattr(record, "dagster_meta", {})
        if about.get("dagster_event") is None or self.level <= logging.DEBUG:
            sys.stderr.write(f"{record.levelname.lower()}: {about.get('orig_message') or record.getMessage()}\n")


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="WARNING", description="The least level that is shown.")},
    description="One line on standard error for each message of an asset.",
)
def plain_lines(init_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger of one run, so that no two runs of a process share handlers."""
    logger = logging.Logger("strategy_pipeline.run", init_context.logger_config["log_level"])
    handler = PlainLines()
    handler.setLevel(logger.level)
    logger.addHandler(handler)
    return logger


def least_level(log_level: str) -> str:
    """The least level shown for a LOG_LEVEL: with INFO, the progress lines say what goes well."""
    return "WARNING" if log_level == "INFO" else log_level
