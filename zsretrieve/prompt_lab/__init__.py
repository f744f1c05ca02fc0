"""Which templates serve labelled images: compared, ranked, selected."""
