//! HTTP/1.1 as it comes from clients, looked at before hyper reads it. hyper is lenient where RFC 9112 lets it be (it
//! drops a `Content-Length` beside `Transfer-Encoding`, for instance); here whatever two parsers could read in two ways
//! is refused.

mod chunks;
mod head;
mod strict;

pub(crate) use strict::{MAX_HEAD, Strict, Verdict};
