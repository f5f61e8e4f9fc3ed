"""Board games of two players: a few facts and compiled functions each, found by file name (``lookup.make_game``)."""
