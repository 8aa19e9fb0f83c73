"""Routing appliances: a specification in, a working router out."""
