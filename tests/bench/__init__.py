"""What glyffctl costs, beside what people would use instead. Not part of the tests: `python -m tests.bench`."""
