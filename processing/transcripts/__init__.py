"""Transcripts with times: subtitles and segments in, timelines out."""
