"""Judges' answers on disk: one SQLite file that any number of processes may use at once.

An answer is committed the moment it is there, so a killed run goes on where it was. The first answer to a question
stays: a process that asked the same thing at the same time gets that one back. The file is in write-ahead mode, in
which readers and the one writer do not block each other; where a file system cannot do that, SQLite falls back by
itself.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tightrope.errors import InputError, TightropeError, WorkError
from tightrope.judges.asking import Answer

SCHEMA = 1
BUSY_SECONDS = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, model TEXT NOT NULL, wording TEXT NOT NULL, repeat INTEGER NOT NULL, question TEXT NOT NULL,
  answer TEXT NOT NULL, logprobs TEXT, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""
_DIALECTS = """
CREATE TABLE IF NOT EXISTS dialects (
  url TEXT NOT NULL, model TEXT NOT NULL, dialect TEXT NOT NULL, PRIMARY KEY (url, model)
) WITHOUT ROWID
"""


class AnswerCache:
    """The answers in one file.

    Args:
        file: created with its folder if it is not there.

    Raises:
        InputError: the file is something else, or of another version of this cache.
        WorkError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._reported():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:  # an interrupt, too: the file is let go, and the error goes on
                self._database.close()
                raise

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def __len__(self) -> int:
        with self._reported():
            return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def get(self, key: str) -> Answer | None:
        """Returns the answer kept under a key."""
        with self._reported():
            row = self._database.execute(
                "SELECT answer, logprobs, prompt_tokens, completion_tokens FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return None
            text, logprobs, prompt_tokens, completion_tokens = row
            return Answer(text, None if logprobs is None else json.loads(logprobs), prompt_tokens, completion_tokens)

    def put(self, key: str, answer: Answer, *, model: str, wording: str, repeat: int, question: str) -> Answer:
        """Keeps an answer unless there is one, and returns the one that is kept."""
        logprobs = None if answer.logprobs is None else json.dumps(dict(answer.logprobs))
        row = (key, model, wording, repeat, question, answer.text, logprobs)
        with self._reported():
            self._database.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, answer.prompt_tokens, answer.completion_tokens),
            )
        return self.get(key) or answer

    def dialect(self, url: str, model: str) -> str:
        """Returns what a model at an endpoint was found to refuse, empty where nothing is known."""
        with self._reported():
            row = self._database.execute(
                "SELECT dialect FROM dialects WHERE url = ? AND model = ?", (url, model)
            ).fetchone()
            return "" if row is None else str(row[0])

    def keep_dialect(self, url: str, model: str, dialect: str) -> None:
        """Remembers what a model at an endpoint refuses."""
        with self._reported():
            self._database.execute("INSERT OR REPLACE INTO dialects VALUES (?, ?, ?)", (url, model, dialect))

    def _prepare(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # The switch itself does not wait for other processes that are switching.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._database.execute("PRAGMA synchronous = NORMAL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise InputError(
                f"answers kept in format {version}; this version of Tightrope knows {SCHEMA}",
                where=str(self._file),
                remedy="Move the file away; the answers are asked for again.",
            )
        self._database.execute(_TABLE)
        self._database.execute(_DIALECTS)
        self._database.execute(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except TightropeError:
            raise
        except (sqlite3.OperationalError, OSError) as error:
            raise WorkError(
                f"the answers cannot be kept: {error}",
                where=str(self._file),
                remedy="Free some disk space or set TIGHTROPE_CACHE to a folder you may write to.",
            ) from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise InputError(
                f"not a file of judges' answers: {error}",
                where=str(self._file),
                remedy="Move it away; the answers are asked for again.",
            ) from error
