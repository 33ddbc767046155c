"""Sentences, capital words and languages, counted without a model."""

from __future__ import annotations

import pytest

from tightrope.rewards.languages import language
from tightrope.rewards.sentences import capital_words, count_sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One sentence without an end", 1),
        ("One. Two? Three!", 3),
        ("Dr. Smith went home. He slept.", 2),
        ("They live in the U.S. The house is big.", 2),
        ("They live in the U.S. Senate building.", 1),
        ("It costs 3.5 dollars. see www.example.com for more.", 2),
        ("Wait... what? No.", 2),
        ('She said "Go home." Then she left.', 2),
        ("He left (at last.) Good.", 2),
        ("All of it!!! Really?!", 2),
        ("1. Buy milk.\n2. Sleep.", 4),
        ("no capitals. none at all. really.", 3),
        ("The end.)", 1),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("NASA and the USA", 2),
        ("I am", 1),
        ("WELL-KNOWN fact", 1),
        ("DON'T", 2),
        ("I’LL GO", 3),
        ("CANNOT", 2),
        ("A1 4U 123", 2),
        ("**BOLD** (YES), NO!", 3),
        ("", 0),
    ],
)
def test_capital_words(text: str, count: int) -> None:
    assert capital_words(text) == count


SAMPLES = {
    "en": "The weather is nice today, and we are going to the park with our friends.",
    "es": "Hoy hace buen tiempo y vamos al parque con nuestros amigos para comer.",
    "pt": "Hoje o tempo está bom e não vamos ao parque com os nossos amigos para comer.",
    "fr": "Il fait beau aujourd'hui et nous allons au parc avec nos amis pour manger.",
    "de": "Das Wetter ist heute schön und wir gehen mit unseren Freunden in den Park.",
    "it": "Oggi il tempo è bello e andiamo al parco con i nostri amici per mangiare.",
    "pl": "Dzisiaj jest ładna pogoda i idziemy do parku z naszymi przyjaciółmi.",
    "vi": "Hôm nay thời tiết đẹp và chúng tôi đi đến công viên với những người bạn.",
    "sw": "Leo hali ya hewa ni nzuri na tunaenda katika bustani pamoja na marafiki wetu.",
    "fi": "Tänään on kaunis sää ja me menemme puistoon ystävien kanssa, koska se on mukavaa.",
    "ru": "Сегодня хорошая погода, и мы идём в парк с друзьями, чтобы поесть.",
    "uk": "Сьогодні гарна погода, і ми йдемо до парку з друзями, щоб поїсти.",
    "bg": "Днес времето е хубаво и ние отиваме в парка с приятели, за да ядем.",
    "ar": "الطقس جميل اليوم ونحن ذاهبون إلى الحديقة مع أصدقائنا لتناول الطعام.",
    "fa": "امروز هوا خوب است و ما با دوستانمان به پارک می‌رویم تا غذا بخوریم.",
    "ur": "آج موسم اچھا ہے اور ہم اپنے دوستوں کے ساتھ پارک میں جا رہے ہیں۔",
    "hi": "आज मौसम अच्छा है और हम अपने दोस्तों के साथ पार्क में जा रहे हैं।",
    "mr": "आज हवामान छान आहे आणि आम्ही आमच्या मित्रांसोबत उद्यानात जात आहोत.",
    "ne": "आज मौसम राम्रो छ र हामी साथीहरूसँग पार्कमा जाँदै छौं भने पनि हुन्छ।",
    "bn": "আজ আবহাওয়া সুন্দর এবং আমরা বন্ধুদের সাথে পার্কে যাচ্ছি।",
    "gu": "આજે હવામાન સરસ છે અને અમે મિત્રો સાથે પાર્કમાં જઈએ છીએ.",
    "pa": "ਅੱਜ ਮੌਸਮ ਚੰਗਾ ਹੈ ਅਤੇ ਅਸੀਂ ਦੋਸਤਾਂ ਨਾਲ ਪਾਰਕ ਜਾ ਰਹੇ ਹਾਂ।",
    "ta": "இன்று வானிலை நன்றாக உள்ளது, நாங்கள் நண்பர்களுடன் பூங்காவிற்கு செல்கிறோம்.",
    "te": "ఈ రోజు వాతావరణం బాగుంది, మేము స్నేహితులతో పార్కుకు వెళ్తున్నాము.",
    "kn": "ಇಂದು ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ, ನಾವು ಸ್ನೇಹಿತರೊಂದಿಗೆ ಉದ್ಯಾನಕ್ಕೆ ಹೋಗುತ್ತಿದ್ದೇವೆ.",
    "ml": "ഇന്ന് കാലാവസ്ഥ നല്ലതാണ്, ഞങ്ങൾ സുഹൃത്തുക്കളോടൊപ്പം പാർക്കിൽ പോകുന്നു.",
    "th": "วันนี้อากาศดีและเราไปสวนสาธารณะกับเพื่อน",
    "he": "היום מזג האוויר יפה ואנחנו הולכים לפארק עם חברים.",
    "ko": "오늘 날씨가 좋아서 우리는 친구들과 공원에 갑니다.",
    "ja": "今日は天気がいいので、友達と公園に行きます。",
    "zh": "今天天气很好，我们和朋友一起去公园。",
}  # fmt: skip


@pytest.mark.parametrize(("code", "text"), SAMPLES.items())
def test_every_language_that_ifeval_asks_for_is_recognised(code: str, text: str) -> None:
    assert language(text) == code
    assert language(text.upper()) == code


def test_numbers_have_no_language_and_names_an_undetermined_one() -> None:
    assert language("12 + 30 = 42!") is None
    assert language("ABIGAIL SMITH, BENJAMIN JONES") == "und"


def test_the_language_of_most_letters_counts() -> None:
    assert language(SAMPLES["kn"] + " (park)") == "kn"
