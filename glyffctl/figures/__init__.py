"""Pictures that explain: one module a figure, one look (`style`) for all. They draw what core computes."""
