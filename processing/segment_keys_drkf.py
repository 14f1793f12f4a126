"""What segments call their words and speakers, for transcripts and recordings alike, and what options call them."""

WORD_KEYS = ("text", "transcript", "sentence", "word")
WORDLESS_KEYS = ("speaker", "channel", "id", "type", "language", "label", "start", "end")
"""Keys of a segment whose texts are not what is said."""

BY_CHANNEL = "by-channel"
SPEAKER_STATISTICS = ("others", "before", "off")
