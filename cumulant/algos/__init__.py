"""One file per algorithm: docstring, Config, update, train. They never import each other."""
