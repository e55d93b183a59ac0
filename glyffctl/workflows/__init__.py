"""One module per command. A workflow is a generator: it yields events, prints nothing, and returns its result."""
