//! `cancel`.

super::about_job!(cancel, cancel_async, cancel, "Cancels a job.");
