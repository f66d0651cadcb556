"""One file per question. study/search/spaces.py says what such a file must hold."""
