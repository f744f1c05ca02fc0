"""Other programs' formats: vectors read, indexes written."""
