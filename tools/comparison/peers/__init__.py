"""What is timed: each file's ``prepare`` returns a function without arguments. No file imports both libraries."""
