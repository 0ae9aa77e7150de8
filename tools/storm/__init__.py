"""Kill, fail, damage and race the command that trains, and check that nothing is lost, mixed or silently wrong."""
