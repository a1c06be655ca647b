"""What a log can prove about the server: one check a file, each asked by the report `audit`."""
