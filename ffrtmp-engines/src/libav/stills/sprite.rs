//! The sprite sheet: a picture every so often in one image, or several where one would be too
//! large, and a WebVTT index that says which part is which time.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use ffrtmp_core::encoding::Stills;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::units::Seconds;

use super::files::Files;
use super::print::Printer;
use super::tap::Shown;
use super::{MAX_SIDE, Size, invalid};
use crate::libav::fault::failed;
use crate::libav::sys::{AvError, Canvas, Frame};

/// Where nobody asks for others.
const WIDTH: u32 = 160;
const COLUMNS: u32 = 10;
/// Rows of a sheet.
const MAX_ROWS: u32 = 100;
/// Pixels of a sheet; it takes one and a half bytes of memory for each.
const MAX_PIXELS: u32 = 32_000_000;
/// Two days at one a second have room.
const MAX_PICTURES: u64 = 200_000;

/// The width that is meant.
pub(super) fn width(wanted: Option<u32>) -> u32 {
    wanted.unwrap_or(WIDTH)
}

/// Collects pictures on sheets.
pub(super) struct Sprite {
    interval: f64,
    width: u32,
    columns: u32,
    /// Pictures taken so far.
    count: u64,
    layout: Option<Layout>,
    /// The sheet that is being filled.
    canvas: Option<Canvas>,
    written: u64,
    printer: Printer,
    /// The latest picture and when its showing began.
    latest: Option<(f64, Frame)>,
}

/// Where pictures lie on a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    tile: Size,
    columns: u32,
    rows: u32,
}

impl Sprite {
    pub(super) fn new(stills: &Stills, interval: Seconds, expected: Option<f64>) -> Result<Self> {
        let interval = interval.value();
        if expected.is_some_and(|seconds| seconds / interval > MAX_PICTURES as f64) {
            return Err(too_many());
        }
        Ok(Self {
            interval,
            width: width(stills.sprite_width),
            columns: stills.sprite_columns.unwrap_or(COLUMNS).max(1),
            count: 0,
            layout: None,
            canvas: None,
            written: 0,
            printer: Printer::default(),
            latest: None,
        })
    }

    pub(super) fn due(&self) -> f64 {
        self.count as f64 * self.interval
    }

    pub(super) fn take(&mut self, shown: &Shown, files: &mut Files) -> Result<()> {
        if self.count >= MAX_PICTURES {
            return Err(too_many());
        }
        let layout = *self.layout.get_or_insert_with(|| Layout::of(shown.fitted(self.width), self.columns));
        if self.latest.as_ref().is_none_or(|(seconds, _)| *seconds != shown.seconds) {
            self.latest = Some((shown.seconds, self.printer.scale(&shown.frame, layout.tile)?));
        }
        if self.count > 0 && self.count.is_multiple_of(layout.pictures()) {
            self.flush(layout, &self.numbered(), files)?;
        }
        self.place(layout).map_err(no_room)?;
        self.count += 1;
        Ok(())
    }

    fn place(&mut self, layout: Layout) -> std::result::Result<(), AvError> {
        let Some((_, picture)) = &self.latest else { return Err(AvError::INVALID) };
        let canvas = match &mut self.canvas {
            Some(canvas) => canvas,
            empty => empty.insert(Canvas::new(layout.columns * layout.tile.width, layout.rows * layout.tile.height)?),
        };
        let (_, x, y) = layout.place(self.count);
        canvas.place(picture, x, y)
    }

    /// Ends the last sheet, which is the only one mostly, and writes the index.
    pub(super) fn finish(mut self, end: f64, files: &mut Files) -> Result<()> {
        let Some(layout) = self.layout else { return Ok(()) };
        let only = self.written == 0;
        let name = if only { "sprite.jpg".to_owned() } else { self.numbered() };
        self.flush(layout, &name, files)?;
        let sheet = |number: u64| if only { "sprite.jpg".to_owned() } else { format!("sprite_{}.jpg", number + 1) };
        let index = self.index(layout, end, |number| encoded(&files.name(&sheet(number))));
        files.write("sprite.vtt", index.as_bytes())
    }

    fn numbered(&self) -> String {
        format!("sprite_{}.jpg", self.written + 1)
    }

