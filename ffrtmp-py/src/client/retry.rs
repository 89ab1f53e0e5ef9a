//! `retry`.

super::about_job!(retry, retry_async, retry, "Starts a new round of a job that failed or was canceled.");
