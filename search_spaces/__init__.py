"""One file per question. study/search/spaces.py describes such a file."""
