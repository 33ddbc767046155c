"""Which language a text is in: by script, then by its commonest words and letters. Deterministic, no model.

IFEval asks langdetect, which draws random numbers and is a dependency of its own. This tells apart the languages of
IFEval's instructions and their nearest neighbours; it is meant for whole answers, not for single words. A text
without any letter has no language. How often it agrees with langdetect is said in docs/leaderboards.md.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter, defaultdict

UNDETERMINED = "und"
# Scripts that one of the languages has to itself, by the first word of the letters' Unicode names.
_OWN_SCRIPT = {
    "BENGALI": "bn",
    "GREEK": "el",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
# Letters that only some of a script's languages use.
_LETTERS = {
    "ARABIC": {"ur": "ٹڈڑےںہھ", "fa": "پچژگکی", "ar": "ةىيكأإؤئ"},
    "CYRILLIC": {"uk": "іїєґ", "ru": "ыэё", "bg": "ъ"},
    "LATIN": {
        "vi": "ơưđạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
        "pl": "łąęśżźćń",
        "de": "ßäöü",
        "es": "ñ¿¡",
        "pt": "ãõ",
        "tr": "ışğ",
        "ro": "ășțâ",
        "cs": "řěůč",
        "hu": "őű",
        "fr": "œêèç",
        "sv": "å",
        "da": "æø",
        "fi": "ä",
    },
}
_WORDS = {
    "DEVANAGARI": {
        "hi": "है हैं और का की के में से को नहीं यह था कि पर भी एक",
        "mr": "आहे आहेत आणि च्या या हे ते मी नाही असे तर होते करा त्या की साठी आपण",
        "ne": "छ छन् हुन् हो र को मा ले गर्न पनि यो त्यो भने थियो लागि तपाईं हुन्छ गर्नुहोस्",
    },
    "CYRILLIC": {
        "ru": "и в не на что с по это как для но мы вы он она из за от к",
        "uk": "і в не на що з та це як для але ми ви він вона із за від до є",
        "bg": "и в не на че с да се за от това като за ще са си към е със",
    },
    "LATIN": {
        "en": "the and of to in is that for it with as you are on this be have was not or by we my your from at an "
        "they them can what so do will how if there all but me out up about has had would which their when who "
        "more one our some his her she he him its no been were than then these those into could should may must "
        "also just only like other any each where why here very much many most after before because while through "
        "between under over again don't i'm it's that's i'll i've you're isn't doesn't can't let us make get go "
        "see know want need use take give work",
        "es": "el la los las de que y en un una es por con para su se del al lo como más no",
        "fr": "le la les de des et est un une que qui dans pour pas vous je nous au du ce sur avec il elle",
        "de": "der die das und ist nicht ein eine zu den von mit sich auf für ich es wir sie dem im auch",
        "it": "il lo la gli di che e è un una per non con del della sono si come nel più questo i le",
        "pt": "o a os as de que e é um uma para com não do da em no na se por mais como dos das",
        "pl": "i w nie na się z do że to jest jak o po ale za przez od dla oraz są",
        "nl": "de het een en van is dat niet in op te voor met zijn ik je aan er ook maar",
        "sv": "och att det är en som på för av med den inte ett jag har till om de vi",
        "da": "og at det er en som på for af med den ikke et jeg har til om de vi der",
        "fi": "ja on ei se että hän joka mutta kun ovat oli niin myös tai voi minä sinä ole kuin olen",
        "vi": "và của là có không cho một được trong với những các người này để tôi bạn khi",
        "sw": "na ya wa kwa ni katika za la kuwa hii yako wako hiyo pia kama lakini au cha vya sana yangu",
        "id": "dan yang di untuk dengan ini itu dari dalam tidak adalah saya pada akan anda kami ke",
        "tr": "ve bir bu için ile de da çok ne gibi daha olan olarak ama var ben sen",
        "ro": "și de la în un o că cu pe este nu pentru din ce mai sunt care",
        "cs": "a je se na v že to s z do pro ale jako by po jsem byl který",
        "hu": "a az és hogy nem egy is van meg ez de csak már mint vagy el",
        "ca": "el la els les de que i en un una és per amb no del al com més aquest",
    },
}
# Devanagari vowel signs are no letters to Python; an apostrophe keeps "that's" from being "that" and a Czech "s".
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’]|[\u0900-\u097f])*")
# Single Latin letters are articles in one language, and names, variables and list marks in all.
_TABLES = {
    script: {
        name: frozenset(word for word in words.split() if script != "LATIN" or len(word) > 1)
        for name, words in table.items()
    }
    for script, table in _WORDS.items()
}
_SHARED = {script: Counter(word for words in table.values() for word in words) for script, table in _TABLES.items()}


def language(text: str) -> str | None:
    """The ISO 639-1 code of a text's language; None when it has no letters, `und` when they do not tell.

    Chinese is `zh`. `und` is what single words and lists of names are: nothing in them is common enough.
    """
    scripts = Counter(name for name in map(_script, text) if name)
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * scripts.total():
        return "ja"
    script = scripts.most_common(1)[0][0]
    if script in _OWN_SCRIPT:
        return _OWN_SCRIPT[script]
    if script == "CJK":
        return "zh"
    scores: defaultdict[str, float] = defaultdict(float)
    lowered = text.lower()
    table, shared = _TABLES.get(script, {}), _SHARED.get(script, Counter())
    for word in _WORD.findall(lowered):
        for name, words in table.items():
            if word in words:
                scores[name] += 1 / shared[word]
    for name, letters in _LETTERS.get(script, {}).items():
        scores[name] += 0.2 * sum(lowered.count(letter) for letter in letters)
    return max(scores, key=scores.__getitem__) if any(scores.values()) else UNDETERMINED


@functools.cache
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    return unicodedata.name(character, "UNKNOWN").partition(" ")[0]
