//! One training step, the loop and what surrounds it.
