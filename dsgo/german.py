"""German words for the English texts of reports; what stands in braces stays (see `dsgo.language`)."""

from __future__ import annotations

GERMAN_TEXTS: dict[str, str] = {
    # dsgo.language, dsgo.wording
    "and": "und",
    "minute": "Minute",
    "minutes": "Minuten",
    "hour": "Stunde",
    "hours": "Stunden",
    "day": "Tag",
    "days": "Tage",
    "{low} to {high}": "{low} bis {high}",
    "too few weeks": "zu wenige Wochen",
    "No hour of this span can be scored.": "Keine Stunde dieser Zeit lässt sich bewerten.",
    "The forecast missed by {rmse} (RMSE), less than the naive baseline’s {naive}.": (
        "Die Vorhersage lag um {rmse} (RMSE) daneben, weniger als der naive Vergleich mit {naive}."
    ),
    "The forecast missed by {rmse} (RMSE), no better than the naive baseline’s {naive}.": (
        "Die Vorhersage lag um {rmse} (RMSE) daneben, nicht weniger als der naive Vergleich mit {naive}."
    ),
    "There are too few other weeks to say what is usual.": (
        "Es gibt zu wenige andere Wochen, um zu sagen, was üblich ist."
    ),
    "That is below the usual weekly range of {span}.": "Das ist weniger als in einer Woche üblich ({span}).",
    "That is within the usual weekly range of {span}.": "Das ist so viel wie in einer Woche üblich ({span}).",
    "That is above the usual weekly range of {span}.": "Das ist mehr als in einer Woche üblich ({span}).",
    # dsgo.figures
    "Forecast": "Vorhersage",
    "Recorded": "Gemessen",
    "80 % interval": "80-%-Intervall",
    "Local time": "Ortszeit",
    "no values": "keine Werte",
    # report/create_report.py, report/contents.py
    "synthetic data": "künstliche Daten",
    "version {version}": "Version {version}",
    "{source}, synthetic data": "{source}, künstliche Daten",
    "{source}, recorded data": "{source}, gemessene Daten",
    "the value recorded {duration} earlier": "der {duration} vorher gemessene Wert",
    "Data": "Daten",
    "sha256 of the table": "SHA-256 der Tabelle",
    "Dataset": "Datensatz",
    "MLflow artifact": "MLflow-Artefakt",
    "Training": "Training",
    "MLflow run": "MLflow-Lauf",
    "Model": "Modell",
    "registered version": "registrierte Version",
    "Loaded from": "Geladen von",
    "model URI": "Modell-URI",
    "The forecast was closer than the naive baseline.": "Die Vorhersage war genauer als der naive Vergleich.",
    "The forecast was no closer than the naive baseline.": "Die Vorhersage war nicht genauer als der naive Vergleich.",
    "Both forecasts were closer than the naive baseline.": "Beide Vorhersagen waren genauer als der naive Vergleich.",
    "All {all} forecasts were closer than the naive baseline.": (
        "Alle {all} Vorhersagen waren genauer als der naive Vergleich."
    ),
    "{better} of {all} forecasts were closer than the naive baseline, the others were not.": (
        "{better} von {all} Vorhersagen waren genauer als der naive Vergleich, die anderen nicht."
    ),
    "One of {all} forecasts was closer than the naive baseline, the others were not.": (
        "Eine von {all} Vorhersagen war genauer als der naive Vergleich, die anderen nicht."
    ),
    "No forecast was closer than the naive baseline.": "Keine Vorhersage war genauer als der naive Vergleich.",
    "Less accurate than usual: {names}.": "Weniger genau als üblich: {names}.",
    "More accurate than usual: {names}.": "Genauer als üblich: {names}.",
    "The errors were of the usual size.": "Die Fehler waren so groß wie üblich.",
    "version {version} itself": "Version {version} selbst",
    "the evaluated twin of version {version}": "der geprüfte Zwilling von Version {version}",
    "Forecast of {count} of the week’s {hours} hours, those whose inputs the data have, made out of sample by {by} from "
    "recorded inputs. Where these have to be forecast themselves, their errors come on top.": (
        "Vorhersage für {count} der {hours} Stunden der Woche, deren Eingaben in den Daten stehen, aus gemessenen Eingaben; "
        "{by} hat aus diesen Stunden nicht gelernt. Müssen die Eingaben selbst vorhergesagt werden, kommen ihre Fehler hinzu."
    ),
    "There is no forecast yet: the data end on {end}, and hold no inputs after that ({inputs}).": (
        "Es gibt noch keine Vorhersage: Die Daten enden am {end} und haben danach keine Eingaben ({inputs})."
    ),
    "There is no forecast to show: version {version} has learned from these days.": (
        "Es gibt keine Vorhersage zu zeigen: Version {version} hat aus diesen Tagen gelernt."
    ),
    "There is no forecast to show: the data have no inputs of these days.": (
        "Es gibt keine Vorhersage zu zeigen: Die Daten haben von diesen Tagen keine Eingaben."
    ),
    "{mean} on average, at most {most} on {weekday}, {day}, {time} (80 % interval {interval}).": (
        "{mean} im Mittel, höchstens {most} am {weekday}, {day}, {time} Uhr (80-%-Intervall {interval})."
    ),
    "Forecast of {count} of the week’s {hours} hours by {by}, issued {time} from the inputs known then.": (
        "Vorhersage für {count} der {hours} Stunden der Woche ({by}), gemacht am {time} aus den damals bekannten Eingaben."
    ),
    "Data and model have not been checked yet.": "Daten und Modell wurden noch nicht geprüft.",
    "{time}, data to {end}: nothing unusual.": "{time}, Daten bis {end}: nichts Ungewöhnliches.",
    "{time}, data to {end}: 1 alarm.": "{time}, Daten bis {end}: 1 Warnung.",
    "{time}, data to {end}: {count} alarms.": "{time}, Daten bis {end}: {count} Warnungen.",
    "And {count} more, see the appendix.": "Und {count} weitere, siehe Anhang.",
    "Nothing has been decided about it yet.": "Darüber wurde noch nichts entschieden.",
    "“–” beside less than naive: the naive baseline hardly errs there, and a share of that says nothing.": (
        "„–“ bei kleiner als naiv: Der naive Vergleich irrt sich dort kaum, und ein Anteil davon sagt nichts."
    ),
    # dsgo.notices
    "{name}: the same value for implausibly long; the sensor may be stuck.": (
        "{name}: unglaubwürdig lange derselbe Wert; vielleicht hängt der Sensor."
    ),
    "Too many hours of the newest data are absent.": "In den neuesten Daten fehlen zu viele Stunden.",
    "{name}: the values look as if they were in another unit.": (
        "{name}: Die Werte sehen aus, als wären sie in einer anderen Einheit."
    ),
    "{name}: jumps as they do not occur; the sensor may be faulty.": (
        "{name}: Sprünge, wie sie nicht vorkommen; vielleicht ist der Sensor gestört."
    ),
    "{name}: the data look faulty.": "{name}: Die Daten sehen fehlerhaft aus.",
    "{name}: lower or higher than is usual in this season.": (
        "{name}: niedriger oder höher als zu dieser Jahreszeit üblich."
    ),
    "{name}: varies less or more than is usual in this season.": (
        "{name}: schwankt weniger oder mehr als zu dieser Jahreszeit üblich."
    ),
    "{name}: low, middle and high values come in other shares than is usual in this season.": (
        "{name}: niedrige, mittlere und hohe Werte in anderen Anteilen als zu dieser Jahreszeit üblich."
    ),
    "{name}: does not go with the other quantities as it used to.": (
        "{name}: passt nicht mehr so zu den anderen Größen wie früher."
    ),
    "{name}: other behaviour than is usual in this season.": (
        "{name}: anderes Verhalten als zu dieser Jahreszeit üblich."
    ),
    "{name}: the forecast misses by more than it did when it was tested.": (
        "{name}: Die Vorhersage liegt weiter daneben als bei ihrer Prüfung."
    ),
    "{name}: the 80 % interval holds too few or too many of the recorded values.": (
        "{name}: Im 80-%-Intervall liegen zu wenige oder zu viele der gemessenen Werte."
    ),
    "{name}: the forecast is too low or too high on average.": (
        "{name}: Die Vorhersage ist im Mittel zu niedrig oder zu hoch."
    ),
    "{name}: recorded values are lower or higher than the forecast, all by about the same factor.": (
        "{name}: Gemessene Werte sind niedriger oder höher als die Vorhersage, alle etwa um denselben Faktor."
    ),
    "{source} and others": "{source} und andere",
    "{name}: the forecast is out of the range that it had when it was tested.": (
        "{name}: Die Vorhersage verlässt den Bereich, den sie bei ihrer Prüfung hatte."
    ),
    "No new data have come.": "Es sind keine neuen Daten gekommen.",
    "All quantities together": "Alle Größen zusammen",
    "(Estimate: no recorded values yet.)": "(Schätzung: noch keine gemessenen Werte.)",
    "A retraining was begun; its model goes into Production only if the gate accepts it.": (
        "Ein neues Training wurde begonnen; sein Modell geht nur in Produktion, wenn es die Prüfung besteht."
    ),
    "Nothing is learned anew yet: more data have to come first.": (
        "Noch wird nicht neu gelernt: Erst müssen mehr Daten kommen."
    ),
    "A person is asked to look; until then nothing is learned anew by itself.": (
        "Ein Mensch soll nachsehen; bis dahin wird nicht von selbst neu gelernt."
    ),
    "A retraining came to no end.": "Ein neues Training kam zu keinem Ende.",
    "A person has looked: retrainings may begin again.": (
        "Ein Mensch hat nachgesehen: Es darf wieder neu gelernt werden."
    ),
    "Nothing needs to be done any more.": "Es ist nichts mehr zu tun.",
    "naive baseline": "naiver Vergleich",
    "earlier version {version}": "frühere Version {version}",
    "forecasts of the naive baseline": "Vorhersagen des naiven Vergleichs",
    "forecasts of the earlier version {version}": "Vorhersagen der früheren Version {version}",
    "Version {missing} could not forecast: of {span} there are {forecasts} instead, issued {time}.": (
        "Version {missing} konnte nicht vorhersagen: Für {span} gibt es stattdessen {forecasts}, gemacht am {time}."
    ),
    "No version in Production could forecast: of {span} there are {forecasts} instead, issued {time}.": (
        "Keine Version in Produktion konnte vorhersagen: Für {span} gibt es stattdessen {forecasts}, gemacht am {time}."
    ),
    "Too few hours of this season are recorded to compare it.": (
        "Von dieser Jahreszeit sind zu wenige Stunden gemessen, um sie zu vergleichen."
    ),
    "winter": "Winter",
    "spring": "Frühling",
    "summer": "Sommer",
    "autumn": "Herbst",
    "{name}: {mean} on average; the data have no earlier year to compare with.": (
        "{name}: im Mittel {mean}; die Daten haben kein früheres Jahr zum Vergleich."
    ),
    "{name}: {mean} on average, within what earlier years had ({range}).": (
        "{name}: im Mittel {mean}, so viel wie in früheren Jahren ({range})."
    ),
    "{name}: {mean} on average, more than in any earlier year ({range}).": (
        "{name}: im Mittel {mean}, mehr als in jedem früheren Jahr ({range})."
    ),
    "{name}: {mean} on average, less than in any earlier year ({range}).": (
        "{name}: im Mittel {mean}, weniger als in jedem früheren Jahr ({range})."
    ),
    "{time}: version {version} ({model}) was the first to go into Production.": (
        "{time}: Version {version} ({model}) ging als erste in Produktion."
    ),
    "{time}: version {version} ({model}) went into Production in place of version {before}.": (
        "{time}: Version {version} ({model}) ging anstelle von Version {before} in Produktion."
    ),
    "{time}: {action} to version {version}.": "{time}: {action} auf Version {version}.",
    "rollback": "Rücknahme",
    "rejection": "Ablehnung",
    "It has learned from data to {moment}.": "Sie hat aus Daten bis {moment} gelernt.",
    "The data have all {hours} hours of the week.": "Die Daten haben alle {hours} Stunden der Woche.",
    "{missing} of the week’s {hours} hours are missing in the data.": (
        "{missing} der {hours} Stunden der Woche fehlen in den Daten."
    ),
    "Kinds of faults found and handled in the source of the data: {kinds}; see the appendix.": (
        "Arten von Fehlern, die in der Quelle der Daten gefunden und behandelt wurden: {kinds}; siehe Anhang."
    ),
    "Out of sample: the week was forecast by the evaluated twin of version {version}, the same model, trained only on hours "
    "before {start}. Version {version} itself has learned from everything to {end}, so its own curve for these hours would "
    "prove nothing and is not shown.": (
        "Die Woche hat der geprüfte Zwilling von Version {version} vorhergesagt, für den sie neu war: dasselbe Modell, nur "
        "aus Stunden vor {start} trainiert. Version {version} selbst hat aus allem bis {end} gelernt; ihre eigene Kurve "
        "für diese Stunden würde nichts beweisen und wird nicht gezeigt."
    ),
    "Out of sample: {others} of the {hours} hours were forecast by the evaluated twin of version {version}, the same model, "
    "trained only on hours before {start}. Version {version} itself has learned from everything to {end}, so its own curve "
    "for these hours would prove nothing and is not shown.": (
        "{others} der {hours} Stunden hat der geprüfte Zwilling von Version {version} vorhergesagt, für den sie neu waren: "
        "dasselbe Modell, nur aus Stunden vor {start} trainiert. Version {version} selbst hat aus allem bis {end} gelernt; "
        "ihre eigene Kurve für diese Stunden würde nichts beweisen und wird nicht gezeigt."
    ),
    "Out of sample: the week was forecast by version {version} itself, which has learned from nothing after {end}.": (
        "Die Woche hat Version {version} selbst vorhergesagt, die aus nichts nach {end} gelernt hat."
    ),
    "The other {live} hours were forecast by version {version} itself, which has learned from nothing after {end}.": (
        "Die anderen {live} Stunden hat Version {version} selbst vorhergesagt, die aus nichts nach {end} gelernt hat."
    ),
    "The forecast is made from recorded inputs: {inputs}. Where they have to be forecast themselves, their errors come on "
    "top.": (
        "Die Vorhersage wird aus gemessenen Eingaben gemacht: {inputs}. Müssen sie selbst vorhergesagt werden, kommen ihre "
        "Fehler hinzu."
    ),
    "The run of this version has left no scores by regime.": (
        "Der Lauf dieser Version hat keine Bewertung nach Lagen hinterlassen."
    ),
    # dsgo.regimes
    "all hours": "alle Stunden",
    "season": "Jahreszeit",
    "daylight": "Tageslicht",
    "wind": "Wind",
    "sky": "Himmel",
    "night": "Nacht",
    "calm": "schwach",
    "breeze": "mäßig",
    "storm": "Sturm",
    "cloudy": "bedeckt",
    "mixed": "wechselnd",
    "clear": "klar",
    "dark": "dunkel",
    # dsgo.cleaning, dsgo.sources
    "last line without an end": "letzte Zeile ohne Ende",
    "dropped: it may have been cut off": "weggelassen: Sie könnte abgeschnitten sein",
    "columns that the collection does not know": "Spalten, die die Sammlung nicht kennt",
    "left out": "weggelassen",
    "times with an offset other than UTC": "Zeiten mit anderem Versatz als UTC",
    "converted to UTC": "in UTC umgerechnet",
    "{name} just below {limit}": "{name} knapp unter {limit}",
    "set to {limit}: within noise": "auf {limit} gesetzt: im Rauschen",
    "rows without a value in {name}": "Zeilen ohne Wert in {name}",
    "dropped": "weggelassen",
    "rows out of order": "Zeilen nicht in zeitlicher Folge",
    "sorted by time": "nach der Zeit geordnet",
    "absent hours": "fehlende Stunden",
    "absent half-hours": "fehlende Halbstunden",
    "left absent": "fehlend gelassen",
    "hours given twice alike": "Stunden gleich doppelt",
    "half-hours given twice alike": "Halbstunden gleich doppelt",
    "one row kept": "eine Zeile behalten",
    "hours given twice where clocks are put back": "Stunden doppelt, wo die Uhr zurückgestellt wird",
    "half-hours given twice where clocks are put back": "Halbstunden doppelt, wo die Uhr zurückgestellt wird",
    "the last row kept: the one in standard time": "die letzte Zeile behalten: die der Normalzeit",
    "hours given twice, differing": "Stunden verschieden doppelt",
    "half-hours given twice, differing": "Halbstunden verschieden doppelt",
    "the last row kept": "die letzte Zeile behalten",
    "hours of summer time with weather labelled one hour late": (
        "Stunden der Sommerzeit, deren Wetter eine Stunde zu spät eingetragen ist"
    ),
    "left as it is: whoever uses the weather meets the same labels": (
        "so gelassen: Wer das Wetter benutzt, trifft dieselben Zeitangaben an"
    ),
    "sample": "Probe",
    "file": "Datei",
    "url": "Adresse",
    # report/templates
    "week {week}": "Woche {week}",
    "Week {week}: {days}": "Woche {week}: {days}",
    "Synthetic data.": "Künstliche Daten.",
    "All values here were generated; none was measured.": "Alle Werte hier wurden erzeugt, keiner wurde gemessen.",
    "Incomplete week.": "Unvollständige Woche.",
    "Only {counted} of its {hours} hours have a forecast and a recorded value of every quantity; gaps in the curves are "
    "hours without. Scores count the hours there are.": (
        "Nur {counted} ihrer {hours} Stunden haben eine Vorhersage und einen gemessenen Wert jeder Größe; Lücken in den "
        "Kurven sind Stunden ohne. Bewertet werden die Stunden, die es gibt."
    ),
    "Model: version {version} ({model}), in Production since {promoted}; learned from {learned}.": (
        "Modell: Version {version} ({model}), in Produktion seit {promoted}; gelernt aus {learned}."
    ),
    "Naive baseline: {naive}.": "Naiver Vergleich: {naive}.",
    "Next week’s forecast: {days}": "Vorhersage der nächsten Woche: {days}",
    "Last week: forecast and recorded": "Vergangene Woche: vorhergesagt und gemessen",
    "Scores of the week": "Bewertung der Woche",
    "Scores of the week {week} ({label}): errors of the forecast; below each, in small type, the naive baseline’s on the "
    "same hours.": (
        "Bewertung der Woche {week} ({label}): Fehler der Vorhersage; klein darunter die des naiven Vergleichs in denselben "
        "Stunden."
    ),
    "Quantity": "Größe",
    "Mean absolute error (MAE)": "Mittlerer Betrag des Fehlers (MAE)",
    "Root mean square error (RMSE)": "Wurzel des mittleren Fehlerquadrats (RMSE)",
    "RMSE less than naive by": "RMSE kleiner als naiv um",
    "Usual weekly RMSE (p10 to p90)": "Üblicher RMSE einer Woche (p10 bis p90)",
    "Inside the 80 % interval (p10 to p90)": "Im 80-%-Intervall (p10 bis p90)",
    "{hours} h counted": "{hours} h gezählt",
    "naive {value}": "naiv {value}",
    "{share} of the hours": "{share} der Stunden",
    "The season so far": "Die Jahreszeit bisher",
    "The season so far: {season}": "Die Jahreszeit bisher: {season}",
    "Means of the recorded hours of the same days of each year ({label}).": (
        "Mittel der gemessenen Stunden derselben Tage jedes Jahres ({label})."
    ),
    "Year": "Jahr",
    "Days": "Tage",
    "What changed": "Was sich geändert hat",
    "Not from the model in Production.": "Nicht vom Modell in Produktion.",
    "Watch over data and model": "Wache über Daten und Modell",
    "The alarms of the watch, in its own words": "Die Warnungen der Wache in deren Worten (englisch)",
    "Reason of what was decided:": "Grund der Entscheidung (englisch):",
    "Technical appendix": "Technischer Anhang",
    "What the forecast had seen": "Was die Vorhersage gesehen hatte",
    "The usual range comes from the other complete weeks of the window, {window}, and those after it.": (
        "Was üblich ist, sagen die anderen vollständigen Wochen des Fensters, {window}, und die danach."
    ),
    "Scores by regime": "Bewertung nach Lagen",
    "{title}: the window, {window} ({label}).": "{title}: das Fenster, {window} ({label}).",
    "Regime": "Lage",
    "Hours": "Stunden",
    "RMSE": "RMSE",
    "Naive RMSE": "RMSE naiv",
    "Inside the 80 % interval": "Im 80-%-Intervall",
    "Mean width of the interval": "Mittlere Breite des Intervalls",
    "Data quality": "Güte der Daten",
    "{rows} rows, {period}.": "{rows} Zeilen, {period}.",
    "Source: {kind}, {name}.": "Quelle: {kind}, {name}.",
    "Faults found in the source of the data, and how they were handled.": (
        "Fehler, die in der Quelle der Daten gefunden wurden, und ihre Behandlung."
    ),
    "Fault": "Fehler",
    "Count": "Anzahl",
    "First": "Erster",
    "Handling": "Behandlung",
    "No faults were found in the source of the data.": "In der Quelle der Daten wurden keine Fehler gefunden.",
    "Version and lineage": "Version und Herkunft",
    "From the data to the forecast ({label}).": "Von den Daten zur Vorhersage ({label}).",
    "Step": "Schritt",
    "Known by": "Bekannt durch",
    "Value": "Wert",
}
