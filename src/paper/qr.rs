//! QR codes as inline SVG.

use qrcode::render::svg::Color;
use qrcode::{EcLevel, QrCode};

/// Above this many modules a side a code on paper no longer reads well with a phone (version 25, some 1000 bytes).
const MODULES_MAX: usize = 117;

/// The code of `text` with its quiet zone, or `None` if it would be too dense to read from paper.
///
/// A quarter of the code may be lost to folds and stains (level Q), less where only that makes it fit.
pub(super) fn svg(text: &str) -> Option<String> {
    let code = [EcLevel::Q, EcLevel::M, EcLevel::L]
        .into_iter()
        .filter_map(|level| QrCode::with_error_correction_level(text, level).ok())
        .find(|code| code.width() <= MODULES_MAX)?;
    let drawing = code.render::<Color<'_>>().module_dimensions(1, 1).build();
    // An XML declaration is an error inside HTML.
    drawing.split_once("?>").map(|(_, svg)| svg.to_owned())
}
