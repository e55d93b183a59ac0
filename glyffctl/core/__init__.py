"""The mathematics, the network and the data. Knows nothing of terminals, and never imports from above."""
