"""The stages of a run, one file each; `graph.STAGES` has their specs."""
