"""Where linear plates come from, each source behind the same small interface (:mod:`training.sources.base`)."""
