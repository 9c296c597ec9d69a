"""The parts of the report, one for each kind of answer: figures, tables, plots, and the worst pictures."""
