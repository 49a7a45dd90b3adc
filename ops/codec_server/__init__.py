"""The codec server: clear text for the Temporal UI and Temporal's command line, by token."""
