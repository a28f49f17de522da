"""Generated gRPC stubs of ``proto/*.proto``; made by ``make proto``, never edited by hand."""
