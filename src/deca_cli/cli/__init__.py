"""The command line: one file per subcommand, each body is import, call, report."""
