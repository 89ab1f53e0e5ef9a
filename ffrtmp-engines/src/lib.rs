//! Engine implementations of ffrtmp: any engine in a child process, and one without codecs.

pub mod isolated;
pub mod libav;
pub mod publish;
pub mod synthetic;
