"""Generated gRPC stubs of the protos in ``proto/``; made by ``make proto``, never edited by hand."""
