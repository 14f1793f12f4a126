"""A file a corpus, or a form in which corpora lie; each declares `CORPUS`."""
