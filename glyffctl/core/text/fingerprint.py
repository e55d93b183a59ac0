"""What goes into the fingerprint of a text encoder."""

# Words, digits, brackets, accents and Han: tokenizers that treat any of these differently differ here.
TEST_SENTENCE = "Lithium (element 3, Li); naïve small swan 鋰 [U+92F0]"
SAMPLE = 256
"""Values at either end of each parameter."""
