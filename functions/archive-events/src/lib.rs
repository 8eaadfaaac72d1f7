//! archive-events
