"""How good a result is: one file per family, each metric a function with its formula cited."""
