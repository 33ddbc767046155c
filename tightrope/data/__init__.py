"""Files to records, records to tokens, tokens to batches."""
