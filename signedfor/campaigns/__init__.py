"""Campaigns: what the command line and the operations page do with them, by the same functions.

- `start`: check a file, preview the campaign, and start it.
- `progress`: its state, its rows by outcome, and the time that is left.
- `decisions`: pause, resume and cancel it.
- `report`: the outcome of every row, with the caller's own columns.

Nothing here prints or asks. Errors are those of `signedfor.errors`, besides Temporal's own and
`signedfor.store.database.DatabaseUnavailable`.
"""
