//! Small numbers that stand for words in columns. They are stored: never change one.

use ffrtmp_core::job::{Classification, EngineName, JobState, Priority, Queue};

use super::Phase;

/// A word with a number.
pub(crate) trait Coded: Copy + Sized + 'static {
    /// The number of the word.
    fn code(self) -> i16;

    /// The word of a number, if one has it.
    fn from_code(code: i16) -> Option<Self>;
}

macro_rules! coded {
    ($name:ident { $($variant:ident = $code:literal,)* }) => {
        impl Coded for $name {
            fn code(self) -> i16 {
                match self { $(Self::$variant => $code,)* }
            }

            fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

coded!(JobState {
    Waiting = 1,
    Queued = 2,
    Paused = 3,
    Assigned = 4,
    Running = 5,
    Retrying = 6,
    Completed = 7,
    Failed = 8,
    Canceled = 9,
    Rejected = 10,
});
coded!(Phase { Waiting = 0, Ready = 1, Leased = 2, Backoff = 3, Held = 4, Ended = 5, });
coded!(Priority { Live = 1, High = 2, Medium = 3, Low = 4, Batch = 5, });
coded!(Queue { Live = 1, Default = 2, Batch = 3, });
coded!(EngineName { Ffmpeg = 1, Gstreamer = 2, Synthetic = 3, });
coded!(Classification { Production = 1, Test = 2, Benchmark = 3, Debug = 4, });
