//! Ranges of the options of encoders; which encoder has which is the engine's business.

use super::OutputRequest;
use crate::encoding::EncoderOptions;
use crate::error::{Code, Error, Result};

impl OutputRequest {
    /// Refuses options that no encoder has.
    pub(super) fn check_options(&self) -> Result<()> {
        let EncoderOptions {
            level,
            b_frames,
            references,
            lookahead,
            aq_mode,
            aq_strength,
            tile_columns,
            tile_rows,
            film_grain,
            tune: _,
            profile: _,
        } = self.parameters.encoder_options;
        let whole = |value: Option<u8>| value.map(f64::from);
        for (name, value, least, most) in [
            ("level", level, 1.0, 7.3),
            ("b_frames", whole(b_frames), 0.0, 16.0),
            ("references", whole(references), 1.0, 16.0),
            ("lookahead", lookahead.map(f64::from), 0.0, 250.0),
            ("aq_mode", whole(aq_mode), 0.0, 4.0),
            ("aq_strength", aq_strength, 0.0, 3.0),
            ("tile_columns", whole(tile_columns), 0.0, 6.0),
            ("tile_rows", whole(tile_rows), 0.0, 6.0),
            ("film_grain", whole(film_grain), 0.0, 50.0),
        ] {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                return Err(Error::new(Code::InvalidField, format!("{value} is out of range"))
                    .field(format!("parameters.encoder_options.{name}"))
                    .hint(format!("give {least} to {most}")));
            }
        }
        Ok(())
    }
}
