"""Encoders, the detail decoder, the codes between them, and DECA's encode and decode."""
