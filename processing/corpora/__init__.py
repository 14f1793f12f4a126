"""Emotion corpora: readers, checks, the doctor, protocols and the parts that they divide a corpus into."""
