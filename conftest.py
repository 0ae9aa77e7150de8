"""What all tests share beside the comparisons of `tests/shared/comparing.py`: one profile of hypothesis."""

from hypothesis import HealthCheck, settings

# No deadline, and no limit on the time of drawing: the first example of a kernel compiles it, and machines are shared.
settings.register_profile("rondeau", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rondeau")
