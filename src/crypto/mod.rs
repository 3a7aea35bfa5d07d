//! Layer 1: everything cryptographic. Pure: no store, no clock; `age` and the AEAD are named nowhere else.

pub mod recipients;
