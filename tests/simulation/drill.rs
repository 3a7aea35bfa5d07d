//! What the engine needs of drills.

#[path = "../../src/drill/record.rs"]
pub mod record;
