"""Text for people: plain helpers that any package may import."""


def duration(seconds: float, digits: int | None = None) -> str:
    """Return a time span in the two units that matter: "2 h 05 min", "3 min 20 s", "12 s".

    Args:
        seconds: finite.
        digits: significant digits of a span below a minute; None for whole seconds.
    """
    if digits is not None and seconds < 60:
        return f"{seconds:.{digits}g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
