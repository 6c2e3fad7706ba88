"""How Python runs our processes."""

import gc


def calm_collector() -> None:
    """Leave what the start made out of every later garbage collection, and collect seldom.

    Messages make young objects by the thousand and hardly a cycle: looking through them at every 700th allocation took
    a fifth of the router's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
