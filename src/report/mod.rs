//! Layer 6: what a run of a runbook came to, as a document that can be handed on: JSON, Markdown, or one page of HTML, signed with a key of this machine.
//!
//! ```text
//! journal (runs) ─ history ─ Document ─ envelope (JSON, signed) ─ html, markdown, text
//!                                          a file ─ verify ─ by which key, and whether it is as that key's machine wrote it
//! ```
//! A [`Document`] says what the journal says and nothing else: no clock is asked and nothing is looked at, so that the same journal always gives the same bytes. `docs/report.md` says what each number means.

mod document;
mod envelope;
mod history;
mod html;
mod idle;
pub mod key_file;
mod markdown;
mod page;
mod standing;
mod style;
mod tables;
mod text;
mod timeline;
mod verify;
mod words;

pub use document::{Document, DocumentError};
pub use envelope::{Signed, sign};
pub use html::html;
pub use markdown::markdown;
pub use standing::{Stand, Standing};
pub use text::text;
pub use verify::{Form, Verified, VerifyError, verify};
pub use words::came_to;
