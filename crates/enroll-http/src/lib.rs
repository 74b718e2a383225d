//! Enrollment and out-of-band renewal as JSON over HTTP.
