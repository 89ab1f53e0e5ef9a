//! `pause`.

super::about_job!(pause, pause_async, pause, "Holds a job back or freezes it.");
