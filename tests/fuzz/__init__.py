"""Input that nobody would write: whatever it is, what comes out is an answer or a SlipwayError, soon, in its folder."""
