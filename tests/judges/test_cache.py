"""Kept answers: the first stays, damage is named, many may write at once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tightrope.errors import InputError, WorkError
from tightrope.judges.asking import Answer
from tightrope.judges.cache import AnswerCache


def put(cache: AnswerCache, key: str, answer: Answer) -> Answer:
    return cache.put(key, answer, model="m", wording="w", repeat=0, question="q")


def test_answers_come_back_as_they_were_and_the_first_one_stays(tmp_path: Path) -> None:
    answer = Answer("[[A=B]]\n\x00é", {"A": -0.25, " B\n": -3.5}, 12, 3)
    with closing(AnswerCache(tmp_path / "deep" / "answers.sqlite")) as cache:
        assert cache.get("k") is None
        assert put(cache, "k", answer) == answer == cache.get("k")
        assert put(cache, "k", Answer("another")) == answer and len(cache) == 1


def test_threads_with_connections_of_their_own_lose_nothing_and_agree(tmp_path: Path) -> None:
    file, agreed = tmp_path / "answers.sqlite", [dict[str, str]() for _ in range(4)]

    def write(who: int) -> None:
        with closing(AnswerCache(file)) as cache:
            for i in range(40):
                agreed[who][str(i)] = put(cache, str(i), Answer(f"{who}")).text

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(AnswerCache(file)) as cache:
        assert len(cache) == 40
    assert agreed[0] == agreed[1] == agreed[2] == agreed[3]


def test_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    file.write_text("not a database, but long enough to be read as one " * 40)
    with pytest.raises(InputError, match="not a file of judges' answers"):
        AnswerCache(file)
    assert file.read_text().startswith("not a database"), "nothing of it was touched"


def test_other_formats_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(InputError, match="format 9"):
        AnswerCache(file)


def test_damaged_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    with closing(AnswerCache(file)) as cache:
        put(cache, "k", Answer("x", {"A": -1.0}))
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE answers SET logprobs = 'half a js'")
        database.commit()
    with closing(AnswerCache(file)) as cache, pytest.raises(InputError, match="not a file of judges' answers"):
        cache.get("k")


def test_folder_that_cannot_be_made_is_work_that_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="TIGHTROPE_CACHE"):
        AnswerCache(tmp_path / "file" / "answers.sqlite")
