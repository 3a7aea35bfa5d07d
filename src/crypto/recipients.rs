//! placeholder until the branch lands
