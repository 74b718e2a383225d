//! One module for each group of commands: what it takes, and what it does.

pub mod audit;
pub mod bootstrap;
pub mod ca;
pub mod cert;
pub mod context;
pub mod doctor;
pub mod enroll;
pub mod enrollment;
pub mod login;
pub mod principal;
pub mod renewal;
pub mod shell;
pub mod tenant;
pub mod token;
pub mod trust;
