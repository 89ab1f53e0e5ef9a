//! `get`.

super::about_job!(get, get_async, job, "Shows a job.");
