//! The test API server itself, and what speaks to it.

mod replay;
