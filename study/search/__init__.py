"""What a study varies and what comes out of it: search spaces, samplers, the front."""
