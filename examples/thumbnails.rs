//! Pictures of a film while it is transcoded: `cargo run --example thumbnails -- IN OUT.mp4`.
//!
//! A poster, five thumbnails and a sprite sheet for the seek bar are taken from the frames that the
//! transcode decodes anyway. They lie beside the output: `OUT_poster.jpg`, `OUT_thumb_01.jpg` …,
//! `OUT_sprite.jpg` and `OUT_sprite.vtt`, which tells a player where each picture is in the sheet.

use ffrtmp::encoding::Stills;
use ffrtmp::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err(Error::new(Code::InvalidField, "two files are needed").hint("thumbnails IN OUT.mp4"));
    };
    let stills = Stills {
        poster: Some("0.5".parse()?),
        thumbnails: Some(5),
        thumbnail_width: Some(320),
        sprite_interval: Some("1".parse()?),
        sprite_width: Some(160),
        sprite_columns: Some(10),
    };
    let parameters = Parameters { stills, resolution: Some("360p".parse()?), ..Parameters::default() };
    let report = Transcode::new(input, output).parameters(parameters).run()?;

    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        for file in &report.files {
            println!("{} ({} bytes)", file.path, file.size_bytes);
        }
    }
    Ok(())
}
