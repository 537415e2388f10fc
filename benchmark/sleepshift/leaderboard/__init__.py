"""From scored cells to tables: metrics, intervals, pictures; pure functions of tidy rows."""
