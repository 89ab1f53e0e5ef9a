//! Schemas of the types that are written by hand: what the OpenAPI document says of a bit rate or
//! a frame rate is exactly how one is shown.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};

use crate::clock::Timestamp;
use crate::cost::Currency;
use crate::encoding::Auto;
use crate::error::Code;
use crate::trace::TraceContext;
use crate::units::{Bitrate, Crf, FrameRate, Moment, PictureSize, Resolution, Seconds};

macro_rules! schema {
    ($name:ty, $build:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                build(ObjectBuilder::new()).into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

schema!(Timestamp, |s| s.schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))));
schema!(Bitrate, |s| s.schema_type(Type::String).pattern(Some("^[1-9][0-9]*[Mk]?$")).examples(["5M"]));
schema!(Resolution, |s| s.schema_type(Type::String).pattern(Some(SIZE)).examples(["1280x720"]));
schema!(PictureSize, |s| s
    .schema_type(Type::String)
    .pattern(Some(r"^(4k|2160p|1440p|1080p|720p|576p|480p|360p|240p|144p|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$"))
    .examples(["720p"]));
schema!(FrameRate, |s| s.schema_type(Type::Number).minimum(Some(1.0)).maximum(Some(240.0)).examples([30]));
schema!(Currency, |s| s.schema_type(Type::String).pattern(Some("^[A-Z]{3}$")).examples(["EUR"]));
schema!(Crf, |s| s.schema_type(Type::Number).minimum(Some(0.0)).maximum(Some(63.0)).examples([23]));
schema!(Seconds, |s| s.schema_type(Type::Number).minimum(Some(0.001)).maximum(Some(31_622_400.0)).examples([10]));

schema!(TraceContext, |s| s
    .schema_type(Type::String)
    .pattern(Some("^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))
    .examples(["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]));
schema!(Moment, |s| s.schema_type(Type::Number).minimum(Some(0.0)).maximum(Some(31_622_400.0)).examples([3]));
schema!(Auto, |s| s.schema_type(Type::String).enum_values(Some(["auto"])));

impl utoipa::PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        names(Self::ALL.iter().map(|code| code.as_str()))
    }
}

impl utoipa::ToSchema for Code {}

/// One of these texts. Enums whose names come out of a macro need it: the derive sees no text there.
pub(crate) fn names(values: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values)).into()
}

const SIZE: &str = r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$";
