//! QR codes, for phones and cameras of devices: on a terminal, or as a picture. What they hold here is a secret.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use png::{BitDepth, ColorType, Encoder};
use qrcode::{Color, EcLevel, QrCode, render::svg};
use zeroize::Zeroizing;

use crate::{exit::Exit, failure::Failure};

/// Light modules around the code (ISO/IEC 18004 section 9.1).
const QUIET: usize = 4;
/// Pixels of a module in a picture.
const SCALE: usize = 8;
/// Black on white whatever the terminal's colours are: few readers take the negative.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const PLAIN: &str = "\x1b[0m";

/// Where a code is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    Svg,
    Png,
}

impl Picture {
    /// As the file's name says.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Failure::usage(format!("{}: a picture's name ends with .svg or .png", path.display()))),
        }
    }

    /// The file's content.
    pub(crate) fn draw(self, code: &QrCode) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self {
            Self::Svg => {
                let side = u32::try_from(side(code).saturating_mul(SCALE)).unwrap_or(u32::MAX);
                let mut drawing = code.render::<svg::Color<'_>>();
                Ok(Zeroizing::new(drawing.min_dimensions(side, side).build().into_bytes()))
            }
            Self::Png => png(code).map_err(Failure::other),
        }
    }
}

/// The code of a text.
pub(crate) fn encode(text: &str) -> Result<QrCode, Failure> {
    // The smallest: it has to fit on a terminal, and a screen has no scratches.
    let code = QrCode::with_error_correction_level(text, EcLevel::L);
    code.map_err(|error| Failure::other(format!("this does not fit into a QR code: {error}")))
}

/// An error unless standard output is a terminal with room for the code: elsewhere, the secret would end up in a file
/// or a log.
pub(crate) fn check_terminal(code: &QrCode) -> Result<(), Failure> {
    let hint = "--qr-file code.svg (or .png) writes a picture";
    if !io::stdout().is_terminal() {
        return Err(Failure::usage("--qr is for a terminal, and standard output is none").hint(hint));
    }
    let (need, have) = (side(code), terminal_size::terminal_size_of(io::stdout()));
    match have {
        Some((terminal_size::Width(columns), _)) if usize::from(columns) < need => {
            let message = format!("the terminal has {columns} columns, and the code needs {need}");
            Err(Failure::new(Exit::Usage, message).hint(format!("make it wider; or {hint}")))
        }
        _ => Ok(()),
    }
}

/// Shows the code on standard output.
pub(crate) fn show(code: &QrCode) -> Result<(), Failure> {
    let text = Zeroizing::new(lines(code));
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Two rows of modules in a line of text: the upper half of a character, and the lower one.
fn lines(code: &QrCode) -> String {
    let side = side(code);
    let mut text = String::new();
    for row in (0..side).step_by(2) {
        text.push_str(BLACK_ON_WHITE);
        for column in 0..side {
            text.push(match (is_dark(code, column, row), is_dark(code, column, row.saturating_add(1))) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push_str(PLAIN);
        text.push('\n');
    }
    text
}

fn png(code: &QrCode) -> Result<Zeroizing<Vec<u8>>, png::EncodingError> {
    let side = side(code);
    let pixels = side.saturating_mul(SCALE);
    let size = u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut picture = Zeroizing::new(Vec::new());
    let mut encoder = Encoder::new(&mut *picture, size, size);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let grey = |at: usize| if is_dark(code, (at % pixels) / SCALE, (at / pixels) / SCALE) { 0 } else { 255 };
    let data: Zeroizing<Vec<u8>> = Zeroizing::new((0..pixels.saturating_mul(pixels)).map(grey).collect());
    encoder.write_header()?.write_image_data(&data)?;
    Ok(picture)
}

/// Modules in a row, the light ones around the code included.
fn side(code: &QrCode) -> usize {
    code.width().saturating_add(2 * QUIET)
}

/// Whether the module is dark; around the code, none is.
fn is_dark(code: &QrCode, column: usize, row: usize) -> bool {
    let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < code.width());
    match (inside(column), inside(row)) {
        (Some(column), Some(row)) => code[(column, row)] == Color::Dark,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another hand reads in the picture.
    fn read(width: usize, height: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let shade = |x, y| if is_dark(x, y) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
        image.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn every_form_of_a_code_is_read_by_another_hand() {
        let text = format!("signet-join:v1?server=https://signet.example.com:8443&token=sgt_{}", "aZ-_".repeat(40));
        let code = encode(&text).unwrap();
        let shown = lines(&code);
        let rows: Vec<Vec<char>> = shown
            .lines()
            .map(|line| line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(PLAIN).unwrap().chars().collect())
            .collect();
        let dark = |x: usize, y: usize| {
            let upper = y.is_multiple_of(2);
            rows.get(y / 2)
                .and_then(|row| row.get(x))
                .is_some_and(|c| *c == '█' || *c == if upper { '▀' } else { '▄' })
        };
        let side = side(&code);
        assert_eq!(read(side * 4, side * 4, |x, y| dark(x / 4, y / 4)), text);

        let picture = Picture::Png.draw(&code).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(&*picture)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let width = info.width as usize;
        assert_eq!(read(width, info.height as usize, |x, y| pixels[y * width + x] < 128), text);

        let svg = String::from_utf8(Picture::Svg.draw(&code).unwrap().to_vec()).unwrap();
        assert!(svg.contains("<svg") && !svg.contains("sgt_"), "{svg}");
    }

    #[test]
    fn a_picture_is_what_its_name_says() {
        assert_eq!(Picture::of(Path::new("a.b/c.svg")), Ok(Picture::Svg));
        for bad in ["c", "c.jpg", "svg", ".png"] {
            assert!(Picture::of(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
