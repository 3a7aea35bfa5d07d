//! A page that is being written. Markup is only what stands in this program's source; everything else goes through [`Page::text`], which escapes it, so that no title, message or
//! name of somebody else can become markup.

use super::envelope::Signed;
use crate::base::html::escaped;

/// The beginning of the block with the signed JSON.
pub(super) const DATA_BEGINS: &str = "<script type=\"application/json\" id=\"homelab-dr-report\">";
/// Its end.
pub(super) const DATA_ENDS: &str = "</script>";

/// See the module.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Markup of this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A text, also within the quotes of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escaped(text));
        self
    }

    /// The signed JSON, in which no sign means anything to HTML.
    pub(super) fn data(&mut self, signed: &Signed) -> &mut Self {
        self.0.push_str(DATA_BEGINS);
        self.0.push_str(&signed.envelope);
        self.0.push_str(DATA_ENDS);
        self
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.0
    }
}
