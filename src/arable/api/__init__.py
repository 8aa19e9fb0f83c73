"""HTTP in: operations as rows, one adaptor for all of them, problems, OpenAPI."""
