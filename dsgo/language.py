"""The languages that reports are written in: how each writes numbers and dates, and its words for the English ones.

Every text of a report stands in the code in English, and is looked up by it. What a language has no word for, such as a
name from data, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from dsgo.german import GERMAN_TEXTS


@dataclass(frozen=True)
class Language:
    """One language. `texts` is None for English; weekdays begin with Monday."""

    code: str
    """As in HTML's `lang`."""
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    short_months: tuple[str, ...]
    short_weekdays: tuple[str, ...]
    thousands: str = ","
    decimal: str = "."
    after_day: str = ""
    """What follows the number of a day."""
    texts: Mapping[str, str] | None = field(default=None, repr=False)

    def say(self, text: str, **values: object) -> str:
        """The English `text` in this language, with `values` put in its braces.

        Raises:
            KeyError: it has not been translated.
        """
        return (text if self.texts is None else self.texts[text]).format(**values)

    def name(self, word: str) -> str:
        """A word that may come from data: translated if it is known."""
        return word if self.texts is None else self.texts.get(word, word)

    def number(self, value: float, decimals: int = 0) -> str:
        """A number with its separators and a real minus sign."""
        signs = {",": self.thousands, ".": self.decimal, "-": "\N{MINUS SIGN}"}
        return f"{value:,.{decimals}f}".translate(str.maketrans(signs))

    def day(self, moment: date) -> str:
        """`4 July`, `4. Juli`."""
        return f"{moment.day}{self.after_day} {self.months[moment.month - 1]}"

    def date(self, moment: date) -> str:
        """`4 July 2016`, `4. Juli 2016`."""
        return f"{self.day(moment)} {moment.year}"

    def weekday(self, moment: date) -> str:
        """`Monday`, `Montag`."""
        return self.weekdays[moment.weekday()]

    def days(self, first: date, last: date) -> str:
        """A span of days, both included: `20–26 June 2016`, `27 June – 3 July 2016`."""
        if first.year != last.year:
            return f"{self.date(first)} – {self.date(last)}"
        if first.month != last.month:
            return f"{self.day(first)} – {self.date(last)}"
        return self.date(last) if first == last else f"{first.day}{self.after_day}–{self.date(last)}"

    def listed(self, words: list[str]) -> str:
        """`solar power and wind power`."""
        return f" {self.name('and')} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


ENGLISH = Language(
    code="en",
    months=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
    weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    short_months=("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    short_weekdays=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
)
GERMAN = Language(
    code="de",
    months=(
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ),
    weekdays=("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    short_months=("Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sep.", "Okt.", "Nov.", "Dez."),
    short_weekdays=("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"),
    thousands=".",
    decimal=",",
    after_day=".",
    texts=GERMAN_TEXTS,
)
LANGUAGES = {language.code: language for language in (ENGLISH, GERMAN)}
