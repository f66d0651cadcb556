"""Values as people read them."""


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: `3 h 05 min`, `2 min 07 s`, `41 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