    /// Writes the sheet as far as it is filled.
    fn flush(&mut self, layout: Layout, name: &str, files: &mut Files) -> Result<()> {
        let Some(canvas) = self.canvas.take() else { return Ok(()) };
        let used = self.count - self.written * layout.pictures();
        let sheet = layout.cut(canvas, used as u32).map_err(no_room)?;
        self.written += 1;
        files.write(name, &self.printer.print_sheet(sheet)?)
    }

    fn index(&self, layout: Layout, end: f64, sheet: impl Fn(u64) -> String) -> String {
        let mut text = "WEBVTT\n".to_owned();
        let mut name = (u64::MAX, String::new());
        for picture in 0..self.count {
            let start = millis(picture as f64 * self.interval);
            let until = if picture + 1 == self.count { end } else { (picture + 1) as f64 * self.interval };
            let (number, x, y) = layout.place(picture);
            if number != name.0 {
                name = (number, sheet(number));
            }
            let _ = write!(
                text,
                "\n{} --> {}\n{}#xywh={x},{y},{},{}\n",
                clock(start),
                clock(millis(until).max(start + 1)),
                name.1,
                layout.tile.width,
                layout.tile.height
            );
        }
        text
    }
}

impl Layout {
    /// Pictures have even sides, as their colours have half the size.
    fn of(tile: Size, columns: u32) -> Self {
        let even = |side: u32| (side + side % 2).max(2);
        let tile = Size { width: even(tile.width), height: even(tile.height).min(MAX_SIDE) };
        let columns = columns.min(MAX_SIDE / tile.width).max(1);
        let by_pixels = MAX_PIXELS / (columns * tile.width * tile.height).max(1);
        let rows = MAX_ROWS.min(MAX_SIDE / tile.height).min(by_pixels).max(1);
        Self { tile, columns, rows }
    }

    /// Pictures of a whole sheet.
    fn pictures(self) -> u64 {
        u64::from(self.columns) * u64::from(self.rows)
    }

    /// Number of the sheet and place on it.
    fn place(self, picture: u64) -> (u64, u32, u32) {
        let on_sheet = (picture % self.pictures()) as u32;
        let (column, row) = (on_sheet % self.columns, on_sheet / self.columns);
        (picture / self.pictures(), column * self.tile.width, row * self.tile.height)
    }

    /// Leaves out what was not used and blackens the rest of the last row.
    fn cut(self, mut canvas: Canvas, used: u32) -> std::result::Result<Frame, AvError> {
        let (rows, columns) = (used.div_ceil(self.columns), used.min(self.columns));
        let free = rows * columns - used;
        if free > 0 {
            let at = ((columns - free) * self.tile.width, (rows - 1) * self.tile.height);
            canvas.blank(at, (free * self.tile.width, self.tile.height))?;
        }
        canvas.into_frame(columns * self.tile.width, rows * self.tile.height)
    }
}

fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

fn clock(millis: u64) -> String {
    let (seconds, minutes) = (millis / 1000, millis / 60_000);
    format!("{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, seconds % 60, millis % 1000)
}

/// A file name as a relative reference of RFC 3986.
fn encoded(name: &OsStr) -> String {
    name.as_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

fn too_many() -> Error {
    invalid(
        "sprite_interval",
        format!("the sprite would have more than {MAX_PICTURES} pictures"),
        "give a longer interval, such as 10 seconds",
    )
}

fn no_room(error: AvError) -> Error {
    failed(Code::EncodeFailed, "a picture does not fit onto the sprite sheet", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_stay_within_what_decoders_take() {
        let layout = |width, height, columns| {
            let Layout { columns, rows, .. } = Layout::of(Size { width, height }, columns);
            (columns, rows)
        };
        assert_eq!(layout(160, 90, 10), (10, 100));
        assert_eq!(layout(1024, 576, 10), (10, 5));
        assert_eq!(layout(1024, 576, 100), (15, 3));
        assert_eq!(layout(16, 16_000, 5), (5, 1));
        assert_eq!(layout(1, 1, 1), (1, 100));
    }

    #[test]
    fn names_become_references() {
        assert_eq!(encoded(OsStr::new("a b#1--> ü_sprite.jpg")), "a%20b%231--%3E%20%C3%BC_sprite.jpg");
        assert_eq!(clock(millis(3725.0625)), "01:02:05.063");
        assert_eq!(clock(360_000_000), "100:00:00.000");
    }
}
