"""The web page around a recogniser. A Space carries this folder: it imports nothing from outside."""
