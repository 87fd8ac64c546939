//! Placeholder; replaced by its owner in the first commits.
