"""What may stand in the YAML file that declares a corpus, and what it means."""

FIELDS = {
    "id": "what the utterance is called, by default as its clip",
    "clip": "the name of its clip, by default its id",
    "label": "its emotion",
    "text": "its words",
    "speaker": "who speaks",
    "session": "the recording session",
    "split": "train, validation or test",
    "start": "seconds, where it is a part of its clip",
    "end": "seconds",
}
PROTOCOLS = ("auto", "official", "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out")
COUNTED = ("class", "split", "session", "speaker", "total")
KEYS = {
    "title": "the name to print",
    "language": "of the speech, as the Hub spells it",
    "licence": "in words",
    "license": "as the Hub spells it",
    "download": "what to download, and where",
    "citation": "whom to cite",
    "speakers": "who speaks, in a sentence",
    "traps": "what a user should know, a list",
    "protocol": f"what `--protocol auto` stands for: {', '.join(PROTOCOLS)}",
    "clips": "a regular expression for the end of a clip's path, its ending aside; its named groups are fields",
    "tables": "a list of files that say more",
    "codes": "field -> written value -> meaning",
    "classes": "the labels in order, all of `codes: label` by default; the others are left out",
    "merge": "label -> class",
    "left_out": "field -> regular expression of its written value -> why such utterances are not used",
    "unknown": "field -> regular expression of its written value that states nothing",
    "published": "class, split, session, speaker or total -> number of utterances, and their source",
}
FACTS = ("title", "language", "licence", "license", "download", "citation", "speakers", "traps")
KNOWN = (*KEYS, *FIELDS)
TABLE_KEYS = {
    "files": "a regular expression for the end of the files' paths; its named groups are fields",
    "columns": "field -> column, or several of which the first that is there counts (CSV, TSV, JSON, Parquet)",
    "lines": "a regular expression for a line of text; its named groups are fields, other lines are passed over",
    "content": "the field that is the whole text of a file",
    "intensities": "label -> column: labels whose numbers, summed over the rows of an utterance, are above 0",
    "nothing": "the label of an utterance without any such number",
}
