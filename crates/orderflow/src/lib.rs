//! orderflow
