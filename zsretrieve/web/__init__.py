"""The page, the API and clip-retrieval's protocol over HTTP."""
