"""One file per question. README.md says what such a file must hold."""
