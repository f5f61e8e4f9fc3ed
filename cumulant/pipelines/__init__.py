"""Several runs in a row that make one thing: the stages of an aligned language model, and the judges that compare them."""
