"""What a study leaves on disk: metadata, journal, file names. The only code that writes or parses it."""
