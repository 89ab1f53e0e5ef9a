//! `resume`.

super::about_job!(resume, resume_async, resume, "Lets a paused job go on.");
