//! `logs`.

super::about_job!(logs, logs_async, logs, "The log of a job, oldest line first.");
