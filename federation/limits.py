"""What the operating system lets this process have. The outside world: its limits."""

import resource


def raise_descriptor_limit() -> int:
    """As many open files as this process may have; a call takes two. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1_048_576)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft  # Some systems promise more than they give.
    return wanted
