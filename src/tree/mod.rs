//! Layer 4: files on this machine: [`source`] and [`walk`] find them, [`read`] reads them, [`live`] copies
//! databases that are in use, [`restore`] makes them again.
//!
//! Works on file descriptors, never on paths that somebody could exchange in the meantime: an application goes on writing
//! while its volume is backed up, and a restored folder may hold symbolic links laid by a stranger. Knows no repository.
//!
//! What is wrong with one file is a [`problem::Problem`]: it is returned, and the work goes on.
//! Extended attributes go through `/proc/self/fd`, so `/proc` must be mounted.

mod beneath;
pub mod device;
pub mod exclude;
pub mod found;
mod inode;
mod listing;
pub mod live;
pub mod problem;
pub mod read;
pub mod restore;
pub mod source;
pub mod walk;
mod xattrs;
