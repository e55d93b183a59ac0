"""Extensions as a reader of CONTRIBUTING writes them: one file each, that adds itself to a table."""
